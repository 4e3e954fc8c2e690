"""What a kept answer costs, beside a call to an agent of the same host: microseconds of one core, median of rounds.

`python -m benchmarks.cache`
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

from mesh import Agent, operation
from mesh.testing import InMemoryMesh

CALLS = 2_000
ROUNDS = 11
FOLLOWERS = 1_000
ARGUMENTS: dict[str, Any] = {"query": "when was the bridge built", "limit": 10}


class Facts(Agent):
    """Answers the same under two names, one of which is kept."""

    asked = 0

    @operation(idempotent=True, cache=600)
    async def kept(self, query: str, limit: int = 10) -> list[str]:
        """Return some texts."""
        self.asked += 1
        await asyncio.sleep(0)
        return [query] * 3

    @operation(idempotent=True)
    async def plain(self, query: str, limit: int = 10) -> list[str]:
        """Return some texts."""
        return [query] * 3


class Asker(Agent):
    """Calls them."""


async def microseconds(asker: Agent, operation: str) -> float:
    """Return what one call takes of the processor, one after the other."""
    began = time.process_time()
    for _ in range(CALLS):
        await asker.request(f"facts.{operation}", **ARGUMENTS)
    return (time.process_time() - began) / CALLS * 1e6


async def measure() -> None:
    """Measure in turns, so that both meet the same machine, and print."""
    async with InMemoryMesh() as mesh:
        await mesh.add("facts", Facts)
        await mesh.add("asker", Asker)
        asker = mesh.agent("asker")
        taken: dict[str, list[float]] = {"kept": [], "plain": []}
        for operation_name in list(taken) * ROUNDS:
            taken[operation_name].append(await microseconds(asker, operation_name))
        kept, plain = (statistics.median(taken[name]) for name in ("kept", "plain"))
        print(f"a call to an agent of this host  {plain:6.1f} µs")
        print(f"a kept answer                    {kept:6.1f} µs  (1 : {plain / kept:.1f})")
        agent = mesh.agent("facts")
        assert isinstance(agent, Facts)
        agent.asked = 0
        began = time.process_time()
        await asyncio.gather(*(asker.request("facts.kept", query="new") for _ in range(FOLLOWERS)))
        each = (time.process_time() - began) / FOLLOWERS * 1e6
        print(f"{FOLLOWERS} who ask the same at once      {each:6.1f} µs each, {agent.asked} call")


if __name__ == "__main__":
    asyncio.run(measure())
