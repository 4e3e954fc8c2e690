"""The family `curve`: calls between hosts that encrypt, against calls between hosts that do not."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import calls
from benchmarks.effort import Effort, ratios
from benchmarks.remote import CALLS, rate_of
from benchmarks.row import Row


def rows(effort: Effort) -> Iterator[Row]:
    """Yield the row of 64 outstanding calls."""
    count = effort.of(CALLS, 640)
    with calls.running_anywhere() as plain, calls.running_anywhere(security="curve") as encrypted:
        found = effort.in_turn({"off, calls/s": rate_of(plain, count), "on, calls/s": rate_of(encrypted, count)})
    yield Row("remote call, 64 outstanding, CURVE on against off",
              ratios(found["on, calls/s"], found["off, calls/s"]), 0.75, 0.9, figures=found)
