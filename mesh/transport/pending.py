"""The calls this process waits for: each a future under a number, with a deadline and the carrier it left by."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Generator
from typing import Any, Protocol

from mesh.errors import DeadlineExceeded, MeshError
from mesh.message import Reply, Request
from mesh.transport.deadlines import Deadlines


class Carrier(Protocol):
    """What takes calls to a peer: a link, or the loopback."""

    waiters: dict[int, Waiter]

    def give_up(self, number: int) -> bool:
        """Withdraw a call, or have the peer cancel it; returns True if nothing of it had left."""


class Waiter:
    """One call that waits; it ends once, by the first of reply, error, deadline and cancellation.

    Awaited it gives the reply; if the waiting task is cancelled, so is the call.
    `timeout` is how many seconds it had; kept for streams only.
    """

    __slots__ = ("_bucket", "_carrier", "_deadlines", "future", "number", "request", "timeout")
    timeout: float

    def __init__(
        self, number: int, request: Request, carrier: Carrier, deadlines: Deadlines, future: asyncio.Future[Reply]
    ) -> None:
        self.number = number
        self.request = request
        self.future = future
        self._carrier = carrier
        self._deadlines = deadlines
        self._bucket = deadlines.add(request.deadline, self)
        carrier.waiters[number] = self

    def __await__(self) -> Generator[Any, Any, Reply]:
        try:
            return (yield from self.future)
        except asyncio.CancelledError:
            if self._carrier.waiters.pop(self.number, None) is not None:
                self._deadlines.discard(self._bucket, self)
                self._carrier.give_up(self.number)
            elif self.request.credit and not self.future.cancelled():
                items = self.future.result().items  # it was opened just before the caller gave up
                if items is not None:
                    yield from items.aclose().__await__()
            raise

    def finish(self, reply: Reply) -> None:
        """Hand the reply to whoever waits."""
        self._carrier.waiters.pop(self.number, None)
        self._deadlines.discard(self._bucket, self)
        if not self.future.done():
            self.future.set_result(reply)

    def fail(self, error: MeshError) -> None:
        """End the call with an error."""
        self.finish(Reply(error=error))

    def expire(self) -> None:
        """End the call because its deadline has passed, and have the callee told."""
        if self.future.done():
            return
        never_left = self._carrier.give_up(self.number)
        self.fail(DeadlineExceeded(
            f"{self.request.target} did not answer in time"
            + (": the call had not left this host yet" if never_left else ""),
            began="no" if never_left else "unknown",
        ))


class Pending:
    """Makes waiters; numbers are never used twice in a process."""

    def __init__(self, deadlines: Deadlines) -> None:
        self.deadlines = deadlines
        self._numbers = itertools.count(1)
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, request: Request, carrier: Carrier) -> Waiter:
        """Return a new waiter for `request`, known to `carrier` by its number."""
        if self._loop is None:  # kept, because to ask for it costs a system call before Python 3.12
            self._loop = asyncio.get_running_loop()
        waiter = Waiter(next(self._numbers), request, carrier, self.deadlines, self._loop.create_future())
        if request.credit:
            waiter.timeout = max(0.0, request.deadline - self.deadlines.clock.monotonic())
        return waiter

