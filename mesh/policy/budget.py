"""How many retries one called service is worth: a share of its calls, and a small reserve.

As in Finagle's `RetryBudget` a call pays in a share of a token and a retry takes a whole one, so that a service that is
down sees little more calls than one that is well. The reserve is for callers that call seldom.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mesh.clock import Clock
from mesh.config import RetryRule
from mesh.metrics import Sample, counter

RETRIES = counter("mesh_retries_total", "Attempts by this host's callers after the first.", "service")
SPENT = counter("mesh_retries_refused_total", "Calls not made again because the service's retry budget was spent.",
                "service")

KEPT = 1000
"""Calls whose unused shares are kept: after a quiet hour so many retries at once are still no storm."""
REFILL = 60.0
"""Seconds in which an empty reserve is full again."""


class Budget:
    """The retries of one called service: never more than `reserve` in a minute and `share` of the calls.

    Whoever calls adds one to `calls`; the tokens are reckoned only when one is wanted.
    """

    __slots__ = ("_at", "_paid", "_tokens", "calls", "refused", "reserve", "retries", "share")

    def __init__(self, share: float, reserve: int, now: float) -> None:
        self.share = share
        self.reserve = reserve
        self.calls = 0
        self.retries = 0
        self.refused = 0
        self._tokens = float(reserve)
        self._paid = 0
        self._at = now

    def tune(self, share: float, reserve: int) -> None:
        """Go on with another share and reserve."""
        self.share, self.reserve = share, reserve

    def left(self, now: float) -> float:
        """Return how many tokens there are; below one nothing is asked again."""
        filled = min(self.reserve, self._tokens + self.reserve * (now - self._at) / REFILL)
        earned = self.share * (self.calls - self._paid)
        return min(self.reserve + self.share * KEPT, max(self._tokens, filled) + earned)

    def take(self, now: float) -> bool:
        """Take a token for a retry; returns False when there is none."""
        self._tokens, self._paid, self._at = self.left(now), self.calls, now
        if self._tokens < 1.0:
            self.refused += 1
            return False
        self._tokens -= 1.0
        self.retries += 1
        return True


class Budgets:
    """The budgets of a host, one for each service that it calls."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._budgets: dict[str, Budget] = {}

    def of(self, service: str, rule: RetryRule) -> Budget:
        """Return the budget of a service, as large as `rule` says from now on."""
        known = self._budgets.get(service)
        if known is None:
            known = self._budgets[service] = Budget(rule.budget, rule.reserve, self._clock.monotonic())
        known.tune(rule.budget, rule.reserve)
        return known

    def row(self, service: str) -> dict[str, Any] | None:
        """Return what is known of a service's budget, None if it was never called with retries."""
        budget = self._budgets.get(service)
        return None if budget is None else {
            "calls": budget.calls, "retries": budget.retries, "refused": budget.refused,
            "left": round(budget.left(self._clock.monotonic()), 1),
        }

    def samples(self) -> Iterator[Sample]:
        """Yield the figures of every budget."""
        for service, budget in self._budgets.items():
            yield RETRIES.sample(budget.retries, service)
            yield SPENT.sample(budget.refused, service)
