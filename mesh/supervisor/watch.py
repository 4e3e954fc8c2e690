"""A thread that sees when the event loop stands still and says which agent's line holds it.

It speaks while the loop is still blocked, to the launcher and the log, for a loop that never turns again could not; the
error bus hears of it when the loop turns again. A function is named once per host and start.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from types import FrameType

from mesh.clock import Clock
from mesh.supervisor.vitals import Pulse

LIMIT = 0.5
SAMPLE = 0.1
SAMPLES = 3

Place = tuple[str, str, str, int]
"""Service, function, file and line."""


class Watch:
    """Watches the loop of the thread that makes it; `files` tells whose a source file is, `held` is told of a place.

    `held` is called in the watching thread with the place and how long the loop has stood still.
    """

    def __init__(
        self, pulse: Pulse, clock: Clock, files: Callable[[], Mapping[str, str]],
        held: Callable[[Place, float], None],
    ) -> None:
        self._pulse = pulse
        self._clock = clock
        self._files = files
        self._held = held
        self._watched = threading.get_ident()
        self._stop = threading.Event()
        self._told: set[tuple[str, str, str]] = set()
        self._thread = threading.Thread(target=self._run, name="loop-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        same, last = 0, None
        while not self._stop.wait(SAMPLE):
            stood = self._clock.monotonic() - self._pulse.turned
            place = self._place() if stood > LIMIT else None
            where = place[:3] if place is not None else None  # a function that works goes from line to line
            same = same + 1 if where is not None and where == last else 1
            last = where
            if place is not None and same >= SAMPLES and place[:3] not in self._told:
                self._told.add(place[:3])
                self._held(place, stood)

    def _place(self) -> Place | None:
        """Return the innermost line of an agent that the loop's thread is in."""
        files = self._files()
        frame: FrameType | None = sys._current_frames().get(self._watched)
        while frame is not None:
            service = files.get(frame.f_code.co_filename)
            if service is not None:
                return service, frame.f_code.co_name, frame.f_code.co_filename, frame.f_lineno
            frame = frame.f_back
        return None
