"""How much later than promised something may be, because this machine let nobody run."""

from __future__ import annotations

import threading
import time
from types import TracebackType

STEP = 0.005


class Slack:
    """Measures, while its block runs, for how long a thread that wanted to run was kept waiting in all.

    A promise in seconds holds for a machine that has a core free: `took < 0.5 + slack.lost`.
    """

    def __init__(self) -> None:
        self.lost = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="slack", daemon=True)

    def __enter__(self) -> Slack:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
                 ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._over.wait(STEP):
            now = time.monotonic()
            late = now - before - STEP
            self.lost += late if late > STEP else 0.0  # less is what any timer is late by
            before = now
