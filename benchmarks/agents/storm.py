"""The calling side of the policies' benchmark: calls at a fixed rate, answered or not, and a calm caller beside."""

import asyncio
import time
from collections import Counter

from pydantic import BaseModel

from mesh import Agent, MeshError, operation

TICK = 0.005


class Storm(BaseModel):
    """What became of the calls, how long they waited in all, and what a calm call to another agent took meanwhile."""

    calls: int
    codes: dict[str, int]
    waited_s: float
    p99_wait_ms: float
    calm_p50_ms: float
    calm_p99_ms: float
    cpu_s: float


class Caller(Agent):
    """Calls on however it is answered."""

    @operation
    async def storm(self, service: str, rate: float, seconds: float, patience: float) -> Storm:
        """Offer `rate` calls a second for so long; those that then still wait are given up."""
        codes: Counter[str] = Counter()
        waits: list[float] = []

        async def once() -> None:
            began = time.perf_counter()
            code = "given_up"
            try:
                await self.request(f"{service}.ask", timeout=patience)
                code = "ok"
            except MeshError as error:
                code = error.code
            finally:
                waits.append(time.perf_counter() - began)
                codes[code] += 1

        calm: list[float] = []

        async def calmly() -> None:
            while True:
                began = time.perf_counter()
                await self.request("bench_echo.echo", text="x", number=len(calm))
                calm.append(time.perf_counter() - began)
                await asyncio.sleep(TICK)

        beside = asyncio.create_task(calmly())
        running: set[asyncio.Task[None]] = set()
        cpu, began, offered = time.process_time(), time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < seconds:
            while offered < passed * rate:
                task = asyncio.create_task(once())
                running.add(task)
                task.add_done_callback(running.discard)
                offered += 1
            await asyncio.sleep(TICK)
        used = time.process_time() - cpu
        beside.cancel()
        left = list(running)
        for task in left:
            task.cancel()
        await asyncio.gather(beside, *left, return_exceptions=True)
        calm, waits = sorted(calm) or [0.0], sorted(waits) or [0.0]
        return Storm(calls=offered, codes=dict(codes), waited_s=sum(waits), p99_wait_ms=_at(waits, 0.99) * 1000,
                     calm_p50_ms=_at(calm, 0.5) * 1000, calm_p99_ms=_at(calm, 0.99) * 1000, cpu_s=used)


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
