"""The called side of the rolling benchmark: an ordinary agent whose operation may not be run twice."""

import asyncio

from mesh import Agent, operation

VERSION = "1"


class Target(Agent):
    """Works for a moment."""

    @operation
    async def work(self, number: int) -> dict[str, int | str]:
        """Return the number and the version of this code, after 20 ms."""
        await asyncio.sleep(0.02)
        return {"number": number, "version": VERSION}
