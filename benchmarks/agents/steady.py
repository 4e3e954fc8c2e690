"""The calling side of the rolling benchmark: so many calls a second, whatever becomes of them."""

import asyncio
import time
from contextvars import Context

from pydantic import BaseModel

from mesh import Agent, MeshError, operation


class Tally(BaseModel):
    """What became of the calls of a while: how many were sent and ok, how many failed with which code, the slowest."""

    sent: int = 0
    ok: int = 0
    codes: dict[str, int] = {}
    first: str = ""
    slowest_ms: float = 0.0
    versions: dict[str, int] = {}


class Steady(Agent):
    """Calls `bench_target` in an open loop: a slow answer delays no later call."""

    async def setup(self) -> None:
        self._tally = Tally()
        self._running: set[asyncio.Task[None]] = set()
        self._pace: asyncio.Task[None] | None = None

    @operation
    async def begin(self, rate: float) -> None:
        """Begin to call `rate` times a second."""
        self._pace = asyncio.get_running_loop().create_task(self._keep(rate), context=Context())

    @operation
    async def tally(self) -> Tally:
        """Return what became of the calls since this was asked last; those under way are waited for."""
        tally, self._tally = self._tally, Tally()
        running = list(self._running)
        if running:
            await asyncio.wait(running)
        return tally

    @operation
    async def end(self) -> None:
        """Call no more."""
        if self._pace is not None:
            self._pace.cancel()

    async def _keep(self, rate: float) -> None:
        loop = asyncio.get_running_loop()
        began, number = loop.time(), 0
        while True:
            number += 1
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            task = loop.create_task(self._call(number, self._tally))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _call(self, number: int, tally: Tally) -> None:
        tally.sent += 1
        started = time.perf_counter()
        try:
            answer = await self.request("bench_target.work", number=number, timeout=10.0)
        except MeshError as error:
            tally.codes[error.code] = tally.codes.get(error.code, 0) + 1
            tally.first = tally.first or str(error)
        else:
            tally.ok += answer["number"] == number
            tally.versions[answer["version"]] = tally.versions.get(answer["version"], 0) + 1
        tally.slowest_ms = max(tally.slowest_ms, (time.perf_counter() - started) * 1000)
