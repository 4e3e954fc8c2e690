"""The family `process`: a call to an agent in a process of its own, through its host, against `raw`."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import calls, raw
from benchmarks.effort import Effort, ratios
from benchmarks.remote import ALONE, CALLS, rate_of
from benchmarks.row import Row


def rows(effort: Effort) -> Iterator[Row]:
    """Yield the rows of a process cell on the caller's host, and on another."""
    count, lone = effort.of(CALLS // 2, 640), effort.of(ALONE, 20)
    with raw.running() as base, \
            calls.running_anywhere(isolation="process", echo_host="mainpc") as here, \
            calls.running_anywhere(isolation="process", echo_host="pc2") as there:
        found = effort.in_turn({
            "raw, calls/s": lambda: base.calls_per_second(CALLS if not effort.smoke else count),
            "same host, calls/s": rate_of(here, count),
            "other host, calls/s": rate_of(there, count),
            "raw alone, µs": lambda: base.p50(lone) * 1e6,
            "other host alone, µs": lambda: calls.measure(there, calls=lone, outstanding=1).p50 * 1e6,
        })
    yield Row("call to a process cell, same host, share of raw",
              ratios(found["same host, calls/s"], found["raw, calls/s"]), 0.35, 0.6, figures=found)
    yield Row("call to a process cell, other host, share of raw",
              ratios(found["other host, calls/s"], found["raw, calls/s"]), 0.30, 0.5, figures=found)
    yield Row("call to a process cell, other host, alone, p50, times raw",
              ratios(found["other host alone, µs"], found["raw alone, µs"]), 3.5, None, higher_is_better=False,
              figures=found)
