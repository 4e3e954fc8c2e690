"""What agents print: their lines go into the log, under the service and operation that printed them.

Only what goes through Python's `sys.stdout` and `sys.stderr` is seen here; what a C library writes, or a dying
interpreter, goes to the file the process was started with, which is kept small (`Overflow`).
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from mesh.clock import Clock
from mesh.logs import Context

SHARE = 65_536
WINDOW = 1.0
LONGEST = 8_192
FILE_BYTES = 1_000_000


class Allowance:
    """How much each printer may print: 64 KiB in a second; decides from the `now` it is given."""

    def __init__(self) -> None:
        self._spent: dict[str, tuple[float, int, int]] = {}

    def take(self, printer: str, size: int, now: float) -> int | None:
        """Return how many lines were left out before this one, None if this one is left out as well."""
        since, spent, left_out = self._spent.get(printer, (now, 0, 0))
        if now - since >= WINDOW:
            since, spent = now, 0
        if spent and spent + size > SHARE:
            self._spent[printer] = since, spent, left_out + 1
            return None
        self._spent[printer] = since, spent + size, 0
        return left_out


class Printed(io.TextIOBase):
    """A text stream whose lines are logged; what it needs a descriptor for it asks of `original`.

    With `echo` lines go to `original` as well, for somebody who started the process by hand.
    """

    def __init__(self, name: str, level: int, original: TextIO, context: Context, clock: Clock, *, echo: bool) -> None:
        self._log = logging.getLogger(name)
        self._level = level
        self._original = original
        self._context = context
        self._clock = clock
        self._echo = echo
        self._allowance = Allowance()
        self._lock = threading.Lock()
        self._local = threading.local()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """What `print` encodes for; lines in the log are UTF-8."""
        return "utf-8"

    @property
    def buffer(self) -> object:
        """The bytes beneath, which are not logged."""
        return self._original.buffer

    def __getattr__(self, name: str) -> Any:
        """Take from the original what libraries expect of a terminal's stream besides, such as `reconfigure`."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._original, name)

    def fileno(self) -> int:
        """Return the descriptor of the original."""
        return self._original.fileno()

    def writable(self) -> bool:
        """Tell that it is."""
        return True

    def write(self, text: str) -> int:
        """Log each line that is complete; the rest waits, for each thread apart."""
        if self._echo or getattr(self._local, "inside", False):  # a handler that fails may print itself
            self._original.write(text)
        if not getattr(self._local, "inside", False):
            *lines, rest = (getattr(self._local, "rest", "") + text).split("\n")
            while len(rest) > LONGEST:
                lines, rest = [*lines, rest[:LONGEST]], rest[LONGEST:]
            self._local.rest = rest
            for line in lines:
                self._tell(line)
        return len(text)

    def flush(self) -> None:
        """Flush the original; a line that is not complete goes on waiting."""
        with contextlib.suppress(OSError, ValueError):
            self._original.flush()

    def _tell(self, line: str) -> None:
        if not line.strip():
            return
        told = self._context()
        printer = told.get("service") or ""
        with self._lock:
            left_out = self._allowance.take(printer, len(line), self._clock.monotonic())
        if left_out is None:
            return
        self._local.inside = True
        try:
            if left_out:
                self._record(logging.WARNING, f"{left_out} printed lines were left out: more than {SHARE >> 10} KiB in "
                                              "a second", told)
            self._record(self._level, line, told)
        finally:
            self._local.inside = False

    def _record(self, level: int, line: str, told: Mapping[str, str | None]) -> None:
        self._log.log(level, "%s", line, extra=dict(told))


def log_prints(context: Context, clock: Clock, *, echo: bool) -> None:
    """Have everything this process prints logged from now on, as `stdout` (info) and `stderr` (warning)."""
    sys.stdout = Printed("stdout", logging.INFO, sys.__stdout__ or sys.stdout, context, clock, echo=echo)
    sys.stderr = Printed("stderr", logging.WARNING, sys.__stderr__ or sys.stderr, context, clock, echo=echo)
    sys.excepthook = _last_words


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write what ends the process where its parent looks for it, and into the log."""
    traceback.print_exception(kind, error, trace, file=sys.__stderr__)
    if not issubclass(kind, KeyboardInterrupt):
        logging.getLogger("mesh").critical("the process ends: %s: %s", kind.__name__, error,
                                           exc_info=(kind, error, trace))


class Overflow:
    """Keeps the file that a process was started with as its output small: over 1 MB it becomes `.1`, and a new one is
    begun. Nothing written is lost: the descriptors change over in one step."""

    def __init__(self, path: Path, *, limit: int = FILE_BYTES, descriptors: tuple[int, ...] = (1, 2)) -> None:
        self._path = path
        self._limit = limit
        self._descriptors = descriptors

    def attend(self) -> bool:
        """Begin a new file if it is time; tell whether that was done. Output that goes elsewhere is left alone."""
        try:
            mine = self._path.stat()
            own = [number for number in self._descriptors if os.path.samestat(mine, os.fstat(number))]
            if not own or mine.st_size <= self._limit:
                return False
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            fresh = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:  # the disk may be full, the file gone: then it stays as it is
            return False
        try:
            for number in own:
                os.dup2(fresh, number)
        finally:
            os.close(fresh)
        return True
