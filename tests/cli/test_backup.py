"""What a running mesh keeps is saved, wiped and brought back: keys, wishes of operators, errors, the agents' data."""

from __future__ import annotations

import shutil

import pytest

from tests.cli.runner import run
from tests.project import Project

DIARY = '''
    from mesh import DataAgent, operation


    class It(DataAgent):
        """Keeps what it is told."""

        @operation
        async def keep(self, text: str) -> None:
            (self.folder / "diary.txt").write_text(text)

        @operation
        async def read(self) -> str:
            return (self.folder / "diary.txt").read_text()
'''


def test_a_running_mesh_is_saved_wiped_and_restored(
    furnished: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    furnished.agent("diary", DIARY, host="pc2")
    furnished.up()
    assert furnished.call("diary.keep", text="June 3")["ok"]
    failed = furnished.call("lamp.blow", why="remember me")["error"]["error_id"]
    assert run(furnished.root, "agent", "stop", "torch").code == 0
    keys = {path.name: path.read_text() for path in (furnished.home / "keys").iterdir()}
    archive = tmp_path_factory.mktemp("kept") / "saved.mesh"
    saved = run(furnished.root, "backup", str(archive), "--json")
    assert saved.code == 0, saved.err
    assert {"keys/operator.key", "mainpc/state/registry.db", "pc2/state/diary/diary.txt"} <= set(saved.json()["files"])
    refused = run(furnished.root, "restore", str(archive), "--force")
    assert refused.code == 2 and "mainpc, pc2 of this project run here" in refused.err
    run(furnished.root, "down")
    shutil.rmtree(furnished.home)
    assert run(furnished.root, "restore", str(archive)).code == 0
    furnished.up()
    assert {path.name: path.read_text() for path in (furnished.home / "keys").iterdir()} == keys
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (furnished.home / "keys").iterdir())
    assert furnished.call("diary.read")["result"] == "June 3"
    assert "remember me" in run(furnished.root, "errors", "show", failed).out
    states = {row["service"]: row["state"] for row in furnished.json("agents")}
    assert states["torch"] == "stopped" and states["lamp"] == "ready"
