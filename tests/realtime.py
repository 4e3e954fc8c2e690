"""The machine's clock where the in-memory mesh wants one to turn: for tests that talk to real servers."""

from __future__ import annotations

from mesh.clock import Clock


class RealTime(Clock):
    """Time that passes by itself; to be advanced is to wait a moment."""

    async def advance(self, seconds: float) -> None:
        await self.sleep(min(seconds, 0.01))
