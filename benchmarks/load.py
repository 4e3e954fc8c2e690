"""The family `load`: latency against the calls offered per second, in an open loop, up to where no more are answered.

Calls are made at the given rate whatever becomes of earlier ones, those of a millisecond together, and each latency
counts from the millisecond in which its call was due: what waits at the caller is not left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import calls, raw
from benchmarks.effort import Effort
from benchmarks.row import Curve

SECONDS = 1.0
ROUNDS = 3
"""At most; there are many steps."""
STEPS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
"""Shares of what is answered per second with 64 outstanding."""
KEEPS_UP = 0.97
"""Of the calls offered; below, what waits grows for as long as it is measured."""

Offer = Callable[[float, float], tuple[float, float, float]]
"""At a rate, for seconds: the share answered in time, p50 and p99 in seconds."""


def rows(effort: Effort) -> Iterator[Curve]:
    """Yield p50 and p99 of the baseline and of remote calls without CURVE and with it."""
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(raw.running())
        meshes = {"mesh": stack.enter_context(calls.running_anywhere()),
                  "mesh, CURVE": stack.enter_context(calls.running_anywhere(security="curve"))}
        count = effort.of(20_000, 640)
        ways: dict[str, tuple[Offer, float]] = {
            "raw": (_offer_raw(base), base.calls_per_second(count)),
            **{name: (_offer_mesh(folder), calls.measure(folder, calls=count, outstanding=64).calls_per_second)
               for name, folder in meshes.items()},
        }
        for name, (offer, most) in ways.items():
            p50, p99 = _line(name, offer, most, effort)
            yield Curve("load", f"{name}, p50", "calls offered per second", "ms", p50, y_scale="log")
            yield Curve("load", f"{name}, p99", "calls offered per second", "ms", p99, y_scale="log")


def _line(
    name: str, offer: Offer, most: float, effort: Effort
) -> tuple[list[tuple[float, list[float]]], list[tuple[float, list[float]]]]:
    """Return p50 and p99 in ms at each rate, until the calls are no longer answered as fast as they are made."""
    p50: list[tuple[float, list[float]]] = []
    p99: list[tuple[float, list[float]]] = []
    for share in STEPS[:effort.of(len(STEPS), 1)]:
        rate = share * most
        rounds = [offer(rate, SECONDS if not effort.smoke else 0.05) for _ in range(min(ROUNDS, effort.rounds))]
        p50.append((rate, [one[1] * 1e3 for one in rounds]))
        p99.append((rate, [one[2] * 1e3 for one in rounds]))
        kept = sorted(one[0] for one in rounds)[len(rounds) // 2]
        effort.say(f"{name}, {rate:,.0f} calls/s: {kept:.0%} in time, p50 {rounds[0][1] * 1e3:.2f} ms, "
                   f"p99 {rounds[0][2] * 1e3:.2f} ms")
        if kept < KEEPS_UP:
            break
    return p50, p99


def _offer_raw(base: raw.Raw) -> Offer:
    def offer(rate: float, seconds: float) -> tuple[float, float, float]:
        latencies, took = base.offered(rate, seconds, calls.TICK)
        ranked = sorted(latencies)
        return min(1.0, seconds / took), ranked[len(ranked) // 2], ranked[len(ranked) * 99 // 100]

    return offer


def _offer_mesh(folder: Path) -> Offer:
    def offer(rate: float, seconds: float) -> tuple[float, float, float]:
        told = calls.measure_offered(folder, rate=rate, seconds=seconds)
        return min(1.0, seconds / told.seconds) * told.answered / told.offered, told.p50, told.p99

    return offer
