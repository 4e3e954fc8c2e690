"""The family `local`: a call between two agents on the event loop of one host, against `raw` between two processes."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import calls, raw
from benchmarks.effort import Effort, ratios
from benchmarks.remote import CALLS, rate_of
from benchmarks.row import Row


def rows(effort: Effort) -> Iterator[Row]:
    """Yield the row of 64 outstanding calls inside one host."""
    count = effort.of(CALLS, 640)
    with raw.running() as base, calls.running_anywhere(echo_host="mainpc") as folder:
        found = effort.in_turn({
            "raw, calls/s": lambda: base.calls_per_second(count), "mesh, calls/s": rate_of(folder, count),
        })
    yield Row("call inside one host, 64 outstanding, share of raw",
              ratios(found["mesh, calls/s"], found["raw, calls/s"]), 1.0, 2.0, figures=found)
