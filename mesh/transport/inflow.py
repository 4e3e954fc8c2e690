"""The reading end of streams: what has arrived and was not taken yet, and what the sender is told of it.

The timeout of the request bounds the opening, and after that each wait for an item; it does not count while the reader
is busy with the items it has. The sender is told what was taken after a quarter of the credit, not for every item; it
may use less of the credit than it has, so a reader that is about to wait tells it already after a few.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from mesh.errors import Cancelled, DeadlineExceeded, MeshError, ProtocolError
from mesh.message import Items, Reply, Request
from mesh.transport.deadlines import Deadlines
from mesh.transport.pending import Waiter
from mesh.wire import LEAST_SHARE, STREAM_BYTES


class Source(Protocol):
    """What brings the items of a stream: a connection, or the loopback."""

    def grant(self, number: int, taken: int) -> None:
        """Tell the sender how many items of a stream were taken in all."""

    def give_up(self, number: int) -> bool:
        """Tell the sender that nobody reads the stream any more."""


class Inflow(Items):
    """The items of one stream as they arrive; what arrived before an error is read before it is raised."""

    def __init__(
        self, number: int, request: Request, silence: float, inflows: Inflows, deadlines: Deadlines
    ) -> None:
        super().__init__()
        self._number = number
        self.target = request.target
        self._credit = request.credit
        self._silence = silence
        self._inflows = inflows
        self._deadlines = deadlines
        self._bodies: deque[bytes] = deque()
        self._early: dict[int, bytes] = {}
        self._arrived = 0
        self._told = 0
        self._limit = request.credit
        self._untold_bytes = 0
        self._renew = max(1, request.credit // 4)
        self._few = min(self._renew, LEAST_SHARE // 2)
        self._count: int | None = None
        self._error: MeshError | None = None
        self._done = False
        self._wake: asyncio.Future[None] | None = None

    # -- in

    def put(self, index: int, body: bytes) -> None:
        """Take an item; those behind a big one, which travels in parts, wait for it. Raises `ProtocolError`."""
        if index == self._arrived and not self._early:
            self._arrived += 1
            self._bodies.append(body)
            if index < self._limit and self._count is None:
                if self._wake is not None:
                    self._rouse()
                return
        elif index < self._arrived or index in self._early:
            raise ProtocolError(f"item {index} of a stream of {self.target} came twice")
        else:
            self._early[index] = body
            while self._arrived in self._early:
                self._bodies.append(self._early.pop(self._arrived))
                self._arrived += 1
        if index >= self._limit:
            error = ProtocolError(f"{self.target} sends more items than there is credit for")
            self.give_up(error)
            raise error
        if self._arrived == self._count:
            self._finish(self._error)
        elif self._wake is not None and self._bodies:
            self._rouse()

    def put_all(self, first: int, bodies: list[bytes]) -> None:
        """Take items that follow on each other, the first of which has that index. Raises `ProtocolError`."""
        after = first + len(bodies)
        if first == self._arrived and after <= self._limit and self._count is None and not self._early:
            self._arrived = after
            self._bodies.extend(bodies)
            if self._wake is not None:
                self._rouse()
            return
        for index, body in enumerate(bodies, first):
            self.put(index, body)

    def end(self, count: int, error: MeshError | None) -> None:
        """Take the end: `count` items in all, then `error` if there is one."""
        self._count = count
        self._error = error
        if self._arrived >= count:
            self._finish(error)

    def fail(self, error: MeshError) -> None:
        """End it now, because the peer is gone."""
        self._finish(error)

    def _finish(self, error: MeshError | None) -> None:
        self._inflows.pop(self._number, None)
        self._error = error
        self._done = True
        self._early.clear()
        self._rouse()
        self.ended(error)

    def _rouse(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)

    # -- out

    async def __anext__(self) -> bytes:
        """Return the next item; raises the error of the stream once all that came before it are read."""
        while not self._bodies:
            await self._more()
        body = self._bodies.popleft()
        self.taken += 1
        self._untold_bytes += len(body)
        if self._due:
            self._tell()
        return body

    async def some(self) -> list[bytes]:
        """Return all items that are there, at least one; none is the end."""
        while not self._bodies:
            try:
                await self._more()
            except StopAsyncIteration:
                return []
        bodies = list(self._bodies)
        self._bodies.clear()
        self.taken += len(bodies)
        self._untold_bytes += sum(map(len, bodies))
        if self._due:
            self._tell()
        return bodies

    @property
    def _due(self) -> bool:
        return self.taken - self._told >= self._renew or self._untold_bytes >= STREAM_BYTES // 4

    def _tell(self) -> None:
        if not self._done:
            self._told = self.taken
            self._limit = self.taken + self._credit
            self._untold_bytes = 0
            self._inflows.source.grant(self._number, self.taken)

    async def _more(self) -> None:
        """Wait for an item or the end; `StopAsyncIteration` is the end without an error."""
        if self._done:
            if self._error is not None:
                raise self._error
            raise StopAsyncIteration
        if self._wake is not None:
            raise RuntimeError("one task at a time reads a stream")
        if self.taken - self._told >= self._few:
            self._tell()
        clock = self._deadlines.clock
        self._wake = asyncio.get_running_loop().create_future()
        bucket = self._deadlines.add(clock.monotonic() + self._silence, self)
        try:
            await self._wake
        finally:
            self._wake = None
            self._deadlines.discard(bucket, self)

    def expire(self) -> None:
        """End it, because no item came in time."""
        if self._wake is not None and not self._bodies:
            self.give_up(DeadlineExceeded(f"{self.target} sent no item for {self._silence:.3g} s", began="yes"))

    def give_up(self, error: MeshError | None = None) -> None:
        """Have the sender told that nobody reads on; what has come and was not taken is forgotten."""
        if self._done:
            return
        self._bodies.clear()
        self._inflows.source.give_up(self._number)
        self._finish(error or Cancelled(f"the stream of {self.target} was closed by its reader"))

    async def aclose(self) -> None:
        """Have the sender told that nobody reads on."""
        self.give_up()

    def drop(self) -> None:
        """Have the sender told that nobody reads on."""
        self.give_up()


class Inflows(dict[int, Inflow]):
    """The streams that are read over one connection, by the number of their call."""

    def __init__(self, source: Source, deadlines: Deadlines | None) -> None:
        super().__init__()
        self.source = source
        self._deadlines = deadlines

    def open(self, waiter: Waiter, host: str) -> None:
        """Begin to read the stream that answers a call, and hand it to whoever waits."""
        assert self._deadlines is not None
        if waiter.future.done():  # cancelled in this very turn: it is about to give the call up
            return
        inflow = self[waiter.number] = Inflow(waiter.number, waiter.request, waiter.timeout, self, self._deadlines)
        waiter.finish(Reply(b"", None, host, inflow))

    def fail(self, why: Callable[[str], MeshError]) -> None:
        """End every one of them; `why` makes the error from the operation's name."""
        for inflow in list(self.values()):
            inflow.fail(why(inflow.target))
