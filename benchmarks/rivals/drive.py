"""What every rival's client does: calls at 64 outstanding, then one at a time; prints the figures as JSON.

Runs in the rivals' own environment, so it imports nothing of the mesh.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

TEXT = "x" * 76
OUTSTANDING = 64


async def drive(call: Callable[[str, int], Awaitable[Any]], calls: int, alone: int) -> None:
    """Measure `call`, which takes text and number and returns a map of both."""
    latencies: list[float] = []

    async def work(count: int) -> None:
        for number in range(count):
            began = time.perf_counter()
            answer = await call(TEXT, number)
            latencies.append(time.perf_counter() - began)
            if answer["number"] != number:
                raise ValueError(f"asked for {number}, got {answer}")

    await work(50)
    began = time.perf_counter()
    await asyncio.gather(*(work(max(1, calls // OUTSTANDING)) for _ in range(OUTSTANDING)))
    rate = max(1, calls // OUTSTANDING) * OUTSTANDING / (time.perf_counter() - began)
    latencies.clear()
    await work(alone)
    print(json.dumps({"calls_per_second": rate, "p50": sorted(latencies)[alone // 2]}), flush=True)
