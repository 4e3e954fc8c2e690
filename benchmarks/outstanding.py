"""The family `outstanding`: calls per second against how many are under way at once, from 1 to 1,024."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks import calls, raw
from benchmarks.effort import Effort
from benchmarks.row import Curve

SECONDS = 0.5
OUTSTANDING = (1, 4, 16, 64, 256, 1024)


def rows(effort: Effort) -> Iterator[Curve]:
    """Yield a curve of the baseline, of remote calls without CURVE and with it, and of calls inside a host."""
    steps = OUTSTANDING if not effort.smoke else OUTSTANDING[:2]
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(raw.running())
        meshes = {
            "remote": stack.enter_context(calls.running_anywhere()),
            "remote, CURVE": stack.enter_context(calls.running_anywhere(security="curve")),
            "inside one host": stack.enter_context(calls.running_anywhere(echo_host="mainpc")),
        }
        ways: dict[str, Callable[[int, int], float]] = {
            "raw": base.calls_per_second, **{name: _rate_of(folder) for name, folder in meshes.items()},
        }
        points: dict[str, list[tuple[float, list[float]]]] = {name: [] for name in ways}
        for outstanding in steps:
            effort.say(f"{outstanding} outstanding")
            counts = {name: _count(way, outstanding, effort) for name, way in ways.items()}
            found = effort.in_turn({name: partial(way, counts[name], outstanding) for name, way in ways.items()})
            for name, rates in found.items():
                points[name].append((outstanding, rates))
    for name, line in points.items():
        yield Curve("outstanding", name, "calls outstanding", "calls/s", line, x_scale="log")


def _count(way: Callable[[int, int], float], outstanding: int, effort: Effort) -> int:
    """Return how many calls take about as long as a measurement should."""
    least = 2 * outstanding
    if effort.smoke:
        return least
    tried = max(500, least)
    return max(least, int(way(tried, outstanding) * SECONDS) // outstanding * outstanding)


def _rate_of(folder: Path) -> Callable[[int, int], float]:
    return lambda count, outstanding: calls.measure(folder, calls=count, outstanding=outstanding).calls_per_second
