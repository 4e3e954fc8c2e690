"""The calling side of the instances' benchmark: so many calls outstanding at any time, whatever becomes of them."""

import asyncio
import time
from collections import Counter
from contextvars import Context

from pydantic import BaseModel

from mesh import Agent, MeshError, operation


class Count(BaseModel):
    """What became of the calls of a while: answered, failed by code, the slowest, and what the first failure said."""

    seconds: float
    answered: int
    failed: dict[str, int]
    slowest_ms: float
    first: str


class Crowd(Agent):
    """Calls on and on, each of its callers as soon as it was answered."""

    async def setup(self) -> None:
        self._callers: list[asyncio.Task[None]] = []
        self._forget()

    def _forget(self) -> None:
        self._began, self._answered, self._slowest, self._first = time.perf_counter(), 0, 0.0, ""
        self._failed: Counter[str] = Counter()

    @operation
    async def begin(self, target: str, ms: float, outstanding: int) -> None:
        """Begin to call `target` with `ms`, from so many callers."""
        loop = asyncio.get_running_loop()
        self._forget()
        self._callers = [loop.create_task(self._call_on(target, ms), context=Context()) for _ in range(outstanding)]

    @operation
    async def count(self) -> Count:
        """Return what became of the calls since this was asked last."""
        told = Count(seconds=time.perf_counter() - self._began, answered=self._answered, failed=dict(self._failed),
                     slowest_ms=self._slowest * 1000, first=self._first)
        self._forget()
        return told

    @operation
    async def end(self) -> None:
        """Call no more."""
        for caller in self._callers:
            caller.cancel()
        await asyncio.gather(*self._callers, return_exceptions=True)

    async def _call_on(self, target: str, ms: float) -> None:
        while True:
            began = time.perf_counter()
            try:
                await self.request(target, ms=ms, timeout=20.0)
                self._answered += 1
            except MeshError as error:
                self._failed[error.code] += 1
                self._first = self._first or str(error)
            self._slowest = max(self._slowest, time.perf_counter() - began)
