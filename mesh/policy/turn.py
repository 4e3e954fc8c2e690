"""How much may begin in one turn of the event loop, so that what arrives meanwhile is looked at, and answered, soon.

A coroutine that computes holds the loop until it is done. If whatever has arrived were begun at once, a turn would
last as long as all of it, and the next caller would learn only then that there is no place. So a turn begins calls for
2 ms; who comes later waits in his inbox for the next turn, behind whatever has arrived by then. One turn that lasted
long, whatever held it, is followed by one that begins little.

The inboxes of a host share its loop, so they share one `Turn`; they begin in rotation.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import Protocol

from mesh.clock import Clock

SECONDS = 0.002
LATE = 0.1


class Line(Protocol):
    """Calls that wait for a turn."""

    def begin_one(self) -> bool:
        """Let the next of them begin; returns False if there was none, or no place for it."""


class Turn:
    """The turn of the loop that runs now. A turn that took longer than `late` seconds is followed by a short one."""

    def __init__(self, clock: Clock, *, late: float = LATE) -> None:
        self.late = late
        self._clock = clock
        self._lines: deque[Line] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._began = 0.0
        self._runs = False
        self._begun = 0

    def has_time(self) -> bool:
        """Take time for one call that begins now; returns False when this turn has none left."""
        now = self._clock.monotonic()
        if not self._runs:
            self._start(now)
        elif now - self._began >= SECONDS:
            return False
        self._begun += 1
        return True

    @property
    def crowded(self) -> bool:
        """Tell whether anybody waits for a turn, so that none may hand his place on past the others."""
        return bool(self._lines)

    def wait(self, line: Line) -> None:
        """Have the next turns begin what waits in a line, until it has nothing to begin."""
        if line not in self._lines:
            self._lines.append(line)
        if not self._runs:
            self._start(self._clock.monotonic())

    def _start(self, now: float) -> None:
        if self._loop is None:  # kept, because to ask for it costs a system call before Python 3.12
            self._loop = asyncio.get_running_loop()
        self._runs = True
        self._began = now
        self._loop.call_soon(self._over)

    def _over(self) -> None:
        """Begin a turn with what waits for one."""
        now = self._clock.monotonic()
        lasted = now - self._began
        self._runs = False
        if not self._lines:
            self._begun = 0
            return
        most = 1 if lasted > self.late else _fitting(lasted, self._begun)
        begun = 0
        while self._lines and begun < most:
            line = self._lines.popleft()
            if line.begin_one():
                begun += 1
                self._lines.append(line)
        self._begun = begun
        self._start(now)


def _fitting(lasted: float, begun: int) -> int:
    """Return how many calls fit into a turn if they take as long as those of the last one."""
    return max(1, int(SECONDS * max(1, begun) / lasted)) if lasted else sys.maxsize
