"""When something that ended is started again, and when it is given up: for cells and for processes alike.

Only decides: it is told the time and of every failure, and answers how long to wait or why not to try again. Waiting
and starting are the owner's. The kinds of what is restarted are those of Erlang/OTP's supervisors; the delays between
its restarts and a budget of its own for each are not.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

DELAYS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
JITTER = 0.2
BUDGET = 5
WINDOW = 60.0
START_FAILURES = 3
QUIET = 600.0


class Kind(StrEnum):
    """After which ends something is started again: any, an abnormal one, none."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"

    def returns(self, *, normal: bool) -> bool:
        """Tell whether it is started again after such an end."""
        return self is Kind.PERMANENT or (self is Kind.TRANSIENT and not normal)


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms something is started again; the seconds of `delays` follow each other, the last one stays.

    `budget` restarts may lie within `window` seconds; `starts` failures before it was ever ready are too many; after
    `quiet` seconds without a failure delays and failed starts count anew.
    """

    delays: tuple[float, ...] = DELAYS
    budget: int = BUDGET
    window: float = WINDOW
    starts: int = START_FAILURES
    quiet: float = QUIET


@dataclass(frozen=True, slots=True)
class Backoff:
    """Start again after `delay` seconds; `attempt` counts the restarts within the budget's window, with this one."""

    delay: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Do not start again until an operator says so; `reason` says what was used up."""

    reason: str


Decision = Backoff | Quarantine


class Restarts:
    """The failures of one thing and what follows from them.

    Times are seconds of one monotonic clock and never go back. `random` gives numbers from 0 up to 1. `terms` may be
    changed at any time; they count from the next failure on.
    """

    def __init__(self, random: Callable[[], float] = random.random, terms: Terms | None = None) -> None:
        self.terms = terms or Terms()
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
        """Return how many failures count against the budget at `now`."""
        return sum(now - each < self.terms.window for each in self._failures)

    def ready(self) -> None:
        """Note that it came up: from now on failures count against the budget alone."""
        self._was_ready = True
        self._failed_starts = 0

    def decide(self, now: float) -> Decision:
        """Note a failure at `now` and return what to do about it."""
        if self._last is not None and now - self._last >= self.terms.quiet:
            self._step = self._failed_starts = 0
        self._last = now
        self._failures.append(now)
        while now - self._failures[0] >= self.terms.window:
            self._failures.popleft()
        return self._given_up() or self._next_delay()

    def _given_up(self) -> Quarantine | None:
        terms = self.terms
        if not self._was_ready:
            self._failed_starts += 1
            if self._failed_starts >= terms.starts:
                return Quarantine(f"failed {_times(self._failed_starts)} before it was ever ready")
        if len(self._failures) > terms.budget:
            return Quarantine(f"failed {_times(len(self._failures))} in {terms.window:g} s, its budget is "
                              f"{terms.budget} restart{'' if terms.budget == 1 else 's'}")
        return None

    def _next_delay(self) -> Backoff:
        delay = self.terms.delays[min(self._step, len(self.terms.delays) - 1)]
        self._step += 1
        spread = 1 + JITTER * (2 * self._random() - 1)
        return Backoff(delay * spread, len(self._failures))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
