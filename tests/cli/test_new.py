"""`mesh new agent`: what it writes is in order as it is, and it overwrites nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.cli.new import LAYERS, class_name
from tests.cli.runner import run
from tests.project import Project, project

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Project]:
    with project(tmp_path) as given:
        yield given


def tool(made: Project, *words: str) -> None:
    done = subprocess.run([sys.executable, "-m", *words], cwd=made.root, capture_output=True, text=True, check=False,
                          env={**os.environ, "MYPYPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("among_us", [True, False])
def test_what_it_writes_passes_check_lint_types_and_its_own_test(made: Project, among_us: bool) -> None:
    files = []
    if among_us:  # a checkout of the mesh itself
        (made.root / "mesh").symlink_to(ROOT / "mesh")
    for layer in LAYERS:
        told = run(made.root, "new", "agent", f"my_{layer.lower()}", "--layer", layer, "--host", "pc2", "--json").json()
        assert (told["host"], told["layer"]) == ("pc2", layer)
        files += [file for file in told["files"] if file.endswith(".py")]
    assert run(made.root, "check").out == "the configuration and every agent are in order\n"
    tool(made, "ruff", "check", "--isolated", "--select", "E,F,W,I,B,UP,C4,SIM,RUF,ASYNC", "--line-length", "120",
         "agents", "tests")
    tool(made, "mypy", "--strict", "--follow-imports", "silent", *files)
    tool(made, "pytest", "-q", "-p", "no:cacheprovider", "tests")


def test_the_commands_it_names_are_those_that_work(made: Project) -> None:
    result = run(made.root, "new", "agent", "door_bell")
    assert result.code == 0 and "door_bell, to run on mainpc" in result.out
    for command in ("python -m pytest -q tests/agents/test_door_bell.py", "mesh describe door_bell"):
        assert command in result.out
    assert "class: agents/mainpc/door_bell.py:DoorBell" in (made.root / "config/agents/door_bell.yaml").read_text()


@pytest.mark.parametrize(("name", "told"), [
    ("DoorBell", "what about door_bell?"),
    ("door-bell", "what about door_bell?"),
    ("2fast", "a letter first"),
    ("../escape", "what about escape?"),
    ("", "a letter first"),
    ("registry", "what the mesh itself is called"),
    ("agent", "the mesh has one of its own"),
    ("true", "Python keeps that word"),
    ("class", "Python keeps that word"),
])
def test_a_name_that_cannot_be_is_refused(made: Project, name: str, told: str) -> None:
    result = run(made.root, "new", "agent", "--", name)
    assert result.code == 2 and told in result.err
    assert list((made.root / "config" / "agents").iterdir()) == []


def test_nothing_is_overwritten(made: Project) -> None:
    assert run(made.root, "new", "agent", "lamp").code == 0
    again = run(made.root, "new", "agent", "lamp")
    assert again.code == 2 and "there is an agent lamp already, in agents/mainpc/lamp.py" in again.err
    test = made.root / "tests" / "agents" / "test_torch.py"
    test.write_text("mine")
    result = run(made.root, "new", "agent", "torch")
    assert result.code == 2 and "tests/agents/test_torch.py is there already" in result.err
    assert test.read_text() == "mine" and not (made.root / "agents" / "mainpc" / "torch.py").exists()


def test_wrong_hosts_and_layers_are_refused_with_the_nearest(made: Project) -> None:
    assert "did you mean mainpc?" in run(made.root, "new", "agent", "lamp", "--host", "mainpcc").err
    assert "did you mean DataAgent?" in run(made.root, "new", "agent", "lamp", "--layer", "dataagent").err


def test_what_cannot_be_written_whole_is_not_written_at_all(made: Project) -> None:
    (made.root / "tests").write_text("a file where a folder belongs")
    result = run(made.root, "new", "agent", "lamp")
    assert result.code == 2 and "cannot be written" in result.err
    assert not (made.root / "agents" / "mainpc" / "lamp.py").exists()
    assert not (made.root / "config" / "agents" / "lamp.yaml").exists()


def test_class_names_read_like_the_service() -> None:
    assert [class_name(name) for name in ("lamp", "knowledge_base", "vision_2")] == ["Lamp", "KnowledgeBase", "Vision2"]
