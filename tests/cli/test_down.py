"""`mesh down` finds what runs even when the folder that told of it is gone."""

from __future__ import annotations

import shutil

from tests.cli.runner import run
from tests.project import Project


def test_hosts_whose_folder_was_deleted_are_stopped_with_their_launcher(furnished: Project) -> None:
    furnished.mesh("up", "--detach")
    shutil.rmtree(furnished.home)
    assert run(furnished.root, "status").code == 3
    assert run(furnished.root, "down", "--host", "pc2").out == "stopped: pc2\n"
    assert run(furnished.root, "down").out == "stopped: mainpc\n"
    assert run(furnished.root, "down").out == "nothing is running\n"


def test_a_mesh_of_the_same_project_with_another_folder_is_left_alone(furnished: Project) -> None:
    up = furnished.up()
    assert furnished.mesh("down", MESH_HOME=str(furnished.root / "other")).returncode == 3
    assert up.poll() is None and run(furnished.root, "status").code == 0
