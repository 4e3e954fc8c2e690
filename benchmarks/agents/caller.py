"""The calling side of the call benchmark: an ordinary agent that calls another by name."""

import asyncio
import time
from contextvars import Context

from pydantic import BaseModel

from mesh import Agent, operation

TEXT = "x" * 76  # with the keys, a map of about 100 bytes


class Figures(BaseModel):
    """Calls per second, and the latencies in seconds of a run."""

    calls_per_second: float
    p50: float
    p99: float


class Caller(Agent):
    """Calls `bench_echo` as fast as it answers."""

    @operation
    async def measure(self, calls: int, outstanding: int, roots: bool = False) -> Figures:
        """Make `calls` calls, `outstanding` at a time; as `roots` each begins a trace of its own."""
        latencies: list[float] = []

        async def work(count: int) -> None:
            for number in range(count):
                started = time.perf_counter()
                answer = await self.request("bench_echo.echo", text=TEXT, number=number)
                latencies.append(time.perf_counter() - started)
                if answer["number"] != number:
                    raise ValueError(f"asked for {number}, got {answer}")

        started = time.perf_counter()
        counts = [calls // outstanding] * outstanding
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.create_task(work(count), context=Context() if roots else None) for count in counts))
        spent = time.perf_counter() - started
        latencies.sort()
        return Figures(calls_per_second=len(latencies) / spent, p50=latencies[len(latencies) // 2],
                       p99=latencies[len(latencies) * 99 // 100])

    @operation
    async def measure_stream(self, count: int) -> float:
        """Return how many items of a stream are read per second."""
        started = time.perf_counter()
        seen = 0
        async for item in self.stream("bench_echo.items", text=TEXT, count=count):
            if item["number"] != seen:
                raise ValueError(f"item {seen} is {item}")
            seen += 1
        return seen / (time.perf_counter() - started)

    @operation
    async def measure_beside(self, streams: int, calls: int) -> Figures:
        """Make calls one at a time while as many streams are read as fast as they come."""
        async def read() -> None:
            async for _ in self.stream("bench_echo.items", text=TEXT, count=10**9):
                pass

        busy = [asyncio.ensure_future(read()) for _ in range(streams)]
        try:
            await self.measure(calls=max(10, calls // 10), outstanding=1)
            return await self.measure(calls=calls, outstanding=1)
        finally:
            for task in busy:
                task.cancel()
            await asyncio.gather(*busy, return_exceptions=True)
