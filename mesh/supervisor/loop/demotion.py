"""When an agent with `isolation: auto` loses its place on the host's loop, and where it goes.

Only decides: it is told of every hold and crash with the time, and answers once. It goes one way: from the loop to
a thread for one that waits, to a process for one that computes, keeps the interpreter, or crashes. Nothing here leads
back; a restart of the host, or the config, does.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from mesh.config import Rung
from mesh.supervisor.loop.hold import Hold, Kind

TIMES = 3
SECONDS = 5.0
WITHIN = 300.0
CRASHES = 3
CRASHED_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class Decision:
    """Move the agent to `isolation`; `reason` is for people."""

    isolation: Rung
    reason: str


class Demotion:
    """The record of one agent that runs on the rung `isolation`; times are seconds of one monotonic clock."""

    def __init__(self, isolation: Rung = "coroutine") -> None:
        self.isolation = isolation
        self._holds: deque[tuple[float, Hold]] = deque()
        self._crashes: deque[float] = deque()

    def held(self, hold: Hold, now: float) -> Decision | None:
        """Note that the agent held the loop, and return where it has to go now, None for nowhere."""
        if self.isolation == "process" or (self.isolation == "thread" and hold.kind is not Kind.SEIZING):
            return None  # the hold of a step that began before the agent moved
        self._holds.append((now, hold))
        while now - self._holds[0][0] > WITHIN:
            self._holds.popleft()
        seconds = sum(each.seconds for _, each in self._holds)
        if len(self._holds) < TIMES and seconds < SECONDS:
            return None
        waited = sum(each.seconds for _, each in self._holds if each.kind is Kind.WAITING)
        goal: Rung = "thread" if self.isolation == "coroutine" and waited > seconds / 2 else "process"
        return self._moved(goal, f"it held the event loop {_times(len(self._holds))} within {WITHIN:g} s, "
                                 f"{seconds:.1f} s in all, last {hold.kind} in {hold.place}")

    def crashed(self, now: float) -> Decision | None:
        """Note that the agent crashed while it ran, and return where it has to go now, None for nowhere.

        That is before its restart budget is spent, so that it gets another chance where it harms nobody.
        """
        if self.isolation == "process":
            return None
        self._crashes.append(now)
        while now - self._crashes[0] > CRASHED_WITHIN:
            self._crashes.popleft()
        if len(self._crashes) < CRASHES:
            return None
        return self._moved("process", f"it crashed {_times(len(self._crashes))} within {CRASHED_WITHIN:g} s")

    def _moved(self, isolation: Rung, reason: str) -> Decision:
        self.isolation = isolation
        self._holds.clear()
        self._crashes.clear()
        return Decision(isolation, reason)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
