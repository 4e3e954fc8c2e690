"""The command line: `mesh`, what operators and admins touch.

Each command's module is loaded when the command runs, and the parser of the command line by `main`: the launcher that
`mesh up` becomes does without.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (by default the one of this process) and return its exit code."""
    from mesh.cli.command import run_app  # see the head of this file
    from mesh.cli.commands import app

    return run_app(app, arguments)
