"""The calling side of the benchmark of big bodies: an ordinary agent that sends bytes and gets them back."""

import asyncio
import time

from pydantic import BaseModel

from mesh import Agent, operation

BULK = 4 * 1024 * 1024
PAUSE = 0.002


class Passed(BaseModel):
    """How long it took, in seconds, and the latencies of the small calls that were made meanwhile."""

    seconds: float
    bytes: int = 0
    latencies: list[float] = []


class Sender(Agent):
    """Calls `bench_mirror`, which gives back what it gets."""

    @operation
    async def there_and_back(self, size: int, count: int, outstanding: int) -> Passed:
        """Send `count` bodies of `size` bytes, `outstanding` at a time, and get each back."""
        body = bytes(range(256)) * (size // 256)

        async def work(times: int) -> None:
            for _ in range(times):
                if len(await self.request("bench_mirror.reflect", data=body, timeout=60)) != len(body):
                    raise ValueError("the answer is not what was sent")

        started = time.perf_counter()
        await asyncio.gather(*(work(count // outstanding) for _ in range(outstanding)))
        return Passed(seconds=time.perf_counter() - started)

    @operation
    async def small(self, calls: int) -> Passed:
        """Make small calls one at a time, a short pause between them."""
        started, latencies = time.perf_counter(), []
        for _ in range(calls):
            await asyncio.sleep(PAUSE)
            began = time.perf_counter()
            await self.request("bench_mirror.reflect", data=b"small")
            latencies.append(time.perf_counter() - began)
        return Passed(seconds=time.perf_counter() - started, latencies=latencies)

    @operation
    async def bulk(self, size: int) -> Passed:
        """Send `size` bytes one way in bodies of 4 MiB, four at a time, and make small calls until they are there."""
        body = bytes(BULK)
        rounds = max(1, size // BULK // 4)

        async def work() -> None:
            for _ in range(rounds):
                await self.request("bench_mirror.swallow", data=body, timeout=60)

        started, latencies = time.perf_counter(), []
        passing = asyncio.gather(*(work() for _ in range(4)))
        while not passing.done():
            await asyncio.sleep(PAUSE)
            began = time.perf_counter()
            await self.request("bench_mirror.reflect", data=b"small")
            latencies.append(time.perf_counter() - began)
        await passing
        spent = time.perf_counter() - started
        return Passed(seconds=spent, latencies=latencies, bytes=rounds * BULK * 4)
