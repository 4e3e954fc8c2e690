"""When something that failed is started again, and when it is given up: for cells and for processes alike.

Only decides: it is told the time and of every failure, and answers how long to wait or why not to try again. Waiting
and starting are the owner's.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

DELAYS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
JITTER = 0.2
BUDGET = 5
WINDOW = 60.0
START_FAILURES = 3
QUIET = 600.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Start again after `delay` seconds; `attempt` counts the restarts of the last minute, this one included."""

    delay: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Do not start again until an operator says so; `reason` says what was used up."""

    reason: str


Decision = Backoff | Quarantine


class Restarts:
    """The failures of one thing and what follows from them.

    Times are seconds of one monotonic clock and never go back. `random` gives numbers from 0 up to 1.
    """

    def __init__(self, random: Callable[[], float] = random.random) -> None:
        self._random = random
        self.renew()

    def renew(self) -> None:
        """Forget every failure, as when an operator starts it again."""
        self._failures: deque[float] = deque()
        self._step = 0
        self._last: float | None = None
        self._was_ready = False
        self._failed_starts = 0

    def failures(self, now: float) -> int:
        """Return how many failures of the last minute count against the budget."""
        return sum(now - each < WINDOW for each in self._failures)

    def ready(self) -> None:
        """Note that it came up: from now on failures count against the budget alone."""
        self._was_ready = True
        self._failed_starts = 0

    def decide(self, now: float) -> Decision:
        """Note a failure at `now` and return what to do about it."""
        if self._last is not None and now - self._last >= QUIET:
            self._step = self._failed_starts = 0
        self._last = now
        self._failures.append(now)
        while now - self._failures[0] >= WINDOW:
            self._failures.popleft()
        return self._given_up() or self._next_delay()

    def _given_up(self) -> Quarantine | None:
        if not self._was_ready:
            self._failed_starts += 1
            if self._failed_starts >= START_FAILURES:
                return Quarantine(f"failed {self._failed_starts} times before it was ever ready")
        if len(self._failures) > BUDGET:
            return Quarantine(f"failed {len(self._failures)} times in {WINDOW:.0f} s, its budget is {BUDGET} restarts")
        return None

    def _next_delay(self) -> Backoff:
        delay = DELAYS[min(self._step, len(DELAYS) - 1)]
        self._step += 1
        spread = 1 + JITTER * (2 * self._random() - 1)
        return Backoff(delay * spread, len(self._failures))
