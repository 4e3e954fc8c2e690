"""What a host does for `mesh bench`."""

from __future__ import annotations

from mesh.agent.operation import operation
from mesh.supervisor.control.ruled import Family


class Benched(Family):
    """An agent that echoes, for a while, and calls to it."""

    @operation
    async def bench_begin(self, seconds: float) -> None:
        """Run an agent that echoes until `bench_end`, at most for so many seconds."""
        await self._ruled.bench.begin(seconds)

    @operation
    async def bench_end(self) -> None:
        """Need that agent no more."""
        await self._ruled.bench.end()

    @operation
    async def bench(self, to: str, outstanding: int, seconds: float) -> dict[str, float]:
        """Call that agent of host `to`, so many calls at a time; returns calls per second, p50 and p99."""
        return await self._ruled.bench.measure(to, outstanding, seconds)
