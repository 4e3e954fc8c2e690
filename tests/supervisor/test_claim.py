"""Only one launcher holds a project, and what a dead one wrote is not believed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import psutil
import pytest

from mesh.errors import StartError
from mesh.supervisor.claim import Claim, Running, running


def write(home: Path, **fields: object) -> None:
    me = psutil.Process()
    told = {"pid": me.pid, "started": me.create_time(), "hosts": ["pc2"], "children": {}, **fields}
    (home / "run").mkdir(exist_ok=True)
    (home / "run" / "launcher.json").write_text(json.dumps(told))


def test_who_holds_it_can_be_read_by_others(tmp_path: Path) -> None:
    claim = Claim(tmp_path, ["mainpc", "pc2"])
    assert claim.take() == []
    claim.tell({"pc2": 77})
    assert running(tmp_path) == Running(os.getpid(), psutil.Process().create_time(), ("mainpc", "pc2"), {"pc2": 77})
    claim.release()
    assert running(tmp_path) is None


def test_a_second_claim_is_refused_until_the_first_is_released(tmp_path: Path) -> None:
    first, second = Claim(tmp_path, ["pc2"]), Claim(tmp_path, ["mainpc"])
    first.take()
    with pytest.raises(StartError, match="just starting or ending"):
        second.take()
    first.tell({})
    with pytest.raises(StartError, match=f"already runs here as pid {os.getpid()}, for pc2; stop it with `mesh down`"):
        second.take()
    first.release()
    second.take()
    second.release()


def test_claims_of_two_homes_do_not_meet(tmp_path: Path) -> None:
    claims = [Claim(tmp_path / name, ["pc2"]) for name in ("one", "two")]
    for claim in claims:
        claim.take()
    for claim in claims:
        claim.release()


@pytest.mark.parametrize("text", [
    "", "{", "[]", '{"pid": 1}', '{"pid": "x", "started": 0, "hosts": [], "children": {}}',
    '{"pid": 1, "started": 0, "hosts": [], "children": []}',
])
def test_an_unreadable_file_is_no_launcher(tmp_path: Path, text: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "launcher.json").write_text(text)
    assert running(tmp_path) is None
    claim = Claim(tmp_path, ["pc2"])
    assert claim.take() == []
    claim.release()


@pytest.mark.parametrize("wrong", [{"started": 1_000_000.0}, {"pid": 1_999_999_999}, {"pid": -1}])
def test_the_file_of_a_dead_launcher_is_ignored(tmp_path: Path, wrong: dict[str, object]) -> None:
    write(tmp_path, **wrong)
    assert running(tmp_path) is None
    claim = Claim(tmp_path, ["pc2"])
    claim.take()
    claim.release()


def test_processes_a_dead_launcher_left_are_named_and_others_of_those_pids_are_not(tmp_path: Path) -> None:
    left = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    other = subprocess.Popen(["sleep", "1000"])
    try:
        began = psutil.Process(left.pid).create_time()
        children = {"pc2": left.pid, "mainpc": other.pid, "registry": 1_999_999_999}
        for started, expected in ((began - 60, [left.pid]), (began + 60, [])):
            write(tmp_path, pid=1_999_999_999, started=started, children=children)
            claim = Claim(tmp_path, ["pc2"])
            assert [process.pid for process in claim.take()] == expected
            claim.release()
    finally:
        for process in (left, other):
            process.kill()
            process.wait()


def test_a_folder_that_cannot_be_made_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    with pytest.raises(StartError, match="set MESH_HOME"):
        Claim(tmp_path / "home", ["pc2"]).take()
