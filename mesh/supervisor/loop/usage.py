"""How much of a core the threads of this process have had, as the kernel tells: cheaply enough to ask all the time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

LINUX = os.path.isdir("/proc/self/task")


class Used(NamedTuple):
    """Seconds that a thread has computed, None where the platform does not tell, and that it has waited for a core."""

    cpu: float | None
    queued: float


class Usage:
    """One living thread, read from any."""

    def __init__(self, thread: threading.Thread) -> None:
        self._thread = thread
        self._file: BinaryIO | None = None
        with suppress(OSError):  # another platform, or a kernel without these figures
            path = Path(f"/proc/self/task/{thread.native_id}/schedstat")
            self._file = path.open("rb", buffering=0)  # read again and again until `close`

    def read(self) -> Used:
        """Return what it has used so far."""
        if self._file is None:
            return Used(cpu_seconds(self._thread), 0.0)
        computed, queued, _ = os.pread(self._file.fileno(), 64, 0).split()
        return Used(int(computed) / 1e9, int(queued) / 1e9)

    @property
    def tells_queue(self) -> bool:
        """Tell whether waiting for a core can be told from other waiting."""
        return self._file is not None

    def close(self) -> None:
        """Let go of what it is read from."""
        if self._file is not None:
            self._file.close()


class Rivals:
    """The other threads of Python: which of them has used most since they were last looked at."""

    def __init__(self, apart: Iterable[threading.Thread]) -> None:
        self._apart = tuple(apart)
        self._before: dict[int, float] = {}

    def look(self) -> threading.Thread | None:
        """Return the one that has used most since the last look, None if nobody has."""
        before, self._before = self._before, {}
        busiest, most = None, 0.0
        for thread in threading.enumerate():
            seconds = cpu_seconds(thread)
            if seconds is None or thread.native_id is None or thread in self._apart:
                continue
            self._before[thread.native_id] = seconds
            if seconds - before.get(thread.native_id, 0.0) > most:
                busiest, most = thread, seconds - before.get(thread.native_id, 0.0)
        return busiest


def cpu_seconds(thread: threading.Thread) -> float | None:
    """Return the CPU time a thread has used, None where the platform does not tell or the thread is no more.

    The kernel's clock of a thread is made from its id: unlike `time.pthread_getcpuclockid` that harms nothing when the
    thread has ended meanwhile.
    """
    if not LINUX or thread.native_id is None:
        return None
    try:
        return time.clock_gettime((~thread.native_id << 3) | 6)
    except OSError:
        return None
