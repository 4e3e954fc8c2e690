"""Wakes whoever waits for a change: of a cell, of the directory, of a link."""

from __future__ import annotations

import asyncio
import contextlib


class Bell:
    """Rung after each change; a waiter looks at what it waits for anew."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake everybody who waits now."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, limit: float) -> None:
        """Return at the next ring, or after `limit` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._event.wait()
