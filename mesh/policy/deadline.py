"""Run nothing whose caller has given up: refuse what comes too late, cancel what takes too long."""

from __future__ import annotations

import asyncio

from mesh.clock import Clock
from mesh.errors import DeadlineExceeded
from mesh.message import Handler, Reply, Request
from mesh.transport.deadlines import Deadlines


class _Limit:
    """Cancels a task at its deadline."""

    __slots__ = ("passed", "task")

    def __init__(self, task: asyncio.Task[object]) -> None:
        self.task = task
        self.passed = False

    def expire(self) -> None:
        """Cancel the task."""
        self.passed = True
        self.task.cancel()


def deadline(deadlines: Deadlines, clock: Clock, inner: Handler) -> Handler:
    """Return `inner` bound by each request's deadline; it must run in a task of its own."""

    async def handle(request: Request) -> Reply:
        if request.deadline <= clock.monotonic():
            return Reply(error=DeadlineExceeded(
                f"{request.target} was not begun: its deadline had passed when its turn came", began="no"
            ))
        task = asyncio.current_task()
        assert task is not None
        limit = _Limit(task)
        bucket = deadlines.add(request.deadline, limit)
        try:
            return await inner(request)
        except asyncio.CancelledError:
            if not limit.passed:
                raise
            task.uncancel()
            return Reply(error=DeadlineExceeded(f"{request.target} was stopped at its deadline", began="yes"))
        finally:
            deadlines.discard(bucket, limit)

    return handle
