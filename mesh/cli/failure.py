"""A request that failed: a document for programs, for people what `guarded` says of its error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from mesh.cli.scope import Scope
from mesh.cli.screen import document
from mesh.errors import ALWAYS, MeshError


@dataclass(frozen=True, slots=True)
class Failure:
    """The error that `service.operation` or the way to it ended with; `host` is who said so.

    `elapsed_ms` and `trace_id` are None where no call was made.
    """

    error: MeshError
    target: str
    host: str | None = None
    elapsed_ms: float | None = None
    trace_id: str | None = None
    attempts: int = 1

    def show(self, scope: Scope) -> int:
        """Print it as a document and return the exit code; for people, raise it instead."""
        if not scope.json:
            raise self.error
        document(self.told())
        return self.error.exit_code

    def told(self) -> dict[str, Any]:
        """Return the document."""
        return {"ok": False, "error": self._error(), "attempts": self.attempts,
                "elapsed_ms": self.elapsed_ms, "trace_id": self.trace_id}

    def _error(self) -> dict[str, Any]:
        error = self.error
        service, _, operation = self.target.partition(".")
        return {"code": error.code or _code(type(error)), "message": error.message, "service": service,
                "operation": operation or None, "host": self.host, "retryable": error.retryable,
                **{name: error.details[name] for name in (*ALWAYS, *error.carries) if name in error.details}}


def _code(kind: type[MeshError]) -> str:
    """Return a code for an error that never crosses the wire, such as `mesh_unreachable`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()
