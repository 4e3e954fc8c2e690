"""`mesh agents`: every figure is changed by what it stands for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.following import following
from tests.cli.runner import run
from tests.eventually import wait_until
from tests.project import Project

FIELDS = {"service", "host", "state", "isolation", "incarnation", "pid", "restarts", "inbox", "calls", "errors",
          "p50_ms", "p99_ms", "loop_ms", "reason", "last_error"}


def rows(mesh: Project, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run(mesh.root, "agents", "--json", *arguments).json()
    return found


def row(mesh: Project, service: str) -> dict[str, Any]:
    return next(each for each in rows(mesh) if each["service"] == service)


def test_agents_of_all_hosts_are_listed_with_every_field(mesh: Project) -> None:
    found = rows(mesh)
    assert [(each["service"], each["host"], each["isolation"]) for each in found] == [
        ("lamp", "mainpc", "coroutine"), ("request_coordinator", "mainpc", "coroutine"), ("torch", "pc2", "coroutine")]
    assert all(set(each) >= FIELDS for each in found)
    assert {each["host"]: each["pid"] for each in found} == {name: mesh.pid(name) for name in ("mainpc", "pc2")}


def test_calls_errors_latency_and_loop_time_follow_what_is_called(mesh: Project) -> None:
    before = row(mesh, "lamp")
    mesh.call("lamp.shine", name="x")
    run(mesh.root, "call", "lamp.glow", "seconds=1.0")
    run(mesh.root, "call", "lamp.spin", "seconds=0.2")
    run(mesh.root, "call", "lamp.blow", "why=because")
    after = row(mesh, "lamp")
    assert (after["calls"] - before["calls"], after["errors"] - before["errors"]) == (4, 1)
    assert after["p99_ms"] >= 190 and after["p50_ms"] > 0
    assert 190 <= after["loop_ms"] - before["loop_ms"] < 1000
    assert after["last_error"] == "blow: ValueError: because"


def test_calls_that_wait_are_the_inbox(mesh: Project) -> None:
    assert row(mesh, "torch")["inbox"] == 0
    with following(mesh, "call", "torch.glow", "seconds=5"), following(mesh, "call", "torch.glow", "seconds=5"):
        wait_until(lambda: row(mesh, "torch")["inbox"] == 1, 10)
    wait_until(lambda: row(mesh, "torch")["inbox"] == 0, 10)


def test_a_crash_counts_as_a_restart_and_makes_a_new_incarnation(mesh: Project) -> None:
    before = row(mesh, "torch")
    run(mesh.root, "call", "torch.exit")
    after = wait_until(lambda: (now := row(mesh, "torch"))["restarts"] == before["restarts"] + 1
                       and now["state"] == "ready" and now, 10)
    assert after["incarnation"] > before["incarnation"] and "SystemExit" in after["last_error"]


def test_state_and_reason_follow_the_operator(mesh: Project) -> None:
    run(mesh.root, "agent", "stop", "torch")
    try:
        assert row(mesh, "torch")["state"] == "stopped"
        waiting = wait_until(lambda: (now := row(mesh, "request_coordinator"))["state"] == "degraded" and now, 5)
        assert "torch@pc2" in waiting["reason"]
        assert [each["service"] for each in rows(mesh, "--state", "degraded")] == ["request_coordinator"]
        lines = run(mesh.root, "agents", "--state", "degraded").out.splitlines()
        assert lines[1].startswith("request_coordinator") and lines[2].startswith("    waiting for torch@pc2")
    finally:
        run(mesh.root, "agent", "start", "torch")
    wait_until(lambda: row(mesh, "request_coordinator")["reason"] is None, 5)


def test_one_host_can_be_asked_for(mesh: Project) -> None:
    assert [each["service"] for each in rows(mesh, "--host", "pc2")] == ["torch"]
    result = run(mesh.root, "agents", "--host", "pc3")
    assert result.code == 2 and "there is no host 'pc3'" in result.err


@pytest.mark.parametrize(("sort", "first"), [("host", "lamp"), ("calls", "lamp"), ("state", None)])
def test_the_order_can_be_chosen(mesh: Project, sort: str, first: str | None) -> None:
    for _ in range(3):
        mesh.call("lamp.shine", name="x")
    found = rows(mesh, "--sort", sort)
    assert len(found) == 3 and first in (None, found[0]["service"])
    if sort == "calls":
        assert [each["calls"] for each in found] == sorted((each["calls"] for each in found), reverse=True)


def test_the_table_for_people_fits_the_terminal(mesh: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    text = run(mesh.root, "agents").out
    assert text.splitlines()[0].split()[:3] == ["service", "host", "state"]
    assert all(len(each) <= 72 for each in text.splitlines()) and "\x1b" not in text
