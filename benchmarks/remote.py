"""The family `calls`: a call by service name from an agent of one host to an agent of another, against `raw`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import calls, raw
from benchmarks.effort import Effort, ratios
from benchmarks.row import Row

CALLS = 60_000
ALONE = 3_000


def rows(effort: Effort) -> Iterator[Row]:
    """Yield the rows of 64 outstanding calls on either event loop, and of calls made one at a time."""
    count = effort.of(CALLS, 640)
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(raw.running())
        meshes = {loop: stack.enter_context(calls.running_anywhere(loop=loop)) for loop in ("uvloop", "asyncio")}
        found = effort.in_turn({
            "raw, calls/s": lambda: base.calls_per_second(count),
            **{f"{loop}, calls/s": rate_of(folder, count) for loop, folder in meshes.items()},
        })
        for loop, promise in (("uvloop", 0.50), ("asyncio", 0.43)):
            yield Row(f"remote call, 64 outstanding, {loop}, share of raw",
                      ratios(found[f"{loop}, calls/s"], found["raw, calls/s"]), promise, 0.80, figures=found)
        yield alone(effort, meshes["uvloop"])


def alone(effort: Effort, folder: Path) -> Row:
    """Return the row of calls made one at a time, each process of mesh and baseline on a core of its own."""
    count = effort.of(ALONE, 20)
    cores = two_cores()
    calls.pin(folder, dict(zip(("mainpc", "pc2"), cores, strict=True)))
    with raw.running(cores) as base:
        found = effort.in_turn({
            "raw alone, µs": lambda: base.p50(count) * 1e6,
            "mesh alone, µs": lambda: calls.measure(folder, calls=count, outstanding=1).p50 * 1e6,
        })
    return Row("remote call alone, p50, pinned, times raw", ratios(found["mesh alone, µs"], found["raw alone, µs"]),
               1.7, 1.3, higher_is_better=False, figures=found)


def rate_of(folder: Path, count: int) -> Callable[[], float]:
    """Return what measures the calls per second of a mesh at 64 outstanding."""
    return lambda: calls.measure(folder, calls=count, outstanding=64).calls_per_second


def two_cores() -> tuple[int, int]:
    """Return a core for each of two processes; the same one where there is but one."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[min(1, len(cores) - 1)]
