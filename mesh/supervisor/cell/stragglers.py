"""What was cancelled and goes on: it has a time to clean up, then it is cancelled once more, named, and counted.

Python ends no code that does not want to end: a coroutine may swallow its cancellation, a thread never hears of one.
So nobody waits for such code; what is left is to say where it is, for as long as it is there. Only what is cancelled
costs anything here.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from mesh.client import running
from mesh.clock import Clock, Timer
from mesh.metrics import Sample, gauge

COUNT = gauge("mesh_stragglers", "Executions that were cancelled and have not ended in time.", "service")

SHOWN = 10
SHORT = "let its `finally` be short, and let CancelledError pass"
AGAIN = f"it is cancelled once more; {SHORT}"
THREAD = "a thread cannot be stopped: let it look at the time, or give the agent `isolation: process`"

Row = dict[str, Any]
Tell = Callable[[str, str | None, str | None, Mapping[str, Any]], None]
"""Takes a text for the error bus, the operation, the trace's id, and what is kept with it."""


class Spot(NamedTuple):
    """A line of code: the innermost one of the agent's own."""

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.function}() at {self.file}:{self.line}"


class Straggler:
    """One execution that was cancelled at `since`; `task` is the one that runs it on the host's loop, if one does."""

    __slots__ = ("advice", "again", "look", "named", "operation", "over", "since", "task", "timer", "trace_id")

    def __init__(self, since: float, look: Callable[[], Iterator[FrameType]], again: Callable[[], object] | None,
                 task: asyncio.Task[Any] | None, advice: str) -> None:
        told = running()
        self.advice = advice
        self.since = since
        self.look = look
        self.again = again
        self.task = task
        self.operation = told.get("operation")
        self.trace_id = told.get("trace_id")
        self.named = False
        self.over = False
        self.timer: Timer | None = None


class Stragglers:
    """The stragglers of one cell; each has `cleanup_s` until it is one.

    `named` is given each of them right after it was told of. May be used in the threads of the cell as well, once
    `home` is the loop of its host.
    """

    def __init__(self, service: str, folder: Path, clock: Clock, cleanup_s: Callable[[], float], tell: Tell,
                 named: Callable[[Straggler], None] = lambda straggler: None) -> None:
        self.home: asyncio.AbstractEventLoop | None = None
        self._service = service
        self._folder = f"{folder}/"
        self._clock = clock
        self._cleanup_s = cleanup_s
        self._tell = tell
        self._named = named
        self._waiting: set[Straggler] = set()
        self._elsewhere: list[Row] = []
        self._seen = False

    def __len__(self) -> int:
        return sum(one.named for one in self._waiting) + len(self._elsewhere)

    def samples(self) -> Iterator[Sample]:
        """Yield how many there are, once there was one."""
        if self._seen:
            yield COUNT.sample(len(self), self._service)

    def rows(self) -> list[Row]:
        """Return those there are, the oldest first, ten at most: operation, place, and for how many seconds."""
        now = self._clock.monotonic()
        own = sorted((one for one in self._waiting if one.named), key=lambda one: one.since)
        return [*(self._row(one, now) for one in own), *self._elsewhere][:SHOWN]

    def reported(self, rows: list[Row]) -> None:
        """Take over the rows that the agent's own process has told."""
        self._elsewhere = rows
        self._seen = self._seen or bool(rows)

    # -- who was cancelled

    def coroutine(self, coroutine: Any) -> Straggler:
        """Note that a coroutine or generator of the running task was cancelled; the end of a generator is waited for
        by who closes it."""
        task = asyncio.current_task() if asyncio.iscoroutine(coroutine) else None
        again = None if task is None else task.cancel
        return self._note(lambda: awaited(coroutine), again, task, SHORT if again is None else AGAIN)

    def elsewhere(self, coroutine: Any, again: Callable[[], object]) -> Straggler:
        """Note that a coroutine on another loop was cancelled; `again` does that once more."""
        return self._note(lambda: awaited(coroutine), again, None, AGAIN)

    def thread(self, ident: int) -> Straggler:
        """Note that nobody waits any more for what a thread does."""
        return self._note(lambda: outwards(sys._current_frames().get(ident)), None, None, THREAD)

    def ended(self, one: Straggler) -> None:
        """Note that it has ended after all."""
        one.over = True
        self._at_home(lambda: self._forget(one))

    def _note(self, look: Callable[[], Iterator[FrameType]], again: Callable[[], object] | None,
              task: asyncio.Task[Any] | None, advice: str) -> Straggler:
        one = Straggler(self._clock.monotonic(), look, again, task, advice)
        self._at_home(lambda: self._watch(one))
        return one

    def _at_home(self, do: Callable[[], None]) -> None:
        if self.home is None or asyncio._get_running_loop() is self.home:
            do()
        else:
            with contextlib.suppress(RuntimeError):  # the host's loop is closed
                self.home.call_soon_threadsafe(do)

    def _watch(self, one: Straggler) -> None:
        if not one.over:
            self._waiting.add(one)
            one.timer = self._clock.call_later(self._cleanup_s(), lambda: self._overdue(one))

    def _forget(self, one: Straggler) -> None:
        self._waiting.discard(one)
        if one.timer is not None:
            one.timer.cancel()

    # -- who has not ended

    def _overdue(self, one: Straggler) -> None:
        """Name it, and cancel it once more: its time to clean up is over."""
        if one.over:
            return
        row = self._row(one, self._clock.monotonic())
        one.named = True
        self._seen = True
        what = f"{one.operation or 'a step'} of {self._service}"
        self._tell(f"{what} was cancelled {row['seconds']:g} s ago and goes on, in {row['place']}; {one.advice}",
                   one.operation, one.trace_id, row)
        if one.again is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                one.again()
        self._named(one)

    def _row(self, one: Straggler, now: float) -> Row:
        spot = self._spot(one.look())
        return {"operation": one.operation, "seconds": round(now - one.since, 1), "place": str(spot),
                "file": spot.file, "line": spot.line, "function": spot.function}

    def _spot(self, frames: Iterator[FrameType]) -> Spot:
        """Return the innermost line of the agent's own files, else the innermost of all."""
        all_ = list(frames)
        own = next((frame for frame in all_ if frame.f_code.co_filename.startswith(self._folder)), None)
        frame = own or (all_[0] if all_ else None)
        if frame is None:
            return Spot("?", "?", 0)
        file = "/".join(Path(frame.f_code.co_filename).parts[-2:])
        return Spot(frame.f_code.co_name, file, frame.f_lineno)


def awaited(waits: Any) -> Iterator[FrameType]:
    """Yield where a coroutine or generator stands, the innermost frame first."""
    frames: list[FrameType] = []
    while waits is not None:
        for kind in ("cr", "ag", "gi"):
            frame = getattr(waits, f"{kind}_frame", None)
            if frame is not None:
                frames.append(frame)
                waits = getattr(waits, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)
                if waits is None and kind == "gi":
                    waits = frame.f_locals.get("coroutine")  # `billed` steps it by hand
                break
        else:
            break
    return reversed(frames)


def outwards(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield where a thread stands, the innermost frame first."""
    while frame is not None:
        yield frame
        frame = frame.f_back
