"""`mesh agent reload|drain` and `restart --rolling`: the code on disk serves, or the old goes on and it is said why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.runner import run
from tests.project import Project


@pytest.fixture
def torch(mesh: Project) -> Iterator[Path]:
    """Give the file of the agent `torch`, which is as it was afterwards."""
    file = mesh.root / "agents" / "torch.py"
    before = file.read_text()
    yield file
    file.write_text(before)
    assert run(mesh.root, "agent", "reload", "torch", "--force").code == 0


def incarnation(mesh: Project, service: str) -> int:
    rows = run(mesh.root, "agents", "--json").json()
    return int(next(row["incarnation"] for row in rows if row["service"] == service))


NEW = '''
    @operation
    async def added(self, much: int) -> int:
        return much + 1
'''


def test_new_code_serves_and_a_second_time_it_may_be_asked_for(mesh: Project, torch: Path) -> None:
    assert run(mesh.root, "call", "torch.added", "much=1", "--json").json()["error"]["code"] == "unknown_operation"
    before = incarnation(mesh, "torch")
    torch.write_text(torch.read_text() + NEW)
    result = run(mesh.root, "agent", "reload", "torch")
    assert (result.code, result.out) == (0, "torch on pc2 is ready with new code, set up beside the old\n")
    assert run(mesh.root, "call", "torch.added", "much=1", "--json").json()["result"] == 2
    assert incarnation(mesh, "torch") > before
    told = run(mesh.root, "agent", "reload", "torch", "--json").json()
    assert (told["ok"], told["agents"][0]["taken"], told["agents"][0]["breaks"]) == (True, True, [])
    assert "reloaded: the new code was set up beside the old" in run(mesh.root, "why", "torch", "--json").out


def test_code_that_does_not_load_or_come_up_leaves_the_old_serving(mesh: Project, torch: Path) -> None:
    before = torch.read_text()
    torch.write_text(before + "def (:\n")
    result = run(mesh.root, "agent", "reload", "torch")
    assert result.code == 1 and "torch on pc2 goes on with its old code:" in result.out
    assert "is no valid Python" in result.out
    torch.write_text(before + '''
    async def setup(self) -> None:
        raise ValueError("no licence file")
''')
    told = run(mesh.root, "agent", "reload", "torch", "--json").json()
    assert (told["ok"], told["agents"][0]["state"]) == (False, "ready")
    assert "no licence file" in told["agents"][0]["failure"]
    assert run(mesh.root, "call", "torch.seen").code == 0
    assert "no licence file" in run(mesh.root, "errors", "--service", "torch").out


def test_code_that_breaks_callers_is_refused_with_who_they_are_unless_forced(mesh: Project, torch: Path) -> None:
    before = torch.read_text()
    torch.write_text(before + NEW)
    assert run(mesh.root, "agent", "reload", "torch").code == 0
    torch.write_text(before + NEW.replace("much: int", "much: str").replace("much + 1", "len(much)"))
    result = run(mesh.root, "agent", "reload", "torch")
    assert result.code == 1 and "it would break its callers" in result.out
    assert "torch.added: argument 'much' is str now, and was int; nobody has called it yet" in result.out
    assert run(mesh.root, "call", "torch.added", "much=1").code == 0
    result = run(mesh.root, "agent", "reload", "torch", "--force")
    assert result.code == 0 and "argument 'much' is str now" in result.out
    assert run(mesh.root, "call", "torch.added", "much=abc", "--json").json()["result"] == 3


def test_one_that_is_stopped_takes_its_new_code_when_it_starts(mesh: Project, torch: Path) -> None:
    for _ in range(2):
        told = run(mesh.root, "agent", "drain", "torch", "--json").json()
        assert (told["ok"], told["state"]) == (True, "stopped")
    torch.write_text(torch.read_text() + NEW)
    result = run(mesh.root, "agent", "reload", "torch")
    assert (result.code, result.out) == (0, "torch on pc2 is stopped: it takes its new code when it is started\n")
    assert run(mesh.root, "agent", "start", "torch").code == 0
    assert run(mesh.root, "call", "torch.added", "much=1").code == 0


def test_a_rolling_restart_is_a_new_incarnation(mesh: Project) -> None:
    before = incarnation(mesh, "lamp")
    result = run(mesh.root, "agent", "restart", "lamp", "--rolling")
    assert (result.code, result.out) == (0, "lamp on mainpc is ready\n") and incarnation(mesh, "lamp") > before


def test_all_are_reloaded_and_none_before_one_it_depends_on(mesh: Project) -> None:
    told = run(mesh.root, "agent", "reload", "--all", "--json").json()
    assert told["ok"] and {row["service"] for row in told["agents"]} == {
        row["service"] for row in run(mesh.root, "agents", "--json").json()}


def test_what_to_reload_has_to_be_said(mesh: Project) -> None:
    assert run(mesh.root, "agent", "reload").code == 2
    assert run(mesh.root, "agent", "reload", "torch", "--all").code == 2
    assert "did you mean torch?" in run(mesh.root, "agent", "reload", "troch").err


def test_a_process_makes_room_for_a_new_one_with_the_new_code(mesh: Project, torch: Path) -> None:
    first = run(mesh.root, "agent", "isolate", "torch", "process", "--json").json()
    try:
        torch.write_text(torch.read_text() + NEW)
        told = run(mesh.root, "agent", "reload", "torch", "--json").json()
        assert (told["ok"], told["agents"][0]["how"]) == (True, "beside")
        assert run(mesh.root, "call", "torch.added", "much=1", "--json").json()["result"] == 2
        row = next(row for row in run(mesh.root, "agents", "--json").json() if row["service"] == "torch")
        assert row["pid"] != first["pid"] and (row["isolation"], row["restarts"]) == ("process", 0)
    finally:
        assert run(mesh.root, "agent", "isolate", "torch", "config").code == 0


def test_new_code_runs_beside_the_old_under_its_own_name_until_it_takes_its_place(mesh: Project, torch: Path) -> None:
    torch.write_text(torch.read_text() + NEW)
    result = run(mesh.root, "agent", "reload", "torch", "--as", "v2")
    assert (result.code, result.out) == (
        0, "torch:v2 on pc2 is ready beside torch\n  `mesh agent promote torch:v2` puts it in its place\n"
           "  `mesh agent stop torch:v2` ends it\n")
    assert run(mesh.root, "call", "torch:v2.added", "much=1", "--json").json()["result"] == 2
    assert run(mesh.root, "call", "torch.added", "much=1", "--json").json()["error"]["code"] == "unknown_operation"
    assert "torch:v2" in {row["service"] for row in run(mesh.root, "agents", "--json").json()}
    again = run(mesh.root, "agent", "reload", "torch", "--as", "v2")
    assert again.code == 1 and "torch:v2 runs on pc2 already" in again.err
    result = run(mesh.root, "agent", "promote", "torch:v2")
    assert (result.code, result.out) == (0, "torch on pc2 is ready with new code, set up beside the old\n")
    assert run(mesh.root, "call", "torch.added", "much=1", "--json").json()["result"] == 2
    gone = run(mesh.root, "call", "torch:v2.added", "much=1", "--json").json()["error"]
    assert gone["code"] in ("unavailable", "unknown_service")


def test_a_version_is_ended_by_its_name_and_its_service_goes_on(mesh: Project, torch: Path) -> None:
    assert run(mesh.root, "agent", "reload", "torch", "--as", "trial").code == 0
    before = incarnation(mesh, "torch")
    assert run(mesh.root, "agent", "stop", "torch:trial").code == 0
    assert "torch:trial" not in {row["service"] for row in run(mesh.root, "agents", "--json").json()}
    assert incarnation(mesh, "torch") == before
    result = run(mesh.root, "agent", "promote", "torch:trial")
    assert result.code == 1


def test_a_version_that_does_not_come_up_is_gone_again_and_said_why(mesh: Project, torch: Path) -> None:
    torch.write_text(torch.read_text() + '''
    async def setup(self) -> None:
        raise ValueError("no licence file")
''')
    result = run(mesh.root, "agent", "reload", "torch", "--as", "v3")
    assert result.code == 1 and "torch:v3 did not come up on pc2 and is gone again" in result.err
    assert "no licence file" in result.err
    assert run(mesh.root, "call", "torch.seen").code == 0
    wrong = run(mesh.root, "agent", "reload", "torch", "--as", "V 3")
    assert wrong.code == 1 and "cannot name a version of torch" in wrong.err
