"""One call for all who ask the same at the same time: one leads, the others wait for what it gets.

Each waits no longer than its own deadline. A leader that was cancelled, or whose own time was over, says nothing about
the question: those who still have time ask again, and the first of them leads.
"""

from __future__ import annotations

import asyncio

from mesh import wire
from mesh.errors import Cancelled, DeadlineExceeded
from mesh.message import Reply, Request
from mesh.transport.deadlines import Deadlines

OWN_TROUBLE = frozenset({Cancelled.code, DeadlineExceeded.code})


class _Waiter:
    """One who waits."""

    __slots__ = ("future", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.future: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()

    def expire(self) -> None:
        """Be told that the deadline has passed."""
        self.land(Reply(error=DeadlineExceeded(
            f"{self.request.target} did not answer in time; another caller had asked the same already", began="unknown"
        )))

    def land(self, reply: Reply | None) -> None:
        """Be given the answer, or None to ask again."""
        if not self.future.done():
            self.future.set_result(reply)


class Flight:
    """A question that is being asked since `began` (monotonic seconds); `spoiled` once its answer would not hold."""

    __slots__ = ("_waiters", "began", "spoiled")

    def __init__(self, began: float) -> None:
        self.began = began
        self.spoiled = False
        self._waiters: list[_Waiter] = []

    async def join(self, request: Request, deadlines: Deadlines) -> Reply | None:
        """Return the leader's answer; None if it got none, and one's own time is not over."""
        waiter = _Waiter(request)
        self._waiters.append(waiter)
        bucket = deadlines.add(request.deadline, waiter)
        try:
            return await waiter.future
        finally:
            deadlines.discard(bucket, waiter)

    def land(self, reply: Reply | None) -> None:
        """Give the answer to all who wait; those with the most time left are woken first."""
        if not self._waiters:
            return
        error = None if reply is None else reply.error
        if error is not None and error.code in OWN_TROUBLE:
            reply = None
        for waiter in sorted(self._waiters, key=lambda one: -one.request.deadline):
            waiter.land(Reply(error=wire.rebuilt(error)) if reply is not None and error is not None else reply)
