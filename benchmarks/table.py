"""The table of the benchmarks: promise, aim, what was measured, pass or short."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmarks.effort import number_of
from benchmarks.row import Row

NAME = 66


def lines(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"{'':<{NAME}} {'promise':>8} {'aim':>8} {'median':>8} {'least':>8} {'most':>8}"
    family = ""
    for row in rows:
        if row.family != family:
            family = row.family
            yield f"{family}"
        yield _line(row)


def _line(row: Row) -> str:
    sign = "≥" if row.higher_is_better else "≤"
    name = f"  {row.name}{f', {row.unit}' if row.unit else ''}"
    figures = " ".join(f"{number_of(value):>8}" for value in (row.median, min(row.ratios), max(row.ratios)))
    bounds = " ".join(f"{'' if bound is None else f'{sign} {number_of(bound)}':>8}" for bound in (row.promise, row.aim))
    return f"{name:<{NAME}} {bounds} {figures}  {row.verdict}".rstrip()

