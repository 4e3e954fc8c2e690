"""The sending end of streams: how many items of each may leave, and when the next few are made.

Three things hold a stream back. Its *credit*: so many items, and no more than 1 MiB of them, may be on their way that
the reader has not taken; one item is always allowed. Its *share* of what all streams of one connection may have on
their way, for an answer to a call waits behind all of it. And the *pace* of all together: a few items of one of them in
each turn of the loop, none while too much waits to leave.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from mesh.clock import Clock
from mesh.errors import ProtocolError
from mesh.wire import LEAST_SHARE, STREAM_BYTES

BURST = 256
TOGETHER = 64
TOGETHER_BYTES = 8 * 1024
LEAST_BURST = 32
ITEMS = 1024
CROWDED_SECONDS = 0.01


class Share:
    """What each stream of one connection may do: have `items` on its way, and make `burst` of them at a time."""

    def __init__(self) -> None:
        self._streams = 0
        self._divide(0)

    def joined(self) -> None:
        """Divide by one more."""
        self._divide(self._streams + 1)

    def left(self) -> None:
        """Divide by one less."""
        self._divide(self._streams - 1)

    def _divide(self, streams: int) -> None:
        self._streams = streams
        self.items = max(LEAST_SHARE, ITEMS // max(1, streams))
        self.burst = max(LEAST_BURST, BURST // max(1, streams))


class Outflow:
    """What one stream has sent and its reader has taken.

    `send` is given the index of the first and the bodies of items that leave together: those of one turn of the loop,
    64 of them or 8 KiB at most, or one that is bigger.
    """

    __slots__ = ("_bytes", "_credit", "_due", "_made", "_made_bytes", "_send", "_share", "_sizes", "_wake", "sent",
                 "taken")

    def __init__(self, credit: int, share: Share, send: Callable[[int, list[bytes]], None]) -> None:
        self.sent = 0
        self._send = send
        self._made: list[bytes] = []
        self._made_bytes = 0
        self._due = False
        self.taken = 0
        self._credit = credit
        self._share = share
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self._wake: asyncio.Future[None] | None = None

    @property
    def open(self) -> bool:
        """Tell whether the next item may leave."""
        return self.room > 0

    @property
    def room(self) -> int:
        """How many items may leave; fewer if they are big."""
        under_way = self.sent - self.taken
        if under_way and self._bytes + self._made_bytes >= STREAM_BYTES:
            return 0
        return min(self._credit, self._share.items) - under_way

    def put(self, body: bytes) -> bool:
        """Have an item leave, at the end of this turn of the loop; tell whether its bytes leave room for more."""
        made = self._made
        size = self._made_bytes + len(body)
        if size > TOGETHER_BYTES or len(made) == TOGETHER:
            self.leave()
            made, size = self._made, len(body)
        made.append(body)
        self._made_bytes = size
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._turned)
        self.sent += 1
        return self._bytes + size < STREAM_BYTES

    def _turned(self) -> None:
        self._due = False
        self.leave()

    def leave(self) -> None:
        """Have those that were made leave now."""
        made, self._made = self._made, []
        if made:
            self._sizes.extend(map(len, made))
            self._bytes += self._made_bytes
            self._made_bytes = 0
            self._send(self.sent - len(made), made)

    def drop(self) -> None:
        """Forget those that were made and have not left: there is nobody to take them."""
        self._made, self._made_bytes = [], 0

    def grant(self, taken: int) -> None:
        """Note how many items the reader has taken in all; raises `ProtocolError` for more than were sent."""
        left = self.sent - len(self._made)
        if not self.taken <= taken <= left:
            raise ProtocolError(f"a reader has taken {taken} items of {left}, and said {self.taken} before")
        for _ in range(taken - self.taken):
            self._bytes -= self._sizes.popleft()
        self.taken = taken
        if self._wake is not None and not self._wake.done() and self.open:
            self._wake.set_result(None)

    async def opening(self) -> None:
        """Wait until the next item may leave."""
        while not self.open:
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake


class Pace:
    """Lets one stream at a time go on, once in a turn of the loop, while `crowded` says no."""

    def __init__(self, clock: Clock, crowded: Callable[[], bool]) -> None:
        self._clock = clock
        self._crowded = crowded
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._due = False

    async def turn(self) -> None:
        """Wait for one's turn."""
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[None] = loop.create_future()
        self._waiting.append(mine)
        if not self._due:
            self._due = True
            loop.call_soon(self._next)
        await mine

    def _next(self) -> None:
        self._due = False
        if self._waiting and self._crowded():
            self._due = True
            self._clock.call_later(CROWDED_SECONDS, self._next)
            return
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():  # else its stream was cancelled
                first.set_result(None)
                break
        if self._waiting:
            self._due = True
            asyncio.get_running_loop().call_soon(self._next)
