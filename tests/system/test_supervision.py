"""Who is restarted, and who is not, in real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.operator import Operator
from mesh.clock import Clock
from tests.eventually import wait_until
from tests.project import Project, project
from tests.system.conftest import ECHO
from tests.system.harm import HARM
from tests.system.test_isolation import while_others_answer

APART = [f"apart{number}" for number in range(5)]
STORM = 50
CLOCK = Clock()
BLOWER = '''
from mesh import Agent, operation


class It(Agent):
    """Makes a storm."""

    @operation
    async def blow(self) -> None:
        await self.publish("storm")
'''
STUCK = 2.0
CRASHING = '''
from typing import Any

from mesh import Agent, operation, subscribe


class It(Agent):
    """Crashes with all others of its kind."""

    @operation(idempotent=True)
    async def echo(self, text: str) -> str:
        return text

    @subscribe("storm")
    async def crash(self, payload: Any) -> None:
        raise SystemExit(3)
'''
STOPPED = 5.0


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A host that watches five agents in processes of their own, and one that may end by itself."""
    with project(tmp_path_factory.mktemp("watched")) as made:
        for service in APART:
            made.agent(service, ECHO, isolation="process", limits={"start_s": 60.0, "stuck_s": STUCK})
        made.agent("leaver", HARM, isolation="process", restart="transient", limits={"start_s": 60.0})
        made.up("--host", "mainpc")
        yield made


def rows(of: Project, *services: str) -> dict[str, tuple[int, int, str]]:
    """Return pid, restarts and state of agents."""
    return {row["service"]: (row["pid"], row["restarts"], row["state"]) for row in of.json("agents")
            if row["service"] in (services or APART)}


def said(of: Project, text: str) -> bool:
    """Tell whether something is on the error bus, by the host's log: a command line would take its time."""
    return text in (of.home / "mainpc" / "logs" / "supervisor.log").read_text()


def stopped(pids: list[int], seconds: float | None = None) -> None:
    """Stop processes, and have them go on after some seconds."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    if seconds is not None:
        until = time.monotonic() + seconds
        wait_until(lambda: time.monotonic() > until, seconds + 30)
        go_on(pids)


def go_on(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def test_a_host_that_was_stopped_restarts_none_of_those_it_watches(watched: Project) -> None:
    before = rows(watched)
    stopped([watched.pid("mainpc")], STOPPED)
    wait_until(lambda: said(watched, "this host stood still for"), 30)
    for service in APART:
        assert watched.call(f"{service}.echo", text="a")["result"] == "a"
    assert rows(watched) == before


def test_if_all_look_dead_at_the_same_time_the_watcher_is_doubted_first(watched: Project) -> None:
    before = rows(watched)
    pids = [pid for pid, _, _ in before.values()]
    stopped(pids)
    try:
        wait_until(lambda: said(watched, "look dead at the same time"), 30)
    finally:
        go_on(pids)
    assert rows(watched) == before
    assert all(watched.call(f"{service}.echo", text="a").get("result") == "a" for service in APART)


def test_one_alone_that_does_not_turn_is_restarted_all_the_same(watched: Project) -> None:
    before = rows(watched, "apart0")["apart0"]
    os.kill(before[0], signal.SIGSTOP)
    wait_until(lambda: rows(watched, "apart0")["apart0"][1:] == (before[1] + 1, "ready"), 60)
    assert said(watched, "its loop did not turn for 2 s (limits: stuck_s)")


def test_a_transient_agent_whose_process_ends_as_it_meant_to_stays_stopped(watched: Project) -> None:
    watched.call("leaver.exit", code=3)
    wait_until(lambda: rows(watched, "leaver")["leaver"][1:] == (1, "ready"), 60)
    watched.call("leaver.exit", code=0)
    wait_until(lambda: rows(watched, "leaver")["leaver"][2] == "stopped", 30)
    row = next(row for row in watched.json("agents") if row["service"] == "leaver")
    assert row["reason"] == "it ended by itself: the process of leaver ended: exit code 0 (restart: transient)"
    assert watched.mesh("agent", "start", "leaver").returncode == 0
    assert watched.call("leaver.echo", text="again")["result"] == "again"


def test_when_fifty_crash_at_once_the_others_answer_and_all_are_back_soon(tmp_path: Path) -> None:
    async def back(asked: Operator, restarts: int) -> list[dict[str, Any]]:
        return [row for row in await asked.ask("supervisor.agents", {}, limit=30.0)
                if row["service"].startswith("storm") and (row["state"], row["restarts"]) == ("ready", restarts)]

    async def storm(asked: Operator) -> None:
        for count in (1, 2, 3):
            began = time.monotonic()
            await asked.ask("blower.blow")
            async with asyncio.timeout(60):
                while len(await back(asked, count)) < STORM:
                    await CLOCK.sleep(0.05)
            print(f"{STORM} agents that crashed at once are back after {time.monotonic() - began:.2f} s")

    with project(tmp_path) as made:
        for number in range(STORM):
            made.agent(f"storm{number}", CRASHING)
        made.agent("blower", BLOWER)
        made.agent("good", ECHO)
        made.agent("other", ECHO, host="pc2")
        made.up()
        asyncio.run(while_others_answer(made, storm, promise=1.0))
