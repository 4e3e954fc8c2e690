"""Refuse on arrival what would wait in vain: calls whose turn cannot come before their deadline, and a standing queue.

A queue that never empties adds waiting to every call and gives none of them more: that is what Controlled Delay
(RFC 8289) looks at instead of length, with how long calls wait as the measure, as DAGOR does (Zhou et al., "Overload
control for scaling WeChat microservices", 2018). Both drop what has waited already. Here a call is refused when it
comes, because whoever is refused is to know at once: from how fast turns come up it is clear how long it would wait.

- A burst is no overload. Until the queue has stood for ten times `patience`, a call is let in if three quarters of the
  time it has left are enough for its turn to come and for what such calls take.
- After that only those are let in that would wait no longer than `patience`: `wait_s`, or four times what such a call
  takes if that is longer, since a queue of slow calls is slow by nature.
- When it turns out that turns come up more slowly than it seemed, those who wait and will not have theirs in time are
  told so while they wait, for a caller takes a deadline that passes for a sign that the callee is ill.
- A queue that was empty is a burst again. How fast turns came up is remembered for a second beyond, since a queue may
  have emptied only because all who waited gave up.

What it does not know: whether the next calls take as long as the last ones did.
"""

from __future__ import annotations

from mesh.metrics import counter

SLOW = 4.0
STANDING = 10.0
WINDOW = 0.02
REMEMBERED = 1.0
MARGIN = 0.75
GUESS = 0.5
TURNS = 8
SMOOTH = 0.25
LEAST_RETRY = 0.01

SHED = counter("mesh_shed_total", "Calls refused because they would have waited in vain, or in a queue that stands.",
               "service")


class Shed:
    """Watches one queue: since when it stands, how fast turns come up, how long calls take."""

    __slots__ = ("_guessed", "_since", "_turns", "_window", "gap", "refused", "took")

    def __init__(self) -> None:
        self.refused = 0
        self.gap = 0.0
        self.took = 0.0
        self._since = 0.0
        self._window = 0.0
        self._turns = 0
        self._guessed = True

    # -- what it sees

    def begins(self, now: float, running: int = 0) -> None:
        """Note that somebody waits where nobody did, while so many run.

        Until it is known how fast turns come up, half of what those that run take is a lenient guess.
        """
        if now - self._window > REMEMBERED:
            self.gap = GUESS * self.took / max(1, running)
            self._guessed = True
        self._since = self._window = now
        self._turns = 0

    def turn(self, now: float) -> bool:
        """Note that one of those who wait has its turn; tells whether more is known now of how fast turns come up."""
        self._turns += 1
        passed = now - self._window
        if self._turns >= TURNS and passed >= WINDOW:
            gap = passed / self._turns
            self.gap = gap if self._guessed else self.gap + SMOOTH * (gap - self.gap)
            self._window, self._turns, self._guessed = now, 0, False
            return True
        return False

    def ended(self, took: float) -> None:
        """Note how many seconds a call took once it had its turn."""
        self.took = took if not self.took else self.took + SMOOTH * (took - self.took)

    # -- what follows

    def patience(self, wait_s: float) -> float:
        """Return how many seconds a call may wait while the queue stands."""
        return max(wait_s, SLOW * self.took)

    def standing(self, now: float, wait_s: float) -> bool:
        """Tell whether a queue that is not empty has not been so for too long to be a burst."""
        return now - self._since > STANDING * self.patience(wait_s)

    def refuses(self, ahead: int, now: float, deadline: float, wait_s: float) -> float:
        """Return 0 to let a call in that has `ahead` others before it; else after how many seconds to try again.

        That is never more than `patience`: the queue must not run empty while everybody stays away.
        """
        wait = self.gap * (ahead + 1)
        if not wait:
            return 0.0
        patience = self.patience(wait_s)
        over = wait + self.took - MARGIN * (deadline - now)
        if self.standing(now, wait_s):
            over = max(over, wait - patience)
        if over <= 0:
            return 0.0
        self.refused += 1
        return min(max(over, patience / 2, LEAST_RETRY), patience)

    def row(self) -> dict[str, float]:
        """Return what it does now, for `mesh describe`."""
        return {"refused": self.refused, "gap_ms": round(self.gap * 1000, 3), "took_ms": round(self.took * 1000, 3)}
