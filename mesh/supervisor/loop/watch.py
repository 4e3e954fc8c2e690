"""A thread that looks at the event loop again and again and tells who held it: whose code, in which line, how long.

It goes on while the loop stands, for a loop that never turns again could not tell. A callback that holds the
interpreter as well stops this thread too: what `overran` noted at its end is then the evidence. A look at a loop that
waits costs a few microseconds, since an idle host shall cost nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from mesh.policy.measure import CallStats
from mesh.supervisor.loop.hold import LIMIT, Hold, Holds, Place, Reading, Step
from mesh.supervisor.loop.stand import Stands, moment, step_of
from mesh.supervisor.loop.usage import Rivals, Usage

log = logging.getLogger("mesh.watch")

LOOKS = 40
"""How many looks at the loop go by until the other threads are looked at again: ten seconds of an idle loop."""


class _Overrun(NamedTuple):
    stats: CallStats
    coroutine: Any
    started: float
    end: Reading


class Watch:
    """Watches the loop of the thread that makes it; `held` is called in the watching thread with each hold."""

    def __init__(self, stands: Stands, held: Callable[[Hold], None]) -> None:
        self.looks = 0
        self._stands = stands
        self._held = held
        self._holds = Holds()
        self._usage = Usage(threading.current_thread())
        self._stop = threading.Event()
        self._overruns: deque[_Overrun] = deque()
        self._thread = threading.Thread(target=self._run, name="loop-watch", daemon=True)
        self._rivals = Rivals((threading.current_thread(), self._thread))

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; what was noted until now is told first."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(1.0)
        if not self._thread.is_alive():
            self._usage.close()

    def overran(self, stats: CallStats, coroutine: Any, started: float) -> None:
        """Note a billed step that took long and has just ended; called in the watched thread."""
        self._overruns.append(_Overrun(stats, coroutine, started, Reading(time.monotonic(), *self._usage.read())))

    # -- in the thread

    def _run(self) -> None:
        own = Usage(threading.current_thread())
        at, queued, process = time.monotonic(), own.read().queued, time.process_time()
        over = False
        while not over:
            pace = self._holds.pace
            over = self._stop.wait(pace)
            before, at = at, time.monotonic()
            queued_before, queued = queued, own.read().queued
            process_before, process = process, time.process_time()
            missed = at - before - pace - (queued - queued_before) if own.tells_queue else 0.0
            try:
                for hold in self._look(at, process - process_before, max(0.0, missed)):
                    self._held(hold)
            except Exception:  # the watch goes on, whatever it could not make of what it saw
                log.exception("the loop's thread could not be looked at")
            self.looks += 1
        own.close()

    def _look(self, at: float, computed: float, missed: float) -> list[Hold]:
        """Look at the loop once; `computed` is what the whole process has since the last time, `missed` as there."""
        cpu, queued = self._usage.read()
        others = self._holds.others(computed, cpu)
        reading = Reading(at, cpu, queued, others, missed)
        seized = missed > LIMIT
        busiest = self._rivals.look() if seized or self.looks % LOOKS == 0 else None
        found: list[Hold] = []
        stand = self._stands.look()
        while self._overruns:
            found += self._ended(self._overruns.popleft(), reading)
        return found + self._holds.seen(reading, stand, self._rival(busiest) if seized else None)

    def _ended(self, overrun: _Overrun, reading: Reading) -> list[Hold]:
        place = self._stands.of_step(overrun.stats, overrun.coroutine)
        if place is None:
            return []
        step = step_of(overrun.stats, overrun.started)
        return self._holds.ended(Step(place, step, moment(overrun.started), overrun.end), reading)

    def _rival(self, thread: threading.Thread | None) -> Place | None:
        return None if thread is None or thread.ident is None else self._stands.rival(thread.ident, thread.name)
