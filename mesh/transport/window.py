"""How much of the big envelopes may be under way to one peer, by how long it takes the peer to acknowledge them.

Whatever is under way is what a small call waits behind, so the window holds what the connection carries in 2 ms, beyond
the time that the quickest part ever took: 256 KiB on a line of 1 Gbit/s, several MiB inside a machine. It begins with
256 KiB, grows only while it is used, and falls below that where the line is so slow that parts wait for 20 ms. Parts
are a quarter of it, 64 KiB at least: the larger, the fewer wake-ups a body costs at both ends. Times are passed in.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import NamedTuple

from mesh import wire

FIRST = 4 * wire.CHUNK
MOST = 4 * 1024 * 1024
PARTS = 4
QUICK = 0.002
SLOW = 0.020


class _Part(NamedTuple):
    """A part under way: where in which transfer it ends, its size, when it left, and if it made use of the room."""

    transfer: int
    end: int
    size: int
    left: float
    needed: bool


class Window:
    """The room for parts on one connection, in bytes."""

    def __init__(self) -> None:
        self.room = FIRST
        self._under_way = 0
        self._parts: deque[_Part] = deque()
        self._least = sys.float_info.max

    @property
    def part(self) -> int:
        """How many bytes the next part may have; 0 while there is no room for another."""
        size = max(wire.CHUNK, min(wire.MAX_PART, self.room // PARTS))
        return size if self._under_way + size <= self.room else 0

    def sent(self, transfer: int, end: int, size: int, now: float) -> None:
        """Note that a part has left, the bytes of a transfer up to `end`."""
        self._under_way += size
        self._parts.append(_Part(transfer, end, size, now, 2 * self._under_way > self.room))

    def acknowledge(self, transfer: int, received: int, now: float) -> None:
        """Note that the first `received` bytes of a transfer have arrived, and find the room for what comes next."""
        arrived = [part for part in self._parts if part.transfer == transfer and part.end <= received]
        if not arrived:
            return
        self._remove(arrived)
        delay = now - arrived[-1].left
        self._least = min(self._least, delay)
        waited, size = delay - self._least, sum(part.size for part in arrived)
        if waited > SLOW:
            self.room = max(wire.CHUNK, min(self.room, FIRST) - size)
        elif self.room < FIRST:
            self.room = min(FIRST, self.room + size)
        elif waited > QUICK:
            self.room = max(FIRST, self.room - size // 4)
        elif arrived[-1].needed:
            self.room = min(MOST, self.room + size // 4)

    def forget(self, transfer: int) -> None:
        """Expect no more acknowledgements of a transfer."""
        self._remove([part for part in self._parts if part.transfer == transfer])

    def _remove(self, parts: list[_Part]) -> None:
        self._under_way -= sum(part.size for part in parts)
        for part in parts:
            self._parts.remove(part)
