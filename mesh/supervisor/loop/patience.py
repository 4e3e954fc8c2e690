"""A time limit for an agent's code that counts only time in which its watcher could have seen an answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

TICK = 0.25
LATE = 2.0
"""A tick counts as this many at most, however late it comes."""


class Patience:
    """Counts seconds from tick to tick; `tick` is told the time at least each `TICK` seconds.

    A process that was stopped, a machine that slept or a loop that somebody else held makes one tick late: what lies
    between is not held against whom the limit is for.
    """

    def __init__(self, seconds: float, now: float) -> None:
        self.left = seconds
        self._last = now

    def tick(self, now: float) -> float:
        """Return in how many seconds to look again, 0 when the time is over."""
        self.left -= min(now - self._last, LATE * TICK)
        self._last = now
        return min(TICK, self.left) if self.left > 1e-9 else 0.0


@contextlib.asynccontextmanager
async def patience(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """Do as `asyncio.timeout(seconds)` does, by such a count; gives the `Timeout`, which knows whether it expired."""
    loop = asyncio.get_running_loop()
    count = Patience(seconds, loop.time())
    async with asyncio.timeout(None) as limit:
        waiting = loop.call_later(min(TICK, seconds), lambda: look())

        def look() -> None:
            nonlocal waiting
            pause = count.tick(loop.time())
            if pause:
                waiting = loop.call_later(pause, look)
            else:
                limit.reschedule(loop.time())

        try:
            yield limit
        finally:
            waiting.cancel()
