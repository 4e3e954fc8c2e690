"""A thread that looks at the event loop ten times a second and tells who held it: whose code, in which line, how long.

It goes on while the loop stands, for a loop that never turns again could not tell. A callback that holds the
interpreter as well stops this thread too: what `overran` noted at its end is then the evidence.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from mesh.policy.measure import CallStats
from mesh.supervisor.hold import LIMIT, SAMPLE, Hold, Holds, Place, Reading, Step
from mesh.supervisor.stand import Stands, moment, step_of

log = logging.getLogger("mesh.watch")

LINUX = os.path.isdir("/proc/self/task")


class _Overrun(NamedTuple):
    stats: CallStats
    coroutine: Any
    started: float
    end: Reading


class Watch:
    """Watches the loop of the thread that makes it; `held` is called in the watching thread with each hold."""

    def __init__(self, stands: Stands, held: Callable[[Hold], None]) -> None:
        self._stands = stands
        self._held = held
        self._holds = Holds()
        self._watched = threading.current_thread()
        self._stop = threading.Event()
        self._overruns: deque[_Overrun] = deque()
        self._threads: dict[int, float] = {}
        self._queue = _queue_of(self._watched)
        self._own_queue: BinaryIO | None = None
        self._before: tuple[float, float] | None = None
        self._thread = threading.Thread(target=self._run, name="loop-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; what was noted until now is told first."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(1.0)
        for queue in (self._queue, self._own_queue):
            if queue is not None and not self._thread.is_alive():
                queue.close()

    def overran(self, stats: CallStats, coroutine: Any, started: float) -> None:
        """Note a billed step that took long and has just ended; called in the watched thread."""
        self._overruns.append(_Overrun(stats, coroutine, started, self._read()))

    # -- in the thread

    def _run(self) -> None:
        self._own_queue = _queue_of(threading.current_thread())
        while not self._stop.wait(SAMPLE):
            self._turn()
        self._turn()

    def _turn(self) -> None:
        try:
            for hold in self._sample():
                self._held(hold)
        except Exception:  # the watch goes on, whatever it could not make of what it saw
            log.exception("the loop's thread could not be looked at")

    def _sample(self) -> list[Hold]:
        found: list[Hold] = []
        busiest, used = self._other_threads()
        reading = self._read(used, self._missed())
        stand = self._stands.look()
        while self._overruns:
            found += self._ended(self._overruns.popleft(), reading)
        return found + self._holds.seen(reading, stand, self._rival(busiest) if reading.missed > LIMIT else None)

    def _ended(self, overrun: _Overrun, reading: Reading) -> list[Hold]:
        place = self._stands.of_step(overrun.stats, overrun.coroutine)
        if place is None:
            return []
        step = step_of(overrun.stats, overrun.started)
        return self._holds.ended(Step(place, step, moment(overrun.started), overrun.end), reading)

    def _rival(self, thread: threading.Thread | None) -> Place | None:
        return None if thread is None or thread.ident is None else self._stands.rival(thread.ident, thread.name)

    def _read(self, others: float = 0.0, missed: float = 0.0) -> Reading:
        return Reading(time.monotonic(), _cpu_seconds(self._watched), _queued(self._queue), others, missed)

    def _missed(self) -> float:
        """Return how long this thread was kept from running, not counting that it waited for a core."""
        if self._own_queue is None:
            return 0.0
        now, queued = time.monotonic(), _queued(self._own_queue)
        before, self._before = self._before, (now, queued)
        return 0.0 if before is None else max(0.0, now - before[0] - SAMPLE - (queued - before[1]))

    def _other_threads(self) -> tuple[threading.Thread | None, float]:
        """Return the thread beside loop and watch that computed most since the last time, and how many seconds."""
        busiest, most = None, 0.0
        before, self._threads = self._threads, {}
        for thread in threading.enumerate():
            seconds = None if thread in (self._watched, self._thread) else _cpu_seconds(thread)
            if seconds is None or thread.native_id is None:
                continue
            self._threads[thread.native_id] = seconds
            used = seconds - before.get(thread.native_id, 0.0)
            if used > most:
                busiest, most = thread, used
        return busiest, most


def _cpu_seconds(thread: threading.Thread) -> float | None:
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


def _queue_of(thread: threading.Thread) -> BinaryIO | None:
    """Return the file that tells how long a thread has waited for a core, None where there is none."""
    try:
        return open(f"/proc/self/task/{thread.native_id}/schedstat", "rb", buffering=0)
    except OSError:
        return None


def _queued(queue: BinaryIO | None) -> float:
    return 0.0 if queue is None else int(os.pread(queue.fileno(), 64, 0).split()[1]) / 1e9
