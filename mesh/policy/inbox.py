"""The bounded inbox in front of a cell: so many at a time, so many waiting, the rest told at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator

from mesh.clock import Clock
from mesh.errors import Overloaded
from mesh.message import Handler, Items, Reply, Request
from mesh.metrics import Latency, Sample, gauge, histogram
from mesh.tracing import WAITED

BYTES = 16 * 1024 * 1024
RETRY_AFTER = 0.1

WAITING = gauge("mesh_inbox_waiting", "Calls that wait for their turn.", "service")
RUNNING = gauge("mesh_inbox_running", "Calls the cell works on.", "service")
HELD = gauge("mesh_inbox_bytes", "Arguments of the calls that run and wait.", "service")
WAIT = histogram("mesh_inbox_wait_seconds", "How long calls that had to wait waited for their turn.", "service")


class Inbox:
    """Requests that run and wait. Bodies over 16 MiB in all are refused too; a single larger one is let in alone.

    A stream has a place until it is open; as many as may wait may be open.
    While it is held, nothing more begins: what comes waits, until it is released.
    """

    def __init__(self, *, waiting: int, concurrency: int, clock: Clock | None = None) -> None:
        self.running = 0
        self.streams = 0
        self._clock = clock or Clock()
        self._waited: Latency | None = None
        self._most_waiting = waiting
        self._concurrency = concurrency
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._bytes = 0
        self._held = False

    def __len__(self) -> int:
        return len(self._waiting)

    def samples(self, service: str) -> Iterator[Sample]:
        """Yield the figures of a service's inbox."""
        yield WAITING.sample(len(self._waiting), service)
        yield RUNNING.sample(self.running, service)
        yield HELD.sample(self._bytes, service)
        if self._waited is not None:
            yield WAIT.spread(self._waited, service)

    def in_front_of(self, inner: Handler) -> Handler:
        """Return `inner` behind this inbox."""

        async def handle(request: Request) -> Reply:
            size = len(request.body)
            full = self._full(request, size)
            if full is not None:
                return Reply(error=full)
            self._bytes += size
            try:
                if self.running < self._concurrency and not self._waiting and not self._held:
                    self.running += 1
                else:
                    WAITED.set((request.trace.span_id, await self._wait_for_turn()))
                try:
                    reply = await inner(request)
                    if reply.items is not None:
                        self._opened(reply.items)
                    return reply
                finally:
                    self._release()
            finally:
                self._bytes -= size

        return handle

    def _opened(self, items: Items) -> None:
        """Count a stream until it ends; it is in nobody's way meanwhile."""
        self.streams += 1
        items.at_end(self._closed)

    def _closed(self, _: object) -> None:
        self.streams -= 1

    def _full(self, request: Request, size: int) -> Overloaded | None:
        if (self._held or self.running >= self._concurrency) and len(self._waiting) >= self._most_waiting:
            found = f"{len(self._waiting)} calls wait already"
        elif self._bytes and self._bytes + size > BYTES:
            found = f"{self._bytes >> 20} MiB of arguments wait already"
        elif request.credit and self.streams >= self._most_waiting:
            found = f"{self.streams} streams are open already"
        else:
            return None
        return Overloaded(f"{request.service} takes no more calls now: {found}; try again later",
                          retry_after=RETRY_AFTER)

    async def _wait_for_turn(self) -> float:
        """Return, when there is a place, after how many seconds; those who gave up meanwhile are counted too."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        began = self._clock.monotonic()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()  # the place was given just before the caller gave up
            else:
                with contextlib.suppress(ValueError):  # a place that came free just now has passed it over already
                    self._waiting.remove(turn)
            raise
        finally:
            waited = self._clock.monotonic() - began
            if self._waited is None:
                self._waited = Latency()
            self._waited.observe(waited)
        return waited

    def resize(self, *, waiting: int, concurrency: int) -> None:
        """Let so many wait and so many run from now on; who runs already runs on."""
        self._most_waiting, self._concurrency = waiting, concurrency
        self._fill()

    def hold(self) -> None:
        """Let nothing more begin."""
        self._held = True

    def release(self) -> None:
        """Let begin what waits, and what comes."""
        self._held = False
        self._fill()

    def _fill(self) -> None:
        while self.running < self._concurrency and self._waiting and not self._held:
            turn = self._waiting.popleft()
            if not turn.done():
                self.running += 1
                turn.set_result(None)

    def _release(self) -> None:
        """Hand the place to the one that waits longest, or free it."""
        while self._waiting and not self._held and self.running <= self._concurrency:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1
