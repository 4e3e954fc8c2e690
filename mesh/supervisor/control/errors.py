"""The kept errors of a host."""

from __future__ import annotations

from typing import Any, Literal

from mesh.address import nearest
from mesh.agent.operation import operation
from mesh.errorbus import Severity, Standing
from mesh.errors import InvalidArgument
from mesh.supervisor.control.ruled import Family


class Errors(Family):
    """The error bus's history."""

    @operation(idempotent=True)
    async def errors(
        self, service: str | None = None, severity: str | None = None, limit: int = 100, muted: bool = True
    ) -> list[dict[str, Any]]:
        """The kept errors of this host in groups, the latest first; muted ones or not."""
        least = None if severity is None else _severity(severity)
        return [each.model_dump(mode="json")
                for each in self._ruled.errors.groups(service=service, severity=least, muted=muted, limit=limit)]

    @operation(idempotent=True)
    async def judge_errors(
        self, fingerprints: list[str], state: Literal["new", "acknowledged", "muted"], until: float | None = None
    ) -> list[dict[str, Any]]:
        """Acknowledge groups until they occur again, mute them until a moment or for good, or make them new again.

        Returns those of them that this host keeps; it mutes the others too, for when they come.
        """
        judged = (self._ruled.errors.judge(fingerprint, Standing(state, until if state == "muted" else None))
                  for fingerprint in fingerprints)
        return [each.model_dump(mode="json") for each in judged if each is not None]

    @operation(idempotent=True)
    async def errors_since(self, id: str | None = None) -> list[dict[str, Any]]:
        """The kept errors of this host after one of them, all of them for null."""
        return [record.event() for record in self._ruled.errors.since(id)]

    @operation(idempotent=True)
    async def error(self, id: str) -> dict[str, Any] | None:
        """One error of this host with its traceback and what was done about it, null if it is not kept."""
        record = self._ruled.errors.one(id)
        return None if record is None else record.model_dump(mode="json")


def _severity(text: str) -> Severity:
    try:
        return Severity(text)
    except ValueError:
        like = nearest(text, list(Severity))
        raise InvalidArgument(
            f"severity is {text!r}{f', did you mean {like}?' if like else ''}; there are {', '.join(Severity)}",
            path="severity",
        ) from None
