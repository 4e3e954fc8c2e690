"""The reading side of the event benchmark: an ordinary agent that hears what is published."""

import time

from pydantic import BaseModel

from mesh import Agent, operation, subscribe

EVERY = 250


class Heard(BaseModel):
    """How many events came since this was asked before, how many did not, and the processor time of the host."""

    received: int
    missed: int
    processor: float


class Reader(Agent):
    """Counts, and says now and then how far it is."""

    async def setup(self) -> None:
        """Begin with nothing."""
        self.received = self.missed = 0
        self.before: int | None = None

    @subscribe("bench.event")
    async def hear(self, event: dict[str, int | str]) -> None:
        """Take an event; they are numbered downward, to 0 for the last."""
        number = int(event["number"])
        if self.before is not None:
            self.missed += self.before - number - 1
        self.before = number or None
        self.received += 1
        if number == 0 or self.received % EVERY == 0:
            await self.publish("bench.took", {"reader": f"{self.service}@{self.host}", "count": self.received})

    @operation
    async def heard(self) -> Heard:
        """Return what was heard, and begin anew."""
        told = Heard(received=self.received, missed=self.missed, processor=time.process_time())
        self.received = self.missed = 0
        self.before = None
        return told
