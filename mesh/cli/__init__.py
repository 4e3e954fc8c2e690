"""The command line: `mesh`, what operators and admins touch.

Only what `mesh --help` needs is imported at the top; each command's module is loaded when the command runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from mesh.cli.command import run_app
from mesh.cli.commands import app

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (by default the one of this process) and return its exit code."""
    return run_app(app, arguments)
