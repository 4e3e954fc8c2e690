"""The called side of the overload benchmark: an agent whose work has a price."""

import asyncio
import time

from mesh import Agent, operation


class Toiler(Agent):
    """Computes, or waits, for as long as it is told."""

    @operation(idempotent=True)
    async def compute(self, ms: float) -> float:
        """Keep the event loop busy for `ms` milliseconds of this thread's processor time."""
        until = time.thread_time() + ms / 1000
        while time.thread_time() < until:
            pass
        return ms

    @operation(idempotent=True)
    async def wait(self, ms: float) -> float:
        """Wait for `ms` milliseconds, as for a database."""
        await asyncio.sleep(ms / 1000)
        return ms
