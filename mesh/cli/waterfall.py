"""A trace as a waterfall: the spans of all hosts put in one tree and on one clock.

The two ends of a call have one span id: the caller's `call` is the window, the callee's `answer` the work in it. Clocks
of hosts differ, so work that does not fit its window is moved into it, with everything below it, and that is said. A
span that some host no longer keeps, or never sent, is a hole and shown as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

NOBODY = "0" * 16
SILENT = ("registry", "supervisor")
"""Services that keep no spans, so that the lack of one is no hole."""

BEGUN = (None, "remote_failure", "invalid_result")
"""Endings of a call that somebody answered; of any other it may be that nobody ever began it."""

JITTER = 0.001
MISSING = "a span is missing here: its host is gone, or keeps it no longer"
UNSAMPLED = "ended well, so its span was not kept: the trace is not sampled"

Row = Mapping[str, Any]


@dataclass(slots=True)
class Step:
    """One line: when it began, on the clock of the trace's first host, how long it took, and when the work in it was.

    `host` is where the work was done, None where nobody tells; `hole` says what is missing.
    """

    span_id: str
    parent_id: str
    service: str
    operation: str
    host: str | None
    kind: str
    depth: int = 0
    started: float = 0.0
    duration: float = 0.0
    work_started: float | None = None
    work: float | None = None
    waited: float = 0.0
    attempts: int = 1
    fallback: str = ""
    error: str | None = None
    hole: str | None = None

    @property
    def ended(self) -> float:
        """When it was over."""
        return self.started + self.duration


@dataclass(slots=True)
class Waterfall:
    """The steps in the order to read them; `skew` is by how many seconds a host's clock is ahead, where it shows."""

    trace_id: str
    steps: list[Step] = field(default_factory=list)
    skew: dict[str, float] = field(default_factory=dict)

    @property
    def started(self) -> float:
        """When the first step began."""
        return min(step.started for step in self.steps)

    @property
    def duration(self) -> float:
        """Seconds from the first beginning to the last end."""
        return max(step.ended for step in self.steps) - self.started


def waterfall(trace_id: str, rows: Iterable[Row]) -> Waterfall:
    """Return the spans of one trace, as hosts tell them, in reading order."""
    return _Builder(trace_id, rows).built()


class _Builder:
    """Walks from the roots down, and hands each span's shift of the clock to those below it."""

    def __init__(self, trace_id: str, rows: Iterable[Row]) -> None:
        self._made = Waterfall(trace_id)
        self._sampled = True
        self._calls: dict[str, Row] = {}
        self._works: dict[str, Row] = {}
        for row in rows:
            self._sampled = self._sampled and row["sampled"]
            known = self._calls if row["kind"] == "call" else self._works
            if known.get(row["span_id"], row)["error"] is not None or row["span_id"] not in known:
                known[row["span_id"]] = row  # of several attempts the one that was answered
        self._left = dict.fromkeys(sorted({**self._calls, **self._works}, key=self._began))
        self._below: dict[str, list[str]] = {}
        for span_id in self._left:
            self._below.setdefault(self._parent(span_id), []).append(span_id)

    def built(self) -> Waterfall:
        for span_id in self._below.get(NOBODY, ()):
            self._walk(span_id, 0, None, 0.0)
        while self._left:  # their parents are missing, or, in what nobody ever sent, go in a circle
            self._orphans(self._parent(next(iter(self._left))))
        return self._made

    def _orphans(self, parent_id: str) -> None:
        """Put the children of a span that is missing below a line that says so."""
        left = [span_id for span_id in self._below.get(parent_id, ()) if span_id in self._left]
        hole = Step(parent_id, NOBODY, "?", "?", None, "answer", hole=MISSING if self._sampled else UNSAMPLED)
        self._made.steps.append(hole)
        for span_id in left:
            self._walk(span_id, 1, None, 0.0)
        below = [step for step in self._made.steps if step.parent_id == parent_id and step is not hole]
        hole.started = min(step.started for step in below)
        hole.duration = max(step.ended for step in below) - hole.started

    def _walk(self, span_id: str, depth: int, above: Step | None, shift: float) -> None:
        """Add a span and what is below it; `shift` takes its caller's clock to that of the trace."""
        if span_id not in self._left:
            return
        del self._left[span_id]
        call, work = self._calls.get(span_id), self._works.get(span_id)
        told = work or call
        assert told is not None
        step = Step(span_id, self._parent(span_id), told["service"], told["operation"],
                    None if work is None else work["host"], told["kind"], depth,
                    error=told["error"] or (call["error"] if call else None))
        if call is not None:
            step.attempts, step.fallback = call.get("attempts", 1), call.get("fallback", "")
            if step.attempts > 1 and call["error"] is None:
                step.error = None  # that of an earlier attempt
            step.started, step.duration = call["started"] + shift, call["duration"]
        if work is not None:
            shift = self._place(step, call, work, above, shift)
        elif step.error in BEGUN and step.service not in SILENT:
            step.hole = MISSING
        self._made.steps.append(step)
        for below in self._below.get(span_id, ()):
            self._walk(below, depth + 1, step, shift)

    def _place(self, step: Step, call: Row | None, work: Row, above: Step | None, shift: float) -> float:
        """Set when the work was done; returns what takes the clock of its host to that of the trace."""
        step.work, step.waited = work["duration"], work["waited"]
        least, most = self._room(step, call, above)
        own = shift if above is None or work["host"] == above.host else -self._made.skew.get(work["host"], 0.0)
        began = work["started"] + own
        fitting = max(least, min(began, most - work["duration"]))
        if call is not None and abs(fitting - began) > JITTER:
            fitting = step.started + (step.duration - work["duration"]) / 2  # as NTP guesses: both ways are as long
        if abs(fitting - began) > JITTER:
            own += fitting - began
            self._made.skew[work["host"]] = -own
            began = fitting
        step.work_started = began
        if call is None:
            step.started, step.duration = began, work["duration"]
        step.duration = max(step.duration, began + work["duration"] - step.started)
        return own

    def _room(self, step: Step, call: Row | None, above: Step | None) -> tuple[float, float]:
        """Return between which moments the work must lie.

        What hears an event may go on after who published it, and what is called after its caller gave up.
        """
        if call is not None:
            return step.started, step.ended if step.work is None or step.work <= step.duration else float("inf")
        if above is None or above.hole is not None:
            return float("-inf"), float("inf")
        return above.started, above.ended if step.kind == "answer" else float("inf")

    def _parent(self, span_id: str) -> str:
        told = self._calls.get(span_id) or self._works[span_id]
        parent: str = told["parent_id"]
        return parent

    def _began(self, span_id: str) -> float:
        told = self._calls.get(span_id) or self._works[span_id]
        return float(told["started"])


def drawn(step: Step, fall: Waterfall, columns: int) -> str:
    """Return a step's bar: `─` on the way and waiting, `█` at work, at least one character."""
    whole = fall.duration or 1.0
    cells = [" "] * columns
    for character, began, lasted in _parts(step):
        first = min(columns - 1, int((began - fall.started) / whole * columns))
        last = min(columns, max(first + 1, round((began - fall.started + lasted) / whole * columns)))
        cells[first:last] = character * (last - first)
    return "".join(cells)


def _parts(step: Step) -> Iterator[tuple[str, float, float]]:
    yield ("·" if step.hole else "─"), step.started, step.duration
    if step.work is not None and step.work_started is not None:
        yield "█", step.work_started + step.waited, max(0.0, step.work - step.waited)
