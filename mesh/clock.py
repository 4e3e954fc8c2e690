"""The time, injected: whoever decides by time is given a clock, so a test can turn it by hand."""

from __future__ import annotations

import asyncio
import time as _time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A callback that waits for its moment."""

    def cancel(self) -> None:
        """Forget the callback."""


class Clock:
    """The machine's clocks: `monotonic` for every decision, `time` only for what people read. Both in seconds."""

    monotonic: Callable[[], float] = staticmethod(_time.monotonic)
    """Return seconds since some fixed moment; never goes back. Asked for by every call: no method stands before it."""

    time: Callable[[], float] = staticmethod(_time.time)
    """Return wall-clock seconds since 1970."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` on the running loop after `delay` seconds."""
        return asyncio.get_running_loop().call_later(delay, callback)

    async def sleep(self, delay: float) -> None:
        """Return after `delay` seconds."""
        over = asyncio.Event()
        timer = self.call_later(delay, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()
