"""Run nothing whose caller has given up: refuse what comes too late, cancel what takes too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mesh.clock import Clock
from mesh.errors import DeadlineExceeded, MeshError
from mesh.message import Items, Reply, Request
from mesh.transport.deadlines import Deadlines


class Limit:
    """One running request: cancels its task at the deadline."""

    __slots__ = ("bucket", "end", "passed", "stream", "task")

    def __init__(self, task: asyncio.Task[object]) -> None:
        self.task = task
        self.stream: tuple[Request, Items] | None = None
        self.passed = False
        self.bucket = 0
        self.end: Callable[[Request], MeshError] | None = None

    def expire(self) -> None:
        """Cancel the task."""
        self.passed = True
        self.task.cancel()


Batch = frozenset[Limit]
"""The requests that ran at one moment."""


class DeadlineGuard:
    """The requests that run behind it, each in a task of its own that its deadline ends; of a stream, its opening."""

    def __init__(self, deadlines: Deadlines, clock: Clock) -> None:
        self._deadlines = deadlines
        self._clock = clock
        self._running: set[Limit] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._running)

    def bounds(self, task: asyncio.Task[object]) -> bool:
        """Tell whether `task` runs one of the requests."""
        return any(limit.task is task for limit in self._running)

    def running(self) -> Batch:
        """Return the requests that run now."""
        return frozenset(self._running)

    def left_of(self, batch: Batch) -> int:
        """Return how many of a batch still run."""
        return len(batch & self._running)

    def cancel_all(self, end: Callable[[Request], MeshError] | None = None, among: Batch | None = None) -> None:
        """Cancel every running request, or those `among` a batch, but the one that asks for it.

        `end` makes the error each is answered with.
        """
        own = asyncio.current_task()
        for limit in self.running() if among is None else self.running() & among:
            if limit.task is not own:
                limit.end = end
                if limit.stream is not None and end is not None:
                    request, items = limit.stream
                    items.verdict = end(request)
                limit.task.cancel()

    def begin(self, request: Request) -> Limit:
        """Have the running task, which answers a request, cancelled at its deadline; `end` follows in any case."""
        limit = Limit(self._task())
        self._running.add(limit)
        limit.bucket = self._deadlines.add(request.deadline, limit)
        return limit

    def verdict(self, limit: Limit, request: Request) -> MeshError | None:
        """Return the error of a request whose task was cancelled from here, None if somebody else has done that."""
        if limit.end is None and not limit.passed:
            return None
        limit.task.uncancel()
        if limit.end is not None:
            return limit.end(request)
        return DeadlineExceeded(f"{request.target} was stopped at its deadline", began="yes")

    def end(self, limit: Limit, request: Request, reply: Reply | None) -> None:
        """Let go of a request that has ended; a stream's counts until its last item."""
        self._deadlines.discard(limit.bucket, limit)
        if reply is None or reply.items is None:
            self._running.discard(limit)
        else:  # its task goes on to send them
            limit.stream = request, reply.items
            reply.items.at_end(lambda _: self._running.discard(limit))

    def too_late(self, request: Request) -> DeadlineExceeded:
        """Return the error of a request whose turn came after its deadline."""
        return DeadlineExceeded(f"{request.target} was not begun: its deadline had passed when its turn came",
                                began="no")

    def _task(self) -> asyncio.Task[object]:
        if self._loop is None:  # kept, because to ask for it costs a system call before Python 3.12
            self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(self._loop)
        assert task is not None
        return task
