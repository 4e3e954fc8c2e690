"""`make bench`: one table of ratios, with what is promised and whether it was reached.

Baseline and mesh are measured in turn, so a drift of the machine touches both; a row is the median of its rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import calls, raw


@dataclass(frozen=True)
class Row:
    """One promise: its ratio per round, and the bound it must keep."""

    name: str
    ratios: list[float]
    promise: float
    aim: float
    higher_is_better: bool = True

    def line(self) -> str:
        """Return the row of the table."""
        median = statistics.median(self.ratios)
        good = median >= self.promise if self.higher_is_better else median <= self.promise
        sign = "≥" if self.higher_is_better else "≤"
        return (f"{self.name:<64} {median:>7.2f} {min(self.ratios):>7.2f} {max(self.ratios):>7.2f}   "
                f"{sign} {self.promise:.2f}   {sign} {self.aim:.2f}   {'pass' if good else 'short'}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=60_000, help="calls of a round at 64 outstanding")
    parser.add_argument("--alone", type=int, default=3_000, help="calls of a round one at a time")
    parser.add_argument("--items", type=int, default=300_000, help="items of a round's stream")
    parser.add_argument("--smoke", action="store_true", help="only show that the programs run")
    chosen = parser.parse_args()
    if chosen.smoke:
        chosen.rounds, chosen.calls, chosen.alone, chosen.items = 1, 640, 20, 1000
    rows = [
        *_rows("remote call", "plain", chosen, (0.50, 1.7), (0.80, 1.3)),
        *_rows("remote call", "CURVE", chosen, (0.375, 1.7), (0.80, 1.3)),
        *_rows("call to a process cell, same host", "CURVE", chosen, (0.35, None), (0.6, None), "process", "mainpc"),
        *_rows("remote call to a process cell", "plain", chosen, (0.30, 3.5), (0.5, 3.5), "process"),
        *_stream_rows("plain", chosen), *_stream_rows("CURVE", chosen),
    ]
    print(f"{'':<64} {'median':>7} {'least':>7} {'most':>7}   promise  aim")
    for row in rows:
        print(row.line())


def _rows(
    what: str, label: str, chosen: argparse.Namespace, promises: tuple[float, float | None],
    aims: tuple[float, float | None], isolation: str = "coroutine", echo_host: str = "pc2",
) -> list[Row]:
    """Measure the mesh in one layout against the baseline, in turn; `promises` and `aims` are of calls/s and of p50."""
    many: list[float] = []
    alone: list[float] = []
    security = "none" if label == "plain" else "curve"
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as name, \
            calls.running(Path(name), security=security, isolation=isolation, echo_host=echo_host) as folder:
        calls.measure(folder, calls=6400 if not chosen.smoke else 64, outstanding=64)
        for number in range(chosen.rounds):
            base = raw.measure(chosen.calls, chosen.alone)
            busy = calls.measure(folder, calls=chosen.calls, outstanding=64)
            lone = calls.measure(folder, calls=chosen.alone, outstanding=1)
            many.append(busy.calls_per_second / base.calls_per_second)
            alone.append(lone.p50 / base.p50)
            print(f"{what}, {label}, round {number + 1}: raw {base.calls_per_second:,.0f}/s, p50 {base.p50 * 1e6:.0f} "
                  f"µs; mesh {busy.calls_per_second:,.0f}/s, p99 {busy.p99 * 1e3:.2f} ms; alone p50 "
                  f"{lone.p50 * 1e6:.0f} µs")
    rows = [Row(f"{what}, 64 outstanding, {label}, share of raw", many, promises[0], aims[0])]
    if promises[1] is not None and aims[1] is not None:
        rows.append(Row(f"{what} alone, p50, {label}, times raw", alone, promises[1], aims[1], higher_is_better=False))
    return rows


def _stream_rows(label: str, chosen: argparse.Namespace) -> list[Row]:
    """Measure a stream against PUB and SUB, in turn, and a lone call beside 20 busy streams, in milliseconds."""
    shares: list[float] = []
    beside: list[float] = []
    security = "none" if label == "plain" else "curve"
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as name, \
            calls.running(Path(name), security=security) as folder:
        calls.measure_stream(folder, count=min(chosen.items, 20_000))
        for number in range(chosen.rounds):
            published = raw.published(chosen.items)
            items = calls.measure_stream(folder, count=chosen.items)
            crowded = calls.measure_beside(folder, streams=20, calls=chosen.alone)
            shares.append(items / published)
            beside.append(crowded.p99 * 1e3)
            print(f"stream, {label}, round {number + 1}: raw {published:,.0f}/s; mesh {items:,.0f}/s; a call beside 20 "
                  f"streams p50 {crowded.p50 * 1e3:.2f} ms, p99 {crowded.p99 * 1e3:.2f} ms")
    return [
        Row(f"stream of 100-byte items, {label}, share of raw PUB/SUB", shares, 0.50, 1.00),
        Row(f"call beside 20 busy streams, p99, {label}, ms", beside, 20.0, 10.0, higher_is_better=False),
    ]


if __name__ == "__main__":
    main()
