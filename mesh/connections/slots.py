"""How many requests to one server may run at the same time; the others wait, a bounded number of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from mesh.errors import Overloaded

WAITING_PER_SLOT = 32
RETRY_AFTER_S = 1.0


@dataclass(slots=True)
class _Server:
    """One server: its slots, and how many requests run or wait."""

    free: asyncio.Semaphore
    present: int = 0


class Slots:
    """`most` requests at a time for each key; a key that nobody uses is forgotten."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._servers: dict[str, _Server] = {}

    def running(self, key: str) -> int:
        """Return how many requests of a key run."""
        server = self._servers.get(key)
        return 0 if server is None else min(server.present, self.most)

    @contextlib.asynccontextmanager
    async def one(self, key: str) -> AsyncIterator[None]:
        """Hold a slot; raises `Overloaded` while too many wait for one."""
        server = self._servers.setdefault(key, _Server(asyncio.Semaphore(self.most)))
        if server.present >= self.most * (1 + WAITING_PER_SLOT):
            raise Overloaded(f"{self.most} requests to {key} run, and {server.present - self.most} wait",
                             retry_after=RETRY_AFTER_S)
        server.present += 1
        try:
            async with server.free:
                yield
        finally:
            server.present -= 1
            if not server.present:
                del self._servers[key]
