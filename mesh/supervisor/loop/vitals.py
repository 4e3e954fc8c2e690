"""How the process is: its loop's last turn and lag, its memory, its contexts and sockets."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from mesh.clock import Clock, Timer
from mesh.metrics import Sample, gauge
from mesh.supervisor.loop.doubt import LONG, Stood

TICK = 0.25
FADES = 0.25

LAG = gauge("mesh_loop_lag_seconds", "How late the event loop's timers run; falls slowly after each peak.")
STILL = gauge("mesh_loop_still_seconds", f"How long the event loop has stood still, over its tick of {TICK:g} s.")
THREADS = gauge("mesh_threads", "Threads of Python in this process.")
CONTEXTS = gauge("mesh_zmq_contexts", "ZeroMQ contexts of this process.")


class Pulse:
    """A timer that shows whether the loop turns; `turned` may be read from any thread.

    `still` is told when the loop turns again after more than two seconds, and how many they were.
    """

    def __init__(self, clock: Clock, still: Callable[[float], object] = lambda seconds: None) -> None:
        self.turned = clock.monotonic()
        self.lag = 0.0
        self._still = still
        self._stood = (self.turned, 0.0)
        self._clock = clock
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begin to tick."""
        self.turned = self._clock.monotonic()
        self._timer = self._clock.call_later(TICK, self._tick)

    def stop(self) -> None:
        """Stop ticking."""
        if self._timer is not None:
            self._timer.cancel()

    def stood(self) -> Stood:
        """Return until when the loop last stood still for long, and for how many seconds; now, if it does still."""
        now = self._clock.monotonic()
        late = now - self.turned - TICK
        return (now, late) if late > LONG else self._stood

    def samples(self) -> Iterator[Sample]:
        """Yield how the loop turns; may be called in any thread."""
        yield LAG.sample(self.lag)
        yield STILL.sample(max(0.0, self._clock.monotonic() - self.turned - TICK))

    def _tick(self) -> None:
        now = self._clock.monotonic()
        late = max(0.0, now - self.turned - TICK)
        self.lag = late if late > self.lag else self.lag * (1 - FADES) + late * FADES
        self.turned = now
        if late > LONG:
            self._stood = now, late
            self._still(late)
        self._timer = self._clock.call_later(TICK, self._tick)


def process_samples() -> Iterator[Sample]:
    """Yield what the process itself holds; may be called in any thread."""
    yield THREADS.sample(threading.active_count())
    count = contexts()
    if count is not None:
        yield CONTEXTS.sample(count)


def rss_mb() -> float:
    """Return the resident memory of this process in MiB."""
    return round(psutil.Process().memory_info().rss / 2**20, 1)


def contexts() -> int | None:
    """Return how many ZeroMQ contexts this process has: each has one reaper thread. None where that cannot be seen."""
    if sys.platform != "linux":
        return None
    names = (task / "comm" for task in Path("/proc/self/task").iterdir())
    return sum(1 for name in names if _read(name).startswith("ZMQbg/Reaper"))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the thread ended meanwhile
        return ""
