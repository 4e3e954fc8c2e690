"""The family `tracing`: what traces cost, 1 % of the calls sampled, and all of them, against none.

Each call begins a trace of its own, so the lot is drawn for each. What is compared is the processor time that both
hosts spend on a call, which other work on the machine disturbs less than it does calls per second.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import calls
from benchmarks.effort import Effort, ratios
from benchmarks.row import Row

CALLS = 20_000


def rows(effort: Effort) -> Iterator[Row]:
    """Yield both rows; 0.95 means that a call costs a twentieth more."""
    count = effort.of(CALLS, 640)
    with contextlib.ExitStack() as stack:
        found = effort.in_turn({
            f"{share:.0%} sampled, µs": _cost(stack.enter_context(calls.running_anywhere(sample=share)), count)
            for share in (0.0, 0.01, 1.0)
        })
    yield Row("remote call, 1 % sampled against none, by processor time",
              ratios(found["0% sampled, µs"], found["1% sampled, µs"]), 0.95, figures=found)
    yield Row("remote call, all sampled against none, by processor time",
              ratios(found["0% sampled, µs"], found["100% sampled, µs"]), figures=found)


def _cost(folder: Path, count: int) -> Callable[[], float]:
    """Return what measures the µs of processor time that both hosts spend on a call."""
    hosts = calls.hosts(folder).values()

    def measure() -> float:
        before = calls.processor(hosts)
        calls.measure(folder, calls=count, outstanding=64, roots=True)
        return (calls.processor(hosts) - before) / count * 1e6

    return measure
