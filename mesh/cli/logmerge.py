"""The lines of several hosts in one order of time, while they come.

A host is asked again and again; what it has not told when it answers was written after the question was put. So once
every host has answered a round, everything before the round began can be shown, and no later line belongs before it.
Clocks that differ by more than a quarter of a second are made up for, and that is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

SLACK = 0.1
SKEW = 0.25

Line = Mapping[str, Any]


class Merge:
    """Lines that wait for their turn; all moments are wall-clock seconds of this machine."""

    def __init__(self) -> None:
        self.ahead: dict[str, float] = {}
        self._waiting: list[tuple[float, int, str, Line]] = []
        self._number = 0

    def take(self, host: str, lines: Iterable[Line], *, now: float, asked: float, answered: float) -> None:
        """Take what a host told; `now` is what its own clock said when it was `asked`, or soon after."""
        ahead = now - asked if now < asked else max(0.0, now - answered)
        self.ahead[host] = ahead if abs(ahead) > SKEW else 0.0
        for line in lines:
            self._number += 1
            self._waiting.append((seconds_of(line["time"]) - self.ahead[host], self._number, host, line))

    def release(self, began: float | None = None) -> list[tuple[str, Line]]:
        """Return, in order, host and line of what was written before the round that began then; all for None."""
        self._waiting.sort(key=lambda waiting: waiting[:2])
        until = float("inf") if began is None else began - SLACK
        count = next((at for at, waiting in enumerate(self._waiting) if waiting[0] > until), len(self._waiting))
        due, self._waiting = self._waiting[:count], self._waiting[count:]
        return [(host, line) for _, _, host, line in due]


def seconds_of(time: str) -> float:
    """Return a line's `time` as wall-clock seconds, 0 for none."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return 0.0
