"""How a host and its agents are."""

from __future__ import annotations

from typing import Any

from mesh.agent.operation import operation
from mesh.errors import InvalidArgument
from mesh.supervisor.control.ruled import Family

SHORTEST = 4
MOST_SPANS = 2_000
MOST_TRACES = 1_000
HEX = frozenset("0123456789abcdef")


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
    async def top(self) -> dict[str, Any]:
        """What this host and its agents have done so far, as counts, and the latest errors."""
        return self._ruled.top()

    @operation(idempotent=True)
    async def blame(self) -> dict[str, Any]:
        """Who used this host's event loop, and who held it where."""
        return self._ruled.blame()

    @operation(idempotent=True)
    async def directory(self) -> dict[str, Any]:
        """Hosts and instances as this host knows them, also while the registry is away."""
        return self._ruled.table()

    @operation(idempotent=True)
    async def describe(self, service: str) -> dict[str, Any]:
        """An agent's operations, events, dependencies and settings."""
        return self._ruled.describe(self._cell(service))

    @operation(idempotent=True)
    async def explain(self, service: str) -> dict[str, Any]:
        """What this host knows of any service: its cell, who offers it, whether a call would go through, its errors."""
        return self._ruled.explain(service)

    @operation(idempotent=True)
    async def policies(self, service: str) -> dict[str, Any]:
        """The rules around calls of any service, each with where it came from, and this host's breakers and budget."""
        return self._ruled.policies(service)

    @operation(idempotent=True)
    async def breakers(self) -> list[dict[str, Any]]:
        """The breakers of this host that are not closed, in front of any instance of any service."""
        return self._ruled.tripped()

    @operation(idempotent=True)
    async def edges(self) -> dict[str, Any]:
        """What each agent of this host has called since the host started, and which topics it hears."""
        return self._ruled.edges()

    @operation(idempotent=True)
    async def spans(self, trace_id: str) -> list[dict[str, Any]]:
        """What this host kept of the traces whose id begins so, in order."""
        if len(trace_id) < SHORTEST or not set(trace_id.lower()) <= HEX:
            raise InvalidArgument(f"trace_id is {trace_id!r:.40}; it is 32 hexadecimal digits, of which the first "
                                  f"{SHORTEST} suffice", path="trace_id")
        return [span.row() for span in self._ruled.spans.of(trace_id)][:MOST_SPANS]

    @operation(idempotent=True)
    async def traces(self, limit: int = 50, failed: bool = False) -> list[dict[str, Any]]:
        """The traces that began last, the latest first, as far as this host had to do with them."""
        return self._ruled.spans.latest(min(limit, MOST_TRACES), failed=failed)
