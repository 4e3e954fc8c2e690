"""The configuration of agents while they run."""

from __future__ import annotations

from typing import Any

from mesh.agent.operation import operation
from mesh.supervisor.adjusting.liveconfig import UNSET
from mesh.supervisor.control.ruled import Family


class Config(Family):
    """What is in force, and changing it."""

    @operation(idempotent=True)
    async def config(self, service: str | None = None) -> list[dict[str, Any]]:
        """The values in force of one agent of this host, or of all, each with where it came from."""
        roster = self._ruled.roster
        cells = [roster.of(name)[0] for name in roster.services()] if service is None else [self._cell(service)]
        return [self._ruled.live_config.describe(cell) for cell in cells]

    @operation
    async def config_set(self, service: str, key: str, value: Any) -> dict[str, Any]:
        """Change a value on every host that runs the agent; it lasts until it is unset."""
        return await self._ruled.live_config.change(self._cell(service).service, key, value)

    @operation
    async def config_unset(self, service: str, key: str) -> dict[str, Any]:
        """Have files and environment say again what a value is."""
        return await self._ruled.live_config.change(self._cell(service).service, key, UNSET)

    @operation(idempotent=True)
    async def config_check(self, service: str, key: str, value: Any = None, unset: bool = False) -> None:
        """Refuse a change that the agent on this host does not take; changes nothing."""
        await self._ruled.live_config.check(self._cell(service), key, UNSET if unset else value)

    @operation(idempotent=True)
    async def config_adjusted(self, service: str, epoch: int, revision: int) -> dict[str, Any]:
        """What a change that the registry keeps since a revision did to the agent on this host."""
        return dict(await self._ruled.live_config.adjusted(self._cell(service), epoch, revision))
