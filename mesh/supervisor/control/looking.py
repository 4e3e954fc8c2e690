"""How a host and its agents are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mesh.agent.operation import operation
from mesh.supervisor.control.ruled import Family


class Looking(Family):
    """What can be seen of a host; changes nothing."""

    @operation(idempotent=True)
    async def status(self) -> dict[str, Any]:
        """How this host is."""
        return self._ruled.status()

    @operation(idempotent=True)
    async def agents(self) -> list[dict[str, Any]]:
        """How each agent of this host is."""
        return self._ruled.rows()

    @operation(idempotent=True)
    async def directory(self) -> dict[str, Any]:
        """Hosts and instances as this host knows them, also while the registry is away."""
        return self._ruled.table()

    @operation(idempotent=True)
    async def describe(self, service: str) -> dict[str, Any]:
        """An agent's operations, events, dependencies and settings."""
        return self._ruled.describe(self._cell(service))

    @operation(idempotent=True)
    async def edges(self) -> dict[str, Any]:
        """What each agent of this host has called since the host started, and which topics it hears."""
        return self._ruled.edges()

    @operation(idempotent=True)
    async def spans(self, trace_id: str) -> list[dict[str, Any]]:
        """What this host kept of one trace, in order."""
        return [asdict(span) for span in self._ruled.spans.of(trace_id)]
