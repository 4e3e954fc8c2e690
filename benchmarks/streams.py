"""The family `streams`: small items from host to host against PUB and SUB, and a call beside many busy streams."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import calls, raw
from benchmarks.effort import Effort, ratios
from benchmarks.row import Row

ITEMS = 300_000
STREAMS = 20
ALONE = 1_000


def rows(effort: Effort) -> Iterator[Row]:
    """Yield both rows, without CURVE and with it."""
    count, lone = effort.of(ITEMS, 1_000), effort.of(ALONE, 20)
    with calls.running_anywhere() as plain, calls.running_anywhere(security="curve") as encrypted:
        found = effort.in_turn({
            "raw PUB/SUB, items/s": lambda: raw.published(count),
            "plain, items/s": lambda: calls.measure_stream(plain, count=count),
            "CURVE, items/s": lambda: calls.measure_stream(encrypted, count=count),
            "plain, p99, ms": lambda: calls.measure_beside(plain, streams=STREAMS, calls=lone).p99 * 1e3,
            "CURVE, p99, ms": lambda: calls.measure_beside(encrypted, streams=STREAMS, calls=lone).p99 * 1e3,
        })
    for label in ("plain", "CURVE"):
        yield Row(f"stream of 100-byte items with credit, {label}, share of PUB/SUB",
                  ratios(found[f"{label}, items/s"], found["raw PUB/SUB, items/s"]), 0.50, 1.00, figures=found)
    for label in ("plain", "CURVE"):
        yield Row(f"call beside {STREAMS} busy streams, p99, {label}", found[f"{label}, p99, ms"], 20.0, 10.0,
                  higher_is_better=False, unit="ms")
