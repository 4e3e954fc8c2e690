"""One command of the CLI inside the test's own process, which spares the start of an interpreter."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.cli import main


@dataclass(frozen=True)
class Result:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return the document it printed."""
        return json.loads(self.out)


def run(root: Path | None, *arguments: str) -> Result:
    """Run `mesh ARGUMENTS` for the project in `root`."""
    out, err = io.StringIO(), io.StringIO()
    given = [*(() if root is None else ("--config", str(root))), *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(given)
    return Result(code, out.getvalue(), err.getvalue())
