"""What operators wish of an agent of this host: followed here, and remembered by the registry."""

from __future__ import annotations

import asyncio

from mesh.address import split_instance, split_version
from mesh.client import Client
from mesh.config import ISOLATION, Isolation, Rung
from mesh.errors import DeadlineExceeded, MeshError, RemoteFailure, Unavailable, Unreachable
from mesh.policy.resolve import REGISTRY
from mesh.records import DesiredState
from mesh.supervisor.adjusting.liveconfig import UNSET, LiveConfig
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cells import Cells
from mesh.supervisor.remembered import remembered

REGISTRY_LIMIT = 3.0
DRAINED = "drained by an operator"


class Wishes:
    """Carries out wishes and waits for the outcome.

    Each returns a warning if the wish is followed but the registry did not take it, so that a restart forgets it.
    """

    def __init__(self, host: str, cells: Cells, live_config: LiveConfig, client: Client) -> None:
        self._host = host
        self._cells = cells
        self._live_config = live_config
        self._client = client

    async def start(self, name: str) -> str | None:
        """Start the instances of a service, or one as `nlu#2`, and wait for the outcome."""
        warning = None if split_version(name)[1] else await self._record_desired(name, "running")
        cells = self._cells.roster.named(name)
        for cell in cells:
            cell.launch(by_operator=True)
        await asyncio.gather(*(cell.settled.wait() for cell in cells))
        return warning

    async def stop(self, name: str) -> str | None:
        """Stop the instances of a service, or one as `nlu#2`, which stay stopped until an operator starts them.

        A version beside its service is gone then.
        """
        if split_version(name)[1]:
            await self._cells.remove(split_instance(name)[0])
            return None
        warning = await self._record_desired(name, "stopped")
        await asyncio.gather(*(cell.stop("stopped by an operator") for cell in self._cells.roster.named(name)))
        return warning

    async def drain(self, name: str, grace: float) -> str | None:
        """Stop instances once what they work on has ended; they stay stopped until an operator starts them."""
        cells = self._cells.roster.named(name)
        if split_version(name)[1]:
            await asyncio.gather(*(cell.stop(DRAINED, grace) for cell in cells))
            return await self.stop(name)
        await asyncio.gather(*(cell.life.withdraw(DRAINED) for cell in cells))
        stopping = asyncio.gather(*(cell.stop(DRAINED, grace) for cell in cells))  # the registry may be slow
        warning = await self._record_desired(name, "stopped")
        await stopping
        return warning

    async def isolate(self, service: str, isolation: Isolation | None, reason: str) -> str | None:
        """Have the agents of a service run elsewhere, None for where its file says."""
        warning = await self._change_isolation(self._cells.roster.of(service)[0], isolation)
        for cell in self._cells.roster.of(service):
            await cell.isolate(self._goal(cell, isolation), reason)  # which an earlier move may still keep it from
        return warning

    async def demote(self, cell: Cell, isolation: Rung, reason: str) -> None:
        """Move a cell's agent by the host's own decision, which ends with the host or an operator's next wish."""
        await cell.isolate(self._goal(cell, isolation), reason)

    def _goal(self, cell: Cell, isolation: Isolation | None) -> Isolation:
        return isolation or self._cells.filed(cell.service).isolation

    async def _change_isolation(self, cell: Cell, isolation: Isolation | None) -> str | None:
        """Change where an agent runs like any other value of its config."""
        try:
            told = await self._live_config.change(cell.service, ISOLATION, isolation or UNSET)
        except (Unavailable, Unreachable, DeadlineExceeded) as error:
            return self._forgotten(error)
        refused = [row["reason"] for row in told["hosts"] if row["how"] == "refused"]
        if refused:
            raise RemoteFailure(f"{cell.service} goes on as a {cell.isolation}: {refused[0]}", type="Refused")
        return None

    async def _record_desired(self, name: str, desired: DesiredState) -> str | None:
        """Have the registry remember what the operator wants."""
        service, number = split_instance(name)
        numbers = [cell.number for cell in self._cells.roster.of(service)]
        try:
            for key, wanted in remembered(service, numbers, number, desired, self._cells.desired):
                await self._client.request(f"{REGISTRY}.set_desired",
                                           {"service": key, "host": self._host, "desired": wanted}, REGISTRY_LIMIT)
        except MeshError as error:
            return self._forgotten(error)
        return None

    def _forgotten(self, error: MeshError) -> str:
        return f"not remembered over a restart of {self._host}, because the registry did not take it: {error}"
