"""A clock that stands still until it is told to go on."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import Callable

from mesh.clock import Clock


class FakeTimer:
    """A callback that waits for the clock to be turned; it runs in the thread that asked for it."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback
        self._loop: asyncio.AbstractEventLoop | None = None
        with contextlib.suppress(RuntimeError):  # whoever has no loop is called at once
            self._loop = asyncio.get_running_loop()

    def cancel(self) -> None:
        """Forget the callback."""
        self.callback = None

    def fire(self) -> bool:
        """Run the callback; tell whether there was one."""
        callback, self.callback = self.callback, None
        if callback is None:
            return False
        if self._loop is None or self._loop is asyncio.get_running_loop():
            callback()
        else:
            with contextlib.suppress(RuntimeError):  # that thread has ended
                self._loop.call_soon_threadsafe(callback)
        return True


class FakeClock(Clock):
    """Stands at `now` (monotonic) and `wall` seconds; `advance` fires every timer on the way, in order."""

    def __init__(self, now: float = 1000.0, wall: float = 1_800_000_000.0) -> None:
        self._now = now
        self._wall = wall
        self._order = itertools.count()
        self._timers: list[tuple[float, int, FakeTimer]] = []

    def monotonic(self) -> float:
        """Return the seconds this clock stands at."""
        return self._now

    def time(self) -> float:
        """Return the wall-clock seconds this clock stands at."""
        return self._wall

    def call_later(self, delay: float, callback: Callable[[], object]) -> FakeTimer:
        """Run `callback` once the clock is `delay` seconds further."""
        timer = FakeTimer(callback)
        heapq.heappush(self._timers, (self._now + delay, next(self._order), timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Go on by `seconds`; what each timer sets off may run before the next one fires."""
        until = self._now + seconds
        await settle()
        while self._timers and self._timers[0][0] <= until:
            moment, _, timer = heapq.heappop(self._timers)
            self._go_to(moment)
            if timer.fire():
                await settle()
        self._go_to(until)
        await settle()

    def _go_to(self, moment: float) -> None:
        self._wall += max(0.0, moment - self._now)
        self._now = max(self._now, moment)


async def settle(turns: int = 20) -> None:
    """Let everything that can run without time or input run."""
    for _ in range(turns):
        await asyncio.sleep(0)
