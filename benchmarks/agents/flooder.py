"""The calling side of the overload benchmark: calls by an absolute schedule, whatever becomes of them."""

import asyncio
import time
from collections import Counter
from contextvars import Context

from pydantic import BaseModel

from mesh import Agent, MeshError, operation

MOST_OUTSTANDING = 4096
"""Calls of one sender that wait for their answer; one that would be more is counted as `held` and not made."""


class Stage(BaseModel):
    """So many calls a second for so many seconds."""

    rate: float
    seconds: float


class Told(BaseModel):
    """What one sender saw of one stage.

    `codes` counts outcomes, `ok` among them. `late` are the latencies in ms from the moment a call was due, of those
    answered well, with that moment in seconds since the stage began; `refused_ms` are quantiles (50, 90, 99, 99.9 % and
    the most) from the moment a call was made until it was refused; `behind_ms` is how late this sender made its calls.
    """

    offered: int
    codes: dict[str, int]
    late: list[tuple[float, float]]
    refused_ms: list[float]
    behind_ms: list[float]


class Flooder(Agent):
    """Calls `bench_toiler` at a rate that does not depend on its answers."""

    @operation
    async def offer(self, what: str, ms: float, stages: list[Stage], start: float, timeout_s: float) -> list[Told]:
        """Go through `stages` from wall-clock moment `start` on; each call may take `timeout_s` seconds."""
        await asyncio.sleep(max(0.0, start - time.time()))
        begin = time.perf_counter()
        seen, tasks = [], set()
        for stage in stages:
            one = _Seen(begin)
            seen.append(one)
            await self._run(stage, one, f"bench_toiler.{what}", ms, timeout_s, tasks)
            begin += stage.seconds
        await asyncio.gather(*tasks, return_exceptions=True)
        return [one.told() for one in seen]

    async def _run(self, stage: Stage, seen: "_Seen", target: str, ms: float, timeout_s: float, tasks: set) -> None:
        loop, interval = asyncio.get_running_loop(), 1 / stage.rate
        for number in range(int(stage.rate * stage.seconds)):
            due = seen.begin + number * interval
            early = due - time.perf_counter()
            if early > 0:
                await asyncio.sleep(early)
            seen.offered += 1
            if len(tasks) >= MOST_OUTSTANDING:
                seen.codes["held"] += 1
                continue
            task = loop.create_task(self._call(seen, due, target, ms, timeout_s), context=Context())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            if number % 64 == 63:
                await asyncio.sleep(0)

    async def _call(self, seen: "_Seen", due: float, target: str, ms: float, timeout_s: float) -> None:
        made = time.perf_counter()
        seen.behind.append(made - due)
        try:
            await self.request(target, ms=ms, timeout=timeout_s)
        except MeshError as error:
            seen.codes[error.code] += 1
            if error.code in ("overloaded", "rate_limited", "circuit_open", "unavailable"):
                seen.refused.append(time.perf_counter() - made)
        else:
            seen.codes["ok"] += 1
            seen.late.append((due - seen.begin, (time.perf_counter() - due) * 1000))


class _Seen:
    """What a stage has brought so far."""

    def __init__(self, begin: float) -> None:
        self.begin = begin
        self.offered = 0
        self.codes: Counter[str] = Counter()
        self.late: list[tuple[float, float]] = []
        self.refused: list[float] = []
        self.behind: list[float] = []

    def told(self) -> Told:
        """Return it with quantiles in place of the long lists."""
        return Told(offered=self.offered, codes=dict(self.codes), late=self.late,
                    refused_ms=_quantiles(self.refused), behind_ms=_quantiles(self.behind))


def _quantiles(seconds: list[float]) -> list[float]:
    if not seconds:
        return []
    ranked = sorted(seconds)
    return [round(ranked[min(len(ranked) - 1, int(len(ranked) * share))] * 1000, 3)
            for share in (0.5, 0.9, 0.99, 0.999, 1.0)]
