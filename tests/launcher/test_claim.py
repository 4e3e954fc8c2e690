"""Each host has one launcher at most, and what a dead launcher wrote is not believed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from mesh.errors import MeshError, StartError
from mesh.launcher.claim import LEAVE, Claim, Running, ask_to_leave, ensure_unclaimed, running, tell_launcher

DEAD = 1_999_999_999
OTHER = """
import sys
from pathlib import Path
from mesh.launcher.claim import Claim

claim = Claim(Path(sys.argv[1]), sys.argv[2:])
claim.take()
for host in claim.held:
    claim.tell(host, {})
print("holds", flush=True)
sys.stdin.read()
"""


def write(home: Path, fields: Mapping[str, object], host: str = "pc2") -> None:
    me = psutil.Process()
    told = {"pid": me.pid, "started": me.create_time(), "children": {}, **fields}
    (home / "run").mkdir(exist_ok=True)
    (home / "run" / f"{host}.json").write_text(json.dumps(told))


def released(claim: Claim) -> None:
    for host in claim.held:
        claim.release(host)


@contextmanager
def another(home: Path, *hosts: str) -> Iterator[int]:
    """Let another process hold some hosts; gives its pid."""
    command = [sys.executable, "-c", OTHER, str(home), *hosts]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "holds\n"
        yield process.pid
        process.kill()


def test_who_holds_which_host_can_be_read_by_others(tmp_path: Path) -> None:
    claim = Claim(tmp_path, ["pc2", "mainpc"])
    assert claim.take() == []
    claim.tell("pc2", {"pc2": 77})
    claim.tell("mainpc", {"mainpc": 78, "registry": 79})
    began = psutil.Process().create_time()
    (found,) = running(tmp_path)
    assert found == Running(os.getpid(), began, ("mainpc", "pc2"), {"mainpc": 78, "registry": 79, "pc2": 77})
    claim.release("pc2")
    assert running(tmp_path) == [Running(os.getpid(), began, ("mainpc",), {"mainpc": 78, "registry": 79})]
    claim.release("mainpc")
    assert running(tmp_path) == [] and not claim.held


def test_launchers_of_other_hosts_live_side_by_side(tmp_path: Path) -> None:
    with another(tmp_path, "pc2") as pid:
        claim = Claim(tmp_path, ["mainpc"])
        claim.take()
        claim.tell("mainpc", {})
        assert [(one.pid, one.hosts) for one in running(tmp_path)] == [(os.getpid(), ("mainpc",)), (pid, ("pc2",))]
        released(claim)
    assert running(tmp_path) == []


def test_a_host_that_is_held_is_refused_with_who_holds_it_until_it_is_released(tmp_path: Path) -> None:
    first, second = Claim(tmp_path, ["pc2"]), Claim(tmp_path, ["pc2"])
    first.take()
    with pytest.raises(StartError, match="just starting or stopping pc2"):
        second.take()
    first.tell("pc2", {})
    said = f"already runs here as pid {os.getpid()}, for pc2; stop pc2 with `mesh down --host pc2` first"
    with pytest.raises(StartError, match=said):
        second.take()
    first.release("pc2")
    second.take()
    released(second)


def test_of_several_hosts_all_are_held_or_none(tmp_path: Path) -> None:
    with another(tmp_path, "pc2") as pid:
        claim = Claim(tmp_path, ["mainpc", "pc2", "pc3"])
        with pytest.raises(StartError, match=f"as pid {pid}, for pc2"):
            claim.take()
        assert not claim.held
        rest = Claim(tmp_path, ["mainpc", "pc3"])
        rest.take()
        released(rest)


def test_a_refusal_names_every_launcher_in_the_way_and_the_host_that_is_free(tmp_path: Path) -> None:
    with another(tmp_path, "mainpc") as one, another(tmp_path, "pc2", "pc4") as two:
        ensure_unclaimed(tmp_path, ["pc3"])
        with pytest.raises(StartError) as refused:
            ensure_unclaimed(tmp_path, ["mainpc", "pc2", "pc3"])
        assert refused.value.message == (
            f"`mesh up` already runs here as pid {one}, for mainpc and as pid {two}, for pc2, pc4; stop them with "
            "`mesh down`, or one of them with `mesh down --host NAME`, or start pc3 alone with `mesh up --host pc3`"
        )
    ensure_unclaimed(tmp_path, ["mainpc", "pc2", "pc3"])


def test_claims_of_two_homes_do_not_meet(tmp_path: Path) -> None:
    claims = [Claim(tmp_path / name, ["pc2"]) for name in ("one", "two")]
    for claim in claims:
        claim.take()
    for claim in claims:
        released(claim)


@pytest.mark.parametrize("text", [
    "", "{", "[]", '{"pid": 1}', '{"pid": "x", "started": 0, "children": {}}',
    '{"pid": 1, "started": 0, "children": []}',
])
def test_an_unreadable_file_is_no_launcher(tmp_path: Path, text: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "pc2.json").write_text(text)
    assert running(tmp_path) == []
    claim = Claim(tmp_path, ["pc2"])
    assert claim.take() == []
    released(claim)


@pytest.mark.parametrize("wrong", [{"started": 1_000_000.0}, {"pid": DEAD}, {"pid": -1}, {"pid": 10**30}])
def test_the_file_of_a_dead_launcher_is_ignored(tmp_path: Path, wrong: dict[str, object]) -> None:
    write(tmp_path, wrong)
    assert running(tmp_path) == []
    claim = Claim(tmp_path, ["pc2"])
    claim.take()
    released(claim)


def test_processes_a_dead_launcher_left_are_named_and_others_of_those_pids_are_not(tmp_path: Path) -> None:
    left = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    other = subprocess.Popen(["sleep", "1000"])
    try:
        began = psutil.Process(left.pid).create_time()
        children = {"pc2": left.pid, "mainpc": other.pid, "registry": DEAD}
        for started, expected in ((began - 60, [left.pid]), (began + 60, [])):
            write(tmp_path, {"pid": DEAD, "started": started, "children": children})
            claim = Claim(tmp_path, ["pc2"])
            assert [process.pid for process in claim.take()] == expected
            released(claim)
        write(tmp_path, {"pid": DEAD, "started": began - 60, "children": children}, "mainpc")
        claim = Claim(tmp_path, ["pc3"])
        assert claim.take() == []  # what was left of other hosts is in nobody's way
        released(claim)
    finally:
        for process in (left, other):
            process.kill()
            process.wait()


def test_what_is_left_of_a_host_stays_known_until_somebody_else_keeps_it(tmp_path: Path) -> None:
    write(tmp_path, {"pid": DEAD, "children": {"pc2": 1}})
    claim = Claim(tmp_path, ["pc2"])
    claim.take()
    released(claim)
    assert (tmp_path / "run" / "pc2.json").exists()


def test_a_launcher_can_be_asked_to_give_up_one_host(tmp_path: Path) -> None:
    claim = Claim(tmp_path, ["mainpc", "pc2"])
    claim.take()
    came: list[int] = []
    before = signal.signal(LEAVE, lambda number, _: came.append(number))
    try:
        ask_to_leave(tmp_path, Running(os.getpid(), 0.0, ("mainpc", "pc2"), {}), "pc2")
    finally:
        signal.signal(LEAVE, before)
    assert came == [LEAVE]
    assert claim.asked_to_leave() == ["pc2"]
    assert claim.asked_to_leave() == []
    released(claim)


def test_what_another_launcher_was_asked_for_is_not_done_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with subprocess.Popen(["sleep", "1000"]) as gone:
        ask_to_leave(tmp_path, Running(gone.pid, 0.0, ("pc2",), {}), "pc2")
        assert gone.wait(5) == -LEAVE
    tell_launcher(Running(gone.pid, 0.0, ("pc2",), {}), LEAVE)  # to ask one that has ended is no error
    claim = Claim(tmp_path, ["pc2"])
    claim.take()
    assert claim.asked_to_leave() == []
    released(claim)


def test_a_launcher_of_another_user_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    with pytest.raises(MeshError, match="`mesh up` with pid 4242 belongs to another user"):
        tell_launcher(Running(4242, 0.0, (), {}), LEAVE)


def test_a_folder_that_cannot_be_made_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    with pytest.raises(StartError, match="set MESH_HOME"):
        Claim(tmp_path / "home", ["pc2"]).take()
