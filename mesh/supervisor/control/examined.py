"""What a host tells `mesh doctor`."""

from __future__ import annotations

import asyncio
from typing import Any

from mesh.agent.operation import operation
from mesh.supervisor.control.ruled import Family


class Examined(Family):
    """Its clock, the machine it runs on, and how it reaches the others."""

    @operation(idempotent=True)
    async def clock(self) -> dict[str, float]:
        """This host's wall clock, in Unix seconds."""
        return {"time": self._ruled.clock.time()}

    @operation(idempotent=True)
    async def machine(self) -> dict[str, Any]:
        """Python, packages, limits, disk, memory and keys where this host runs."""
        return await asyncio.to_thread(self._ruled.machine)

    @operation(idempotent=True)
    async def reach(self) -> list[dict[str, Any]]:
        """How this host reaches each other host and the registry: link, round trip, clock, or why not."""
        return await self._ruled.reach()
