"""What a cell's process prints: kept in a file that rotates, at a bounded rate; the rest is counted and said.

An agent that prints without end must fill neither the disk nor the pipe nor the loop of its host. What exceeds the rate
is dropped from the file; what exceeds what the host is willing to read stays in the pipe and holds up the printer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import IO

from mesh.clock import Clock

RATE = 64 * 1024
BURST = 256 * 1024
MAX_BYTES = 1_000_000
TAIL = 2_000
TELL_SECONDS = 10.0

log = logging.getLogger("mesh.supervisor.output")


class Output:
    """The file of one process; `dropped` is told how many bytes were left out, at most once in 10 s."""

    def __init__(self, path: Path, clock: Clock, dropped: Callable[[int], None]) -> None:
        self.path = path
        self._clock = clock
        self._told = dropped
        self._file: IO[bytes] | None = None
        self._size = 0
        self._tail = b""
        self._budget = float(BURST)
        self._at = clock.monotonic()
        self._dropped = 0
        self._told_at = -TELL_SECONDS
        self._complained = False

    @property
    def tail(self) -> str:
        """The last 2,000 bytes it printed, kept or not."""
        return self._tail.decode(errors="replace").strip()

    def take(self, data: bytes) -> None:
        """Keep what the rate allows."""
        self._tail = (self._tail + data)[-TAIL:]
        now = self._clock.monotonic()
        self._budget = min(BURST, self._budget + (now - self._at) * RATE)
        self._at = now
        kept = data[: int(self._budget)]
        self._budget -= len(kept)
        self._dropped += len(data) - len(kept)
        self._write(kept)
        self._tell(now)

    def note(self, text: str) -> None:
        """Write a line of the host's own, whatever the rate."""
        self._write(f"\n[mesh] {text}\n".encode(errors="replace"))

    def close(self) -> None:
        """Say what was left out and close the file."""
        self._tell(self._at + 2 * TELL_SECONDS)
        if self._file is not None:
            self._file.close()
            self._file = None

    def _tell(self, now: float) -> None:
        if self._dropped and now - self._told_at >= TELL_SECONDS:
            dropped, self._dropped, self._told_at = self._dropped, 0, now
            self.note(f"{dropped} bytes left out here: it prints more than {RATE // 1024} KiB a second")
            self._told(dropped)

    def _write(self, data: bytes) -> None:
        if not data:
            return
        try:
            file = self._opened()
            file.write(data)
            self._size += len(data)
        except OSError as error:
            if not self._complained:
                self._complained = True
                log.warning("%s cannot be written: %s", self.path, error)

    def _opened(self) -> IO[bytes]:
        if self._file is not None and self._size >= MAX_BYTES:
            self._file.close()
            self._file = None
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
            self._size = self._file.tell()
        return self._file
