"""The calling side of the call benchmark: an ordinary agent that calls another by name."""

import asyncio
import contextlib
import time
from contextvars import Context

from pydantic import BaseModel

from mesh import Agent, MeshError, Overloaded, operation

TEXT = "x" * 76  # with the keys, a map of about 100 bytes


class Figures(BaseModel):
    """Calls per second, and the latencies in seconds of a run."""

    calls_per_second: float
    p50: float
    p99: float


class Offered(BaseModel):
    """What became of calls made at a rate, and the latencies in seconds from when they were due."""

    offered: int
    answered: int
    seconds: float
    p50: float
    p99: float


class Caller(Agent):
    """Calls `bench_echo` as fast as it answers."""

    @operation
    async def measure(self, calls: int, outstanding: int, roots: bool = False) -> Figures:
        """Make `calls` calls, `outstanding` at a time; as `roots` each begins a trace of its own."""
        latencies: list[float] = []

        async def work(count: int) -> None:
            number = 0
            while number < count:
                started = time.perf_counter()
                try:
                    answer = await self.request("bench_echo.echo", text=TEXT, number=number)
                except Overloaded as error:  # with many outstanding on a slow machine; only what is answered counts
                    await asyncio.sleep(error.details["retry_after"])
                    continue
                latencies.append(time.perf_counter() - started)
                if answer["number"] != number:
                    raise ValueError(f"asked for {number}, got {answer}")
                number += 1

        started = time.perf_counter()
        counts = [calls // outstanding] * outstanding
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.create_task(work(count), context=Context() if roots else None) for count in counts))
        spent = time.perf_counter() - started
        latencies.sort()
        return Figures(calls_per_second=len(latencies) / spent, p50=latencies[len(latencies) // 2],
                       p99=latencies[len(latencies) * 99 // 100])

    @operation
    async def measure_offered(self, rate: float, seconds: float, tick: float) -> Offered:
        """Make `rate` calls a second whatever the answers do, those of a tick of the clock together."""
        latencies: list[float] = []

        async def call(number: int, due: float) -> None:
            with contextlib.suppress(MeshError):  # those are missed in the count of the answered
                await self.request("bench_echo.echo", text=TEXT, number=number)
                latencies.append(time.perf_counter() - began - due)

        loop, running, made, total = asyncio.get_running_loop(), set[asyncio.Task[None]](), 0, int(rate * seconds)
        began = time.perf_counter()
        while made < total:
            now = time.perf_counter() - began
            while made < total and made < (now // tick + 1) * tick * rate:
                task = loop.create_task(call(made, made / rate // tick * tick))
                running.add(task)
                task.add_done_callback(running.discard)
                made += 1
            await asyncio.sleep((now // tick + 1) * tick - (time.perf_counter() - began))
        await asyncio.gather(*running)
        spent = time.perf_counter() - began
        ranked = sorted(latencies) or [0.0]
        return Offered(offered=total, answered=len(latencies), seconds=spent, p50=ranked[len(ranked) // 2],
                       p99=ranked[len(ranked) * 99 // 100])

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
