"""The circuit breaker of one instance: when it opens, whom it lets try, when it closes. Pure: outcomes and `now` in.

Rules this file holds to:
- Closed it opens after `failures` in a row, or when at least `share` of at least `of` calls of the last `within_s`
  seconds failed; the window moves on in tenths. Open it lets nobody through for `open_s`, then `trials` at a time
  (half-open): `successes` of them close it, one that fails opens it again.
- Every change begins a new `turn`; what a call that began in an earlier one came to is no longer news.
- What the caller did wrong, and what a callee that is well refuses, says nothing about the callee: see `counts`.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

from mesh.config import BreakerRule
from mesh.errors import MeshError, through

State = Literal["closed", "open", "half_open"]
STATES: tuple[State, ...] = ("closed", "open", "half_open")

SLICES = 10
SHORT = 0.02
"""A caller that grants less than these seconds learns about its own haste, not about the callee."""
TRIAL = 0.5
"""Seconds after which to ask again while others try."""

REFUSALS = frozenset({"unavailable", "overloaded", "circuit_open"})
"""A callee that is leaving, or full, says so itself, and the directory, the caller's choice and its waiting answer to
that; opened breakers would turn a busy minute into a dead one."""


def counts(error: MeshError, granted: float) -> bool:
    """Tell whether an error speaks against the instance that a call with `granted` seconds went to."""
    if error.fault == "caller" or error.code == "cancelled" or through(error) is not None:
        return False
    if error.code in REFUSALS and error.details.get("began") != "yes":
        return False
    return error.code != "deadline_exceeded" or granted >= SHORT


class Breaker:
    """One instance as its caller sees it. Each method that may change the state says whether it did."""

    __slots__ = ("_failed", "_past", "_slice", "_until", "failures", "next_look", "ok", "rule", "state", "successes",
                 "trials", "turn")

    def __init__(self, rule: BreakerRule, now: float) -> None:
        self.rule = rule
        self.state: State = "closed"
        self.turn = 0
        self.failures = 0
        self.ok = 0
        self.trials = 0
        self.successes = 0
        self.next_look = 0.0
        self._until = 0.0
        self._slice = 0
        self._failed = 0
        self._past: deque[tuple[int, int, int]] = deque()
        self._clear(now)

    # -- closed

    def look(self, now: float) -> None:
        """Move the window on to `now`; to be called once `next_look` has come."""
        width = self.rule.within_s / SLICES
        slice_ = int(now / width)
        if slice_ != self._slice:
            self._past.append((self._slice, self.ok, self._failed))
            self.ok = self._failed = 0
            self._slice = slice_
        while self._past and self._past[0][0] <= slice_ - SLICES:
            self._past.popleft()
        self.next_look = (slice_ + 1) * width

    def window(self) -> tuple[int, int]:
        """Return how many calls are in the window, and how many of them failed."""
        failed = self._failed + sum(part[2] for part in self._past)
        return self.ok + failed + sum(part[1] for part in self._past), failed

    # -- any state

    def retry_after(self, now: float) -> float:
        """Return after how many seconds a call is let through: 0 when it would be now."""
        if self.state == "open":
            return max(0.0, self._until - now)
        return TRIAL if self.state == "half_open" and self.trials >= self.rule.trials else 0.0

    def admit(self, now: float) -> bool:
        """Let a call try, where `retry_after` is 0; tells whether that made the breaker half-open."""
        changed = self.state == "open"
        if changed:
            self._become("half_open", now)
        if self.state == "half_open":
            self.trials += 1
        return changed

    def succeeded(self, turn: int, now: float) -> bool:
        """Count a call that began in `turn` and was answered."""
        if turn != self.turn:
            return False
        if self.state == "closed":
            self.ok += 1
            self.failures = 0
            return False
        self.trials -= 1
        self.successes += 1
        if self.successes < self.rule.successes:
            return False
        self._become("closed", now)
        return True

    def failed(self, turn: int, now: float) -> bool:
        """Count a call that began in `turn` and failed in a way that counts."""
        if turn != self.turn:
            return False
        if self.state == "closed":
            self.look(now)
            self.failures += 1
            self._failed += 1
            if not self._too_many():
                return False
        self._become("open", now)
        return True

    def passed(self, turn: int) -> None:
        """Forget a call that began in `turn` and says nothing about the instance."""
        if turn == self.turn and self.state == "half_open":
            self.trials -= 1

    @property
    def reason(self) -> str:
        """Why one that was closed has opened, for people."""
        if self.failures >= self.rule.failures:
            return f"{self.failures} failure{'s' * (self.failures > 1)} in a row"
        calls, failed = self.window()
        return f"{failed} of {calls} calls within {self.rule.within_s:g} s failed"

    def _too_many(self) -> bool:
        if self.failures >= self.rule.failures:
            return True
        calls, failed = self.window()
        return calls >= self.rule.of and failed >= self.rule.share * calls

    def _become(self, state: State, now: float) -> None:
        self.state = state
        self.turn += 1
        self.trials = self.successes = 0
        self._until = now + self.rule.open_s
        if state == "closed":
            self._clear(now)
        else:
            self.next_look = 0.0  # so that nobody passes without being asked

    def _clear(self, now: float) -> None:
        self.failures = self.ok = self._failed = 0
        self._past.clear()
        self._slice = int(now / (self.rule.within_s / SLICES))
        self.look(now)

    def tune(self, rule: BreakerRule, now: float) -> None:
        """Go on under another rule, with an empty window."""
        self.rule = rule
        if self.state == "closed":
            self._clear(now)
        else:
            self._until = min(self._until, now + rule.open_s)
