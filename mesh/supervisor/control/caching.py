"""The answers that a host keeps, for operators."""

from __future__ import annotations

from typing import Any

from mesh.agent.operation import operation
from mesh.cache.shared import EVERYTHING
from mesh.cache.terms import INVALIDATED, LONGEST_TAG, MOST_TAGS
from mesh.errors import InvalidArgument
from mesh.supervisor.control.ruled import Family


class Caching(Family):
    """What is kept, and letting it go."""

    @operation(idempotent=True)
    async def cache(self, service: str | None = None) -> list[dict[str, Any]]:
        """Return terms and figures of each operation whose answers this host keeps, of one service or of all."""
        return self._ruled.cache.rows(service)

    @operation(idempotent=True)
    async def cache_clear(self, tags: list[str]) -> int:
        """Let go of the answers under these tags, on every host; returns how many this one had in memory.

        A tag is what an operation declares, a service, `service.operation`, or `*` for all.
        """
        if not 0 < len(tags) <= MOST_TAGS or not all(0 < len(tag) <= LONGEST_TAG for tag in tags):
            raise InvalidArgument(f"tags are {tags!r:.80}; give 1 to {MOST_TAGS} names, or {EVERYTHING} for all",
                                  path="tags")
        count = self._ruled.cache.invalidate(tags)
        self._ruled.publish(INVALIDATED, {"tags": tags}, f"operator@{self._ruled.name}")
        return count
