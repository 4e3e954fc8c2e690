"""What the failure of one of a group means for the others: the strategies of Erlang/OTP's supervisors, as decisions.

Only decides: it is told of each failure and the time, and answers who is restarted with whom, or that the group is
given up. Stopping and starting are the owner's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mesh.config import RestartGroupConfig


@dataclass(frozen=True, slots=True)
class Together:
    """Those who are restarted with the one that failed, in the order of their start; nobody, if it is empty."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spent:
    """All of the group are given up, until an operator starts them again; `reason` says what was used up."""

    reason: str


class RestartGroup:
    """The failures of one group's members on one host.

    `order` returns the names of the members there in the order of their start. Times are monotonic seconds.
    """

    def __init__(self, name: str, config: RestartGroupConfig, order: Callable[[], Sequence[str]]) -> None:
        self.name = name
        self.config = config
        self._order = order
        self._failures: deque[float] = deque()

    def __str__(self) -> str:
        return f"restart group {self.name}, {self.config.strategy}"

    def members(self) -> tuple[str, ...]:
        """Return the members in the order of their start."""
        return tuple(self._order())

    def failures(self, now: float) -> int:
        """Return how many failures count against the budget at `now`."""
        return sum(now - each < self.config.within_s for each in self._failures)

    def renew(self) -> None:
        """Forget every failure, as when an operator starts a member again."""
        self._failures.clear()

    def failed(self, name: str, now: float) -> Together | Spent:
        """Note that a member failed and return what follows for the others."""
        self._failures.append(now)
        while now - self._failures[0] >= self.config.within_s:
            self._failures.popleft()
        if len(self._failures) > self.config.budget:
            return Spent(f"the restart group {self.name} failed {len(self._failures)} times in "
                         f"{self.config.within_s:g} s, its budget is {self.config.budget}")
        return Together(self.with_it(name))

    def with_it(self, name: str) -> tuple[str, ...]:
        """Return who cannot go on without `name`, by the strategy."""
        members = self.members()
        if self.config.strategy == "one_for_one" or name not in members:
            return ()
        at = members.index(name)
        return members[at + 1:] if self.config.strategy == "rest_for_one" else members[:at] + members[at + 1:]
