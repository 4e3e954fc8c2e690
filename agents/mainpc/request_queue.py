"""Whose turn it is: a bounded heap of waiting requests and a number of turns that run at once.

A request waits and runs in its caller's own task, so a caller that gives up leaves the heap by itself and everything
that belongs to the call (deadline, trace) stays with it. Knows nothing of agents or of what a turn does.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from mesh import Cancelled, Overloaded

BASE = {"audio": 1, "text": 2, "vision": 3, "background": 5}
USER = {"admin": -2, "premium": -1, "standard": 0, "guest": 1}
URGENCY = {"critical": -3, "high": -1, "normal": 0, "low": 1}
_FULL_SHARE = 0.8


class Handle(Protocol):
    """What `later` returns."""

    def cancel(self) -> None:
        """Forget the callback."""


@dataclass(order=True, slots=True)
class Ticket:
    """A waiting request; lower priorities go first, equal ones in order of arrival."""

    priority: int
    arrival: int
    task_id: str = field(compare=False)
    task_type: str = field(compare=False)
    turn: asyncio.Future[None] = field(compare=False)


def priority_of(task_type: str, *, user_type: str | None, urgency: str, filled: float) -> int:
    """Return 1 (first) to 10 (last).

    `user_type` is None for a request without a user; `filled` is the share of the queue that is taken (0 to 1).
    """
    score = BASE[task_type] + URGENCY[urgency] + (USER[user_type] if user_type is not None else 0)
    return min(10, max(1, score + (1 if filled > _FULL_SHARE else 0)))


class RequestQueue:
    """At most `size` requests wait, at most `turns` run; `later(delay, callback)` calls back after some seconds."""

    def __init__(self, size: int, turns: int, later: Callable[[float, Callable[[], object]], Handle]) -> None:
        self._size = size
        self._free = turns
        self._later = later
        self._heap: list[Ticket] = []
        self._arrivals = itertools.count(1)
        self._pause: Handle | None = None

    def waiting(self) -> list[Ticket]:
        """Return who waits, first in line first."""
        return sorted(self._heap)

    @asynccontextmanager
    async def turn(self, task_type: str, *, user_type: str | None, urgency: str) -> AsyncIterator[str]:
        """Wait for a turn and hold it; yields the id of the task.

        Raises `Overloaded` when the queue is full and `Cancelled` when it was emptied meanwhile.
        """
        ticket = self._admit(task_type, user_type, urgency)
        try:
            self._advance()
            await ticket.turn
            yield ticket.task_id
        finally:
            self._leave(ticket)

    def interrupt(self, pause_s: float) -> int:
        """Empty the queue, let nothing begin for `pause_s` seconds, and return how many were dropped."""
        dropped, self._heap = self._heap, []
        for ticket in dropped:
            if not ticket.turn.done():
                ticket.turn.set_exception(Cancelled("the request was dropped before it began: the user interrupted"))
        if self._pause is not None:
            self._pause.cancel()
        self._pause = self._later(pause_s, self._resume)
        return len(dropped)

    def close(self) -> None:
        """Drop who waits, for good."""
        self.interrupt(0.0)
        if self._pause is not None:
            self._pause.cancel()

    def _admit(self, task_type: str, user_type: str | None, urgency: str) -> Ticket:
        if len(self._heap) >= self._size:
            raise Overloaded(f"{self._size} requests wait already; try again in a second", retry_after=1.0)
        priority = priority_of(task_type, user_type=user_type, urgency=urgency, filled=len(self._heap) / self._size)
        arrival = next(self._arrivals)
        ticket = Ticket(priority, arrival, f"task-{arrival}", task_type, asyncio.get_running_loop().create_future())
        heapq.heappush(self._heap, ticket)
        return ticket

    def _advance(self) -> None:
        while self._pause is None and self._free and self._heap:
            ticket = heapq.heappop(self._heap)
            if not ticket.turn.done():
                self._free -= 1
                ticket.turn.set_result(None)

    def _leave(self, ticket: Ticket) -> None:
        if ticket.turn.done() and not ticket.turn.cancelled() and ticket.turn.exception() is None:
            self._free += 1
        elif ticket in self._heap:
            self._heap.remove(ticket)
            heapq.heapify(self._heap)
        self._advance()

    def _resume(self) -> None:
        self._pause = None
        self._advance()
