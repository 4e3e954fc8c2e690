"""When agents that fail at the same time are started again: one after the other, so that their host can breathe."""

from __future__ import annotations

GAP = 0.01
PROCESS_GAP = 0.1
"""Seconds between two starts of agents; a process of its own costs its machine more."""


class Stagger:
    """The moments of one host's restarts, monotonic seconds; one that is alone has the moment it wants."""

    def __init__(self) -> None:
        self._taken: list[float] = []

    def moment(self, wanted: float, gap: float, now: float) -> float:
        """Take the first moment from `wanted` on that is `gap` seconds from all that are taken."""
        self._taken = [at for at in self._taken if at > now - gap]
        at = wanted
        for other in self._taken:
            if abs(other - at) < gap - 1e-9:
                at = other + gap
        self._taken.append(at)
        self._taken.sort()
        return at
