"""`mesh agent start|stop|restart|isolate`: waits for the outcome, may be repeated, touches no other agent."""

from __future__ import annotations

from typing import Any

from tests.cli.runner import run
from tests.project import Project


def state(mesh: Project, service: str) -> dict[str, Any]:
    return next(row for row in run(mesh.root, "agents", "--json").json() if row["service"] == service)


def test_stop_and_start_wait_for_the_outcome_and_may_be_repeated(mesh: Project) -> None:
    for _ in range(2):
        told = run(mesh.root, "agent", "stop", "torch", "--json").json()
        assert (told["ok"], told["state"], told["host"], told["warning"]) == (True, "stopped", "pc2", None)
        assert state(mesh, "torch")["state"] == "stopped"
    error = run(mesh.root, "call", "torch.seen", "--json").json()["error"]
    assert error["code"] == "unavailable" and "torch" in error["message"]
    for _ in range(2):
        result = run(mesh.root, "agent", "start", "torch")
        assert (result.code, result.out) == (0, "torch on pc2 is ready\n")
    assert run(mesh.root, "call", "torch.seen").code == 0


def test_a_restart_is_a_new_incarnation_of_this_agent_alone(mesh: Project) -> None:
    before, other = state(mesh, "torch"), state(mesh, "lamp")
    assert run(mesh.root, "agent", "restart", "torch", "--host", "pc2", "--json").json()["state"] == "ready"
    assert state(mesh, "torch")["incarnation"] > before["incarnation"]
    assert state(mesh, "torch")["pid"] == before["pid"]
    assert state(mesh, "lamp")["incarnation"] == other["incarnation"]


def test_an_agent_is_moved_into_a_process_and_back(mesh: Project) -> None:
    before = state(mesh, "torch")
    told = run(mesh.root, "agent", "isolate", "torch", "process", "--json").json()
    assert (told["ok"], told["isolation"], told["warning"]) == (True, "process", None) and told["pid"] != before["pid"]
    moved = state(mesh, "torch")
    assert (moved["pid"], moved["isolation"], moved["isolation_origin"]) == (told["pid"], "process", "override")
    assert f"process (pid {told['pid']}" in run(mesh.root, "describe", "torch").out
    assert run(mesh.root, "call", "torch.seen").code == 0
    result = run(mesh.root, "agent", "isolate", "torch", "config")
    assert (result.code, result.out) == (0, f"torch on pc2 is ready, as a coroutine (pid {before['pid']})\n")
    result = run(mesh.root, "agent", "isolate", "torch", "proces")
    assert result.code == 1 and "did you mean process?" in result.err


def test_an_unknown_agent_is_refused_with_the_nearest_name(mesh: Project) -> None:
    result = run(mesh.root, "agent", "restart", "troch")
    assert result.code == 1 and "a service troch; did you mean torch?" in result.err
    result = run(mesh.root, "agent", "stop", "torch", "--host", "mainpc")
    assert result.code == 1 and "mainpc has no agent torch" in result.err
    assert state(mesh, "torch")["state"] == "ready"
