"""Which errors belong together, and when one agent has too many of them: pure rules over sightings and the time."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Literal

SERIOUS = frozenset({"warning", "error", "critical"})
_PAIRS = 100


@dataclass(frozen=True, slots=True)
class Sighting:
    """An error of one agent."""

    agent: str
    severity: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What should be done about an agent, why, and which others failed around the same time."""

    action: Literal["restart", "inspect"]
    reason: str
    related: tuple[str, ...]


class ErrorPatterns:
    """Sightings of the last `window` seconds; `burst` of one agent, or a critical one, make an advice.

    No second advice on the same agent follows within `quiet` seconds.
    """

    def __init__(self, window: float, burst: int, quiet: float) -> None:
        self._window = window
        self._burst = burst
        self._quiet = quiet
        self._recent: deque[tuple[float, Sighting]] = deque()
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._advised: dict[str, float] = {}

    def see(self, sighting: Sighting, now: float) -> Advice | None:
        """Take an error seen at `now` (seconds); return what it is time to advise."""
        self._drop_old(now)
        if sighting.severity not in SERIOUS:
            return None
        others = sorted({each.agent for _, each in self._recent} - {sighting.agent})
        for other in others:
            first, second = sorted((sighting.agent, other))
            self._pairs[first, second] += 1
        if len(self._pairs) > 2 * _PAIRS:
            self._pairs = Counter(dict(self._pairs.most_common(_PAIRS)))
        self._recent.append((now, sighting))
        return self._advice(sighting, tuple(others), now)

    def related(self) -> list[tuple[tuple[str, str], int]]:
        """Return the pairs of agents that failed within the window of each other, the most frequent first."""
        return self._pairs.most_common(_PAIRS)

    def failing(self, agent: str, now: float) -> bool:
        """Tell whether `agent` had an error within the window."""
        self._drop_old(now)
        return any(each.agent == agent for _, each in self._recent)

    def _advice(self, sighting: Sighting, related: tuple[str, ...], now: float) -> Advice | None:
        count = sum(each.agent == sighting.agent for _, each in self._recent)
        critical = sighting.severity == "critical"
        if not critical and count < self._burst:
            return None
        last = self._advised.get(sighting.agent)
        if last is not None and now - last < self._quiet:
            return None
        self._advised[sighting.agent] = now
        reason = "a critical error" if critical else f"{count} errors within {self._window:.0f} s"
        # Several agents that fail together have one cause, and restarting each of them hides it.
        return Advice("inspect" if related else "restart", reason, related)

    def _drop_old(self, now: float) -> None:
        while self._recent and now - self._recent[0][0] >= self._window:
            self._recent.popleft()
