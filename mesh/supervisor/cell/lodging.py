"""The landlord of one tenancy: passes on what its agent does wrong, but only the end of the one that serves is a crash.

While an agent is replaced there are two: the one that comes up, whose failure is told to who waits for it, and the one
that is dismissed, whose early end costs nobody but the calls it still had.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from mesh.supervisor.cell.runner import AgentExit
from mesh.supervisor.cell.stragglers import Stragglers
from mesh.supervisor.cell.tenancy import Landlord


class Lodging:
    """Between a tenancy and its cell, the `landlord`; `serves` tells whether the tenancy is the cell's own now."""

    def __init__(self, landlord: Landlord) -> None:
        self.serves: Callable[[], bool] = lambda: False
        self._landlord = landlord
        self._telling: asyncio.Task[str] | None = None

    @property
    def stragglers(self) -> Stragglers:
        """What was cancelled and goes on."""
        return self._landlord.stragglers

    async def report(
        self, error: BaseException | str, *, severity: str, operation: str | None = None, trace_id: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> str:
        """Put something on the error bus and return its id."""
        return await self._landlord.report(error, severity=severity, operation=operation, trace_id=trace_id,
                                           context=context)

    async def failed(self, error: Exception, operation: str, trace_id: str | None = None) -> str:
        """Take note of what the agent's own code raised and return its id."""
        if isinstance(error, AgentExit) and not self.serves():
            return await self.report(error, severity="warning", operation=operation, trace_id=trace_id)
        return await self._landlord.failed(error, operation, trace_id)

    def gone(self, error: Exception) -> None:
        """Take note that the agent is gone, although nobody asked for that."""
        if self.serves():
            self._landlord.gone(error)
        else:
            self._telling = asyncio.get_running_loop().create_task(self.report(error, severity="warning"))
