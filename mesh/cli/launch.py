"""`python -m mesh.cli.launch`: what `mesh up` becomes when the configuration is found right and the mesh is to start.

It is a program of its own because it stays: a process that only keeps others alive has no use for the libraries of the
command line and of the configuration, which are two thirds of what `mesh up` holds.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from mesh.cli.guard import guarded
from mesh.cli.progress import Progress
from mesh.launcher.launcher import Launcher, default_commands
from mesh.launcher.outline import Outline

PROGRAM = "mesh.cli.launch"


@dataclass(frozen=True, slots=True)
class Launch:
    """What is to be started and how it is shown; `began` is the monotonic time of the command."""

    outline: Outline
    hosts: tuple[str, ...]
    watch: bool
    json: bool
    debug: bool
    status_fd: int | None
    began: float

    def run(self) -> int:
        """Keep the hosts alive until asked to stop; returns the exit code."""
        progress = Progress(self.outline, self.hosts, json=self.json, status_fd=self.status_fd)
        commands = default_commands(self.outline, self.hosts, watch=self.watch)
        launcher = Launcher(self.outline, self.hosts, on_event=progress, commands=commands, began=self.began)
        code = launcher.run()
        progress.end(code)
        return code

    def command(self) -> list[str]:
        """Return the command line that does it."""
        told = {"outline": self.outline.told(), "hosts": self.hosts, "watch": self.watch, "json": self.json,
                "debug": self.debug, "status_fd": self.status_fd, "began": self.began}
        return [sys.executable, "-m", PROGRAM, json.dumps(told)]


def become(launch: Launch) -> NoReturn:
    """Replace this process by the launcher."""
    sys.stdout.flush()
    command = launch.command()
    os.execv(command[0], command)


def main(arguments: Sequence[str]) -> int:
    """Launch what the command line tells, as `Launch.command` wrote it."""
    told = json.loads(arguments[0])
    launch = Launch(**{**told, "outline": Outline.read(told["outline"]), "hosts": tuple(told["hosts"])})
    return guarded(launch.run, debug=launch.debug)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
