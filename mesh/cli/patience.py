"""A line that says that a command still waits, for people at a terminal.

It appears after a second, counts, and goes with the first word of the answer.
"""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self

AFTER = 1.0
STEP = 0.5
CLEAR = "\r\x1b[2K"

_waiting: list[Patience] = []


class Patience:
    """Shows `what` and the seconds it has taken, of `limit` if there is one, while its block runs."""

    def __init__(self, what: str, limit: float | None) -> None:
        self._what = what
        self._limit = "" if limit is None else f" of {limit:g}"
        self._over = threading.Event()
        self._writing = threading.Lock()
        self._shown = False
        self._began = time.monotonic()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._thread = threading.Thread(target=self._show, name="patience", daemon=True)
            self._thread.start()
            _waiting.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
                 ) -> None:
        self.end()

    def end(self) -> None:
        """Take the line away for good."""
        with self._writing:
            self._over.set()
            if self._shown:
                self._shown = False
                print(CLEAR, end="", file=sys.stderr, flush=True)
        if self in _waiting:
            _waiting.remove(self)

    def _show(self) -> None:
        pause = AFTER
        while not self._over.wait(pause):
            with self._writing:
                if not self._over.is_set():
                    self._shown = True
                    seconds = int(time.monotonic() - self._began)
                    print(f"{CLEAR}{self._what}: {seconds}{self._limit} s, Ctrl-C ends it", end="", file=sys.stderr,
                          flush=True)
            pause = STEP


def spoken() -> None:
    """Take the line away, because there is something to print."""
    for patience in list(_waiting):
        patience.end()
