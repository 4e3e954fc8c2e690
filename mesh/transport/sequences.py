"""Counters of the events on each topic, so that a reader who lost one can see it.

A number counts per boot and exact topic, whether anybody listens or not. It knows neither sockets nor the clock: times
are arguments, in monotonic seconds. Memory is bounded: the topic unused for longest makes room, and a topic counted
anew goes on above every number that was ever forgotten, so no number comes twice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

TOPICS = 10_000
REPEATED_FOR = 60.0
REPEATS = 256


class Sequences:
    """The last number of each topic and when it was given."""

    def __init__(self, topics: int = TOPICS) -> None:
        self._limit = topics
        self._floor = 0
        self._last: OrderedDict[str, tuple[int, float]] = OrderedDict()  # the most recent at the end
        self._latest = ""
        self._asked = float("-inf")
        self._turn = 0

    def next(self, topic: str, now: float) -> int:
        """Return the number of the next event on `topic`."""
        known = self._last.get(topic)
        number = (self._floor if known is None else known[0]) + 1
        self._last[topic] = (number, now)
        if topic == self._latest:
            return number
        self._latest = topic
        self._last.move_to_end(topic)
        if len(self._last) > self._limit:
            _, (forgotten, _) = self._last.popitem(last=False)
            self._floor = max(self._floor, forgotten)
        return number

    def repeats(self, now: float, wanted: Callable[[str], bool]) -> list[tuple[str, int]]:
        """Return topic and last number of the wanted ones that were active within a minute, silent since last asked.

        At most 256 at a time, taken in turns when more are due, so repeats never crowd out events.
        """
        due: list[tuple[str, int]] = []
        for topic, (number, moment) in reversed(self._last.items()):
            if moment < now - REPEATED_FOR:
                break
            if moment <= self._asked and wanted(topic):
                due.append((topic, number))
        self._asked = now
        if len(due) <= REPEATS:
            return due
        start = self._turn % len(due)
        self._turn = start + REPEATS
        return (due + due)[start:start + REPEATS]

    def __len__(self) -> int:
        return len(self._last)
