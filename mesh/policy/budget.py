"""How many retries one called service is worth: a share of its calls, and a small reserve.

As in Finagle's `RetryBudget` a call pays in a share of a token and a retry takes a whole one, so that a service that is
down sees little more calls than one that is well. The reserve is for callers that call seldom.
"""

from __future__ import annotations

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
