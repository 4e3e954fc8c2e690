"""The page of one process that Prometheus scrapes: `http://<address>:<metrics_port>/metrics`.

A thread of its own waits for scrapes, so a loop that stands still is seen and a slow reader holds up nobody. What
belongs to the loop is read on the loop; if that does not answer within a second the page shows what it said last, tells
the age of that, and what any thread may read is fresh all the same. The libraries for page and HTTP are imported when
the first scrape comes: a host that nobody scrapes starts faster and is smaller.

A port that cannot be had stops nothing: it is told once, shown in `mesh status`, and tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import selectors
import socket
import threading
from collections.abc import Callable

from mesh.address import endpoint
from mesh.clock import Clock, Timer
from mesh.errors import StartError
from mesh.metrics import BOTH, Metrics, Sample, gauge
from mesh.port import ensure_free, listening

PATIENCE = 1.0
RETRY = 10.0

AGE = gauge(
    "mesh_figures_age_seconds",
    "Age of what the loop has said; 0 unless it stands still, then what it said before is shown.", programs=BOTH,
)
SCRAPES = "/metrics"

log = logging.getLogger("mesh.exporter")


class Exporter:
    """Shows `metrics` at an address; to be made, started and stopped on the loop that they belong to.

    `who` and `setting` say in words whose page it is and which setting has its port; `trouble` is told, once, that the
    port cannot be had.
    """

    def __init__(
        self, metrics: Metrics, address: str, port: int, *, who: str, setting: str, clock: Clock,
        trouble: Callable[[str], None],
    ) -> None:
        self.reason: str | None = None
        self._metrics = metrics
        self._address = address
        self._port = port
        self._who = who
        self._setting = setting
        self._clock = clock
        self._trouble = trouble
        self._loop: asyncio.AbstractEventLoop | None = None
        self._retry: Timer | None = None
        self._door: socket.socket | None = None
        self._bell: socket.socket | None = None
        self._asking = threading.Lock()
        self._asked = False
        self._told = threading.Event()
        self._last: tuple[float, list[Sample]] = (clock.monotonic(), [])

    @property
    def endpoint(self) -> str | None:
        """The address of the page, None while there is none."""
        if self._door is None:
            return None
        return endpoint(self._address, self._door.getsockname()[1]).replace("tcp:", "http:", 1) + SCRAPES

    def row(self) -> dict[str, str | None]:
        """Return what `status` says of it: where it is, or why it is not."""
        return {"endpoint": self.endpoint, "reason": self.reason}

    def start(self) -> None:
        """Listen; if the port cannot be had, say so and try again every ten seconds."""
        self._loop = asyncio.get_running_loop()
        self._retry = None
        try:
            self._door = listening(self._address, self._port)
        except OSError as error:
            self._refused(error)
            return
        if self.reason is not None:
            log.info("the metrics page is at %s now", self.endpoint)
        self.reason = None
        self._bell, ear = socket.socketpair()
        threading.Thread(target=self._serve, args=(self._door, ear), name="metrics", daemon=True).start()

    def stop(self) -> None:
        """Close the page; a scrape that is being answered is not waited for."""
        if self._retry is not None:
            self._retry.cancel()
        if self._bell is not None:
            self._bell.close()  # the thread sees that, closes the door and ends
        self._retry = self._bell = self._door = None

    def _refused(self, error: OSError) -> None:
        self._retry = self._clock.call_later(RETRY, self.start)
        if self.reason is not None:
            return
        try:
            ensure_free(self._address, self._port, f"the metrics page of {self._who}", self._setting)
            self.reason = f"the metrics page of {self._who} cannot be opened: {error}"
        except StartError as told:
            self.reason = told.message
        self._trouble(f"{self.reason}; everything else goes on, it is tried again every {RETRY:g} s")

    # -- in the thread

    def _serve(self, door: socket.socket, ear: socket.socket) -> None:
        """Wait for scrapes until the bell's other end is closed."""
        with door, ear, selectors.DefaultSelector() as selector:
            selector.register(door, selectors.EVENT_READ)
            selector.register(ear, selectors.EVENT_READ)
            answering = None
            while all(key.fileobj is not ear for key, _ in selector.select()):
                if answering is None:
                    from mesh.scrape import Answering  # prometheus_client and http.server: 90 ms, 2 MB

                    answering = Answering(door, self.samples)
                answering.handle_request()

    def samples(self) -> list[Sample]:
        """Return a sample of everything, as fresh as it can be had; to be called in any thread but the loop's."""
        at, samples = self._of_the_loop()
        age = max(0.0, self._clock.monotonic() - at)
        return [*samples, *self._metrics.live(), AGE.sample(age if age > PATIENCE else 0.0)]

    def _of_the_loop(self) -> tuple[float, list[Sample]]:
        """Have the loop take its samples and return them, or what it took last if it does not come to it."""
        with self._asking:
            if not self._asked:  # a loop that stands still is asked once, however many scrapes come meanwhile
                assert self._loop is not None
                self._asked = True
                self._told.clear()
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    self._loop.call_soon_threadsafe(self._take)
        self._told.wait(PATIENCE)
        return self._last

    def _take(self) -> None:
        self._last = self._clock.monotonic(), self._metrics.taken()
        self._asked = False
        self._told.set()
