"""`isolation: auto` for real: an agent that holds the loop or crashes ends up where it harms nobody, and answers on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.eventually import wait_until
from tests.project import Project, project

AGENT = '''
    import os
    import time

    from mesh import Agent, operation


    class It(Agent):
        """Behaves as it is told."""

        @operation
        async def sleep(self, seconds: float) -> None:
            time.sleep(seconds)

        @operation
        async def spin(self, seconds: float) -> None:
            over = time.thread_time() + seconds
            while time.thread_time() < over:
                sum(range(1000))

        @operation
        async def leave(self) -> None:
            raise SystemExit(3)

        @operation
        async def where(self) -> int:
            return os.getpid()
'''
SERVICES = ("sleeper", "spinner", "leaver")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with project(tmp_path_factory.mktemp("auto")) as made:
        for service in SERVICES:
            made.agent(service, AGENT, isolation="auto")
        made.up("--host", "mainpc")
        yield made


def row(mesh: Project, service: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = mesh.json("agents")
    return next(each for each in found if each["service"] == service)


def moved(mesh: Project, service: str, isolation: str) -> dict[str, Any]:
    return wait_until(lambda: (now := row(mesh, service))["isolation"] == isolation and now["state"] == "ready" and now,
                      30)


def said(mesh: Project, service: str) -> str:
    """Return what the error bus has of the move."""
    groups = mesh.json("errors", "--service", service)
    return str(next(each["message"] for each in groups if "moves from" in each["message"]))


def test_it_begins_as_a_coroutine(mesh: Project) -> None:
    host = mesh.host("mainpc")["pid"]
    for service in SERVICES:
        now = row(mesh, service)
        assert (now["isolation"], now["isolation_set"]) == ("coroutine", "auto")
        assert mesh.call(f"{service}.where")["result"] == host


def test_one_that_sleeps_on_the_loop_moves_to_a_thread(mesh: Project) -> None:
    for _ in range(3):
        mesh.call("sleeper.sleep", seconds=0.8)
    now = moved(mesh, "sleeper", "thread")
    assert now["isolation_origin"].startswith("auto: it held the event loop 3 times")
    assert mesh.call("sleeper.where")["result"] == mesh.host("mainpc")["pid"]
    text = said(mesh, "sleeper")
    assert "from coroutine to thread" in text and "waiting in sleep() at agents/sleeper.py" in text
    assert "auto → thread (auto: it held" in mesh.mesh("describe", "sleeper").stdout
    assert "auto → thread" in mesh.mesh("agents").stdout


def test_one_that_computes_moves_to_a_process_and_its_calls_are_answered_on(mesh: Project) -> None:
    for _ in range(3):
        assert mesh.call("spinner.spin", seconds=0.5)["ok"]
    moved(mesh, "spinner", "process")
    assert mesh.call("spinner.where")["result"] != mesh.host("mainpc")["pid"]
    assert "in spin() at agents/spinner.py" in said(mesh, "spinner")


def test_what_it_uses_in_its_process_is_shown_and_steals_nothing(mesh: Project) -> None:
    def blamed() -> dict[str, Any]:
        found: list[dict[str, Any]] = mesh.json("blame")["agents"]
        return next(each for each in found if each["service"] == "spinner")

    moved(mesh, "spinner", "process")
    before = blamed()
    mesh.call("spinner.spin", seconds=1.0)
    after = wait_until(lambda: (now := blamed())["used_ms"] > before["used_ms"] + 900 and now, 30)
    assert (after["holds"], after["stolen_ms"], after["isolation"]) == (before["holds"], before["stolen_ms"], "process")
    text = wait_until(lambda: next((each["message"] for each in mesh.json("errors", "--service", "spinner")
                                    if "the event loop of its own process" in each["message"]), None), 30)
    assert "spinner (spin) held" in text and "in spin() at agents/spinner.py" in text


def test_one_that_crashes_again_and_again_moves_to_a_process_before_it_is_given_up(mesh: Project) -> None:
    for _ in range(3):
        wait_until(lambda: row(mesh, "leaver")["state"] == "ready", 20)
        mesh.call("leaver.leave")
    moved(mesh, "leaver", "process")
    assert "it crashed 3 times" in said(mesh, "leaver")
    assert mesh.call("leaver.where")["result"] != mesh.host("mainpc")["pid"]


def test_an_operator_can_take_it_back(mesh: Project) -> None:
    moved(mesh, "sleeper", "thread")
    done = mesh.mesh("agent", "isolate", "sleeper", "config")
    assert done.returncode == 0, done.stderr
    assert moved(mesh, "sleeper", "coroutine")["isolation_set"] == "auto"
