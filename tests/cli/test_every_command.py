"""Every command off a terminal: no colours, and no line wider than the terminal of whoever set COLUMNS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.cli.runner import run
from tests.cli.test_command import COMMANDS
from tests.project import Project

CALLS: Mapping[str, Sequence[str]] = {
    "status": (), "agents": (), "describe": ("lamp",), "call": ("lamp.shine", "name=x"), "publish": ("lamp.switched",),
    "ask": ("hello",), "check": (), "graph": (), "plan": (), "stubs": ("lamp", "--offline"), "doctor": (),
    "why": ("lamp",), "blame": (), "bench": ("--seconds", "0.3"), "trace": (), "logs": ("--limit", "20"),
    "top": ("--once",),
    "stream": ("lamp.shine", "name=x"), "errors": (), "errors show": ("nothing-1",), "errors ack": ("--all",),
    "errors mute": ("nothing",), "errors unmute": ("nothing",), "errors unack": ("nothing",), "config get": ("lamp",),
    "config diff": (), "config set": ("lamp", "colour", "red"), "config unset": ("lamp", "colour"),
    "new agent": ("walker",), "agent start": ("torch",), "agent restart": ("torch",), "agent stop": ("nobody",),
    "agent isolate": ("torch", "config"), "agent scale": ("torch", "1"),
    "agent drain": ("nobody",), "agent reload": ("torch",),
    "agent promote": ("torch:v2",), "keys show": (), "keys list": (),
    "cache show": (), "cache clear": ("--all",),
}
NOT_HERE = frozenset({
    "up", "down",  # would end the mesh of the other tests; test_up and test_down look at what they print
    "events tail", "errors tail",  # follow until Ctrl-C
    "backup", "restore",  # write archives of a whole installation
})
PASTED = ("call", "stream", "keys show", "graph", "new agent", "stubs")
"""What these print is to be pasted or piped as it is."""
WIDTHS = (60, 80, 200)


def names() -> list[str]:
    groups = set(COMMANDS) - {"errors"}
    return sorted([*(COMMANDS[""] - groups), *(f"{group} {name}" for group in COMMANDS if group
                                               for name in COMMANDS[group])])


def test_no_command_is_forgotten() -> None:
    assert [name for name in names() if name not in CALLS and name not in NOT_HERE] == []


@pytest.mark.parametrize("name", sorted(set(CALLS) & set(names())))
def test_no_colours_and_no_line_over_the_width(
    mesh: Project, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if name in ("new agent", "stubs"):
        mesh = _of_its_own(tmp_path)
    run(mesh.root, "call", "lamp.blow", "why=" + "a rather long reason " * 12)
    for width in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(width))
        result = run(mesh.root, *name.split(), *CALLS[name])
        assert "\x1b" not in result.out + result.err
        assert result.code in (0, 1, 2), result.err
        wide = [line for line in result.out.splitlines() if len(line) > width]
        assert name in PASTED or wide == [], f"at {width} columns: {wide}"


def _of_its_own(folder: Path) -> Project:
    """Return a project that may be written to; stubs need none that runs."""
    made = Project(folder)
    made.agent("lamp", "from mesh import Agent, operation\n\n\nclass It(Agent):\n    @operation\n"
                       "    async def shine(self) -> None: ...\n")
    return made
