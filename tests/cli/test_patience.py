"""Who waits at a terminal for over a second is told so, and the line is gone when the answer comes."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys

from mesh.cli.patience import CLEAR
from tests.eventually import wait_until
from tests.project import Project


def at_a_terminal(mesh: Project, *arguments: str) -> str:
    """Return what a command shows on a terminal, all of it."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "mesh.cli", *arguments], cwd=mesh.root, stdout=theirs,
                               stderr=theirs, stdin=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal's end when nobody holds it any more
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    wait_until(lambda: process.poll() is not None, 30)
    return shown.decode()


def test_a_long_call_says_that_it_waits_and_leaves_no_trace(mesh: Project) -> None:
    shown = at_a_terminal(mesh, "call", "lamp.glow", "seconds=3.2", "--timeout", "20")
    assert f"{CLEAR}mesh call: 2 of 20 s, Ctrl-C ends it" in shown
    assert "mesh call" not in shown.rpartition(CLEAR)[2]


def test_an_error_too_stands_alone_in_the_end(mesh: Project) -> None:
    shown = at_a_terminal(mesh, "call", "lamp.glow", "seconds=30", "--timeout", "2.5")
    assert "mesh call: 1 of 2.5 s" in shown and shown.rpartition(CLEAR)[2].startswith("mesh: ")


def test_off_a_terminal_nothing_is_said(mesh: Project) -> None:
    done = mesh.mesh("call", "lamp.glow", "seconds=1.6")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "null", "")
