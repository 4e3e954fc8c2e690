"""A command that follows something, in a process of its own, and what it has printed so far."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

from tests.eventually import wait_until
from tests.project import Project


class Following:
    """`mesh ARGUMENTS` while it runs."""

    def __init__(self, made: Project, process: subprocess.Popen[str]) -> None:
        self._made = made
        self.process = process

    @property
    def text(self) -> str:
        """Everything it has printed, on both streams."""
        return self._made.output(self.process)

    def rows(self) -> list[dict[str, Any]]:
        """Return its lines of JSON."""
        return [json.loads(line) for line in self.text.splitlines(keepends=True)
                if line.startswith("{") and line.endswith("\n")]

    def interrupt(self) -> int:
        """Press Ctrl-C and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(10)


@contextlib.contextmanager
def following(made: Project, *arguments: str, until: str = "") -> Iterator[Following]:
    """Run a command that follows something; begins when it has printed `until`."""
    process = made.spawn("mesh.cli", *arguments)
    it = Following(made, process)
    try:
        wait_until(lambda: until in it.text, 20)
        yield it
    finally:
        process.kill()
        process.wait(10)
