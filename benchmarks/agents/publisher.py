"""The publishing side of the event benchmark: an ordinary agent that publishes, and hears how far its readers are."""

import asyncio
import time

from pydantic import BaseModel

from mesh import Agent, operation, subscribe

TEXT = "x" * 76  # with the keys, a map of about 100 bytes
BURST = 256


class Published(BaseModel):
    """What a run took, in seconds: of the clock, and of this host's processor time."""

    seconds: float
    processor: float


class Publisher(Agent):
    """Publishes as fast as its readers take it, or faster."""

    async def setup(self) -> None:
        """Begin without readers."""
        self.taken: dict[str, int] = {}
        self.news = asyncio.Event()

    @operation
    async def measure(self, count: int, readers: int, window: int) -> Published:
        """Publish `count` events, at most `window` ahead of the slowest of the readers, 0 without waiting for any.

        With a window it ends when each of them has them all.
        """
        self.taken.clear()
        started, processor = time.perf_counter(), time.process_time()
        for number in range(count):
            await self.publish("bench.event", {"text": TEXT, "number": count - 1 - number})
            if number % BURST == 0:
                await asyncio.sleep(0)
                if window:
                    await self._reached(number - window, readers)
        if window:
            await self._reached(count, readers)
        return Published(seconds=time.perf_counter() - started, processor=time.process_time() - processor)

    async def _reached(self, number: int, readers: int) -> None:
        while number > 0 and (len(self.taken) < readers or min(self.taken.values()) < number):
            self.news.clear()
            await self.news.wait()

    @subscribe("bench.took")
    async def took_by_agent(self, news: dict[str, int | str]) -> None:
        """Note how many an agent has."""
        await self.took(str(news["reader"]), int(news["count"]))

    @operation
    async def took(self, reader: str, count: int) -> None:
        """Note how many a reader has."""
        self.taken[reader] = count
        self.news.set()

    @operation
    async def heard(self, readers: list[str]) -> list[dict[str, float]]:
        """Ask agents what they have heard."""
        return [await self.request(f"{reader}.heard") for reader in readers]
