"""Trace context and the spans a host keeps: who called whom, when, and how it ended.

Identifiers are those of W3C Trace Context: 16 bytes for the trace, 8 for the span. A call has one span id for both
its ends: the caller's span (`call`) covers the way there and back and all waiting, the callee's (`answer`) the work.
Kept are the spans of sampled traces, and of any other trace those that ended in an error: to find out why something
failed nobody has to be lucky.
"""

from __future__ import annotations

import os
import random
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple

from mesh.clock import Clock
from mesh.errors import ProtocolError

NO_SPAN = bytes(8)
SIZE = 8192
FAILED = 2048
SAMPLED_FLAG = 1

Kind = Literal["answer", "cache", "call", "event", "timer"]

_generator = random.Random(os.urandom(16))
_bits = _generator.getrandbits
_share = _generator.random
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")


class Trace(NamedTuple):
    """Where in which trace a message stands; a sampled one leaves a span wherever it passes."""

    trace_id: bytes
    span_id: bytes
    sampled: bool = False
    parent_id: bytes = NO_SPAN

    @staticmethod
    def new(*, sampled: bool = False) -> Trace:
        """Return the root of a new trace."""
        return Trace(_bits(128).to_bytes(16, "big"), _bits(64).to_bytes(8, "big"), sampled)

    def child(self) -> Trace:
        """Return the context of a call made inside this one."""
        return Trace(self.trace_id, _bits(64).to_bytes(8, "big"), self.sampled, self.span_id)

    def to_traceparent(self) -> str:
        """Return the header `traceparent` for whoever is called from here over another protocol."""
        return f"00-{self.trace_id.hex()}-{self.span_id.hex()}-{'01' if self.sampled else '00'}"

    @staticmethod
    def from_traceparent(header: str) -> Trace:
        """Return the caller's context in a header `traceparent`; what is done for the caller is its `child()`.

        Of a version after 00 only the fields of 00 are read, as the specification asks. Raises `ProtocolError`.
        """
        found = _TRACEPARENT.match(header.strip())
        if found is None or found[1] == "ff" or (found[1] == "00" and found[5] is not None):
            raise ProtocolError(f"traceparent is {header!r:.80}; it looks like "
                                "00-<32 hexadecimal digits>-<16 hexadecimal digits>-<2 hexadecimal digits>")
        trace_id, span_id = bytes.fromhex(found[2]), bytes.fromhex(found[3])
        if not any(trace_id) or not any(span_id):
            raise ProtocolError(f"traceparent is {header!r:.80}; its ids must not be all zeros")
        return Trace(trace_id, span_id, bool(int(found[4], 16) & SAMPLED_FLAG))


class Span(NamedTuple):
    """One piece of a trace on one host; `started` is wall-clock seconds of that host, `duration` and `waited` seconds.

    `service` and `operation` are what was called, also in the span of the caller, whose `host` is the caller's.
    `waited` is the part of an answer that passed before its method was begun, `attempts` how often a call was made,
    `fallback` what answered it in place of the operation. A `cache` span stands in the place of the answer where a host
    gave one that it had kept.
    """

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    service: str
    operation: str
    host: str
    started: float
    duration: float
    error: str | None = None
    kind: Kind = "answer"
    caller: str = ""
    waited: float = 0.0
    sampled: bool = True
    attempts: int = 1
    fallback: str = ""

    def row(self) -> dict[str, Any]:
        """Return the fields with the ids as hexadecimal digits."""
        return {**self._asdict(), "trace_id": self.trace_id.hex(), "span_id": self.span_id.hex(),
                "parent_id": self.parent_id.hex()}


class SpanRing:
    """The last spans of a host, the oldest make room; `sample` is the share of new traces that are sampled.

    Errors of traces that are not sampled have a ring of their own, so a storm of them drives nothing else out.
    `export` is given each span of a sampled trace as well.
    """

    def __init__(self, size: int = SIZE, *, sample: float = 0.0) -> None:
        self.sample = sample
        self.export: Callable[[Span], None] | None = None
        self._sampled: deque[Span] = deque(maxlen=size)
        self._failed: deque[Span] = deque(maxlen=min(size, FAILED))

    def root(self, *, sampled: bool = False) -> Trace:
        """Return the root of a new trace, sampled if it is asked for or its lot says so."""
        return Trace.new(sampled=sampled or (self.sample > 0.0 and _share() < self.sample))

    def add(self, span: Span) -> None:
        """Keep `span`."""
        if not span.sampled:
            self._failed.append(span)
            return
        self._sampled.append(span)
        if self.export is not None:
            self.export(span)

    def of(self, trace_id: str) -> list[Span]:
        """Return the kept spans whose trace id begins with these hexadecimal digits, in order of their start."""
        wanted = trace_id.lower()
        return sorted((span for span in self if span.trace_id.hex().startswith(wanted)), key=lambda span: span.started)

    def latest(self, limit: int, *, failed: bool = False) -> list[dict[str, Any]]:
        """Return a row for each of the traces that began last, the latest first; with `failed` only those with errors.

        A row is the trace's first span here, with the `duration` of all of them, their count `spans` and an `error`.
        """
        traces: dict[bytes, list[Span]] = {}
        for span in self:
            traces.setdefault(span.trace_id, []).append(span)
        found = [spans for spans in traces.values() if not failed or any(span.error is not None for span in spans)]
        found.sort(key=lambda spans: min(span.started for span in spans), reverse=True)
        return [_summary(spans) for spans in found[:limit]]

    def __iter__(self) -> Iterator[Span]:
        yield from self._sampled
        yield from self._failed


def _summary(spans: Iterable[Span]) -> dict[str, Any]:
    ordered = sorted(spans, key=lambda span: (span.started, -span.duration))
    first = next((span for span in ordered if span.parent_id == NO_SPAN), ordered[0])
    ends = max(span.started + span.duration for span in ordered)
    error = first.error or next((span.error for span in ordered if span.error is not None), None)
    return {**first.row(), "started": ordered[0].started, "duration": ends - ordered[0].started, "error": error,
            "spans": len(ordered)}


class Doing(NamedTuple):
    """What an agent does unasked: its setup, an event's handler, a timer. `trace` is None where each call is a root."""

    service: str
    operation: str
    trace: Trace | None = None


DOING: ContextVar[Doing | None] = ContextVar("mesh_doing", default=None)
"""What the running task does for its agent when it answers no request; calls made there inherit its trace."""

WAITED: ContextVar[tuple[bytes, float] | None] = ContextVar("mesh_waited", default=None)
"""Span id and seconds of a request that had to wait for its turn; a task that waits for nothing never sets it."""


@contextmanager
def doing(service: str, operation: str, trace: Trace | None = None) -> Iterator[None]:
    """Say what the running task does, for its logs and its calls."""
    token = DOING.set(Doing(service, operation, trace))
    try:
        yield
    finally:
        DOING.reset(token)


class Reacting:
    """Says what an agent does unasked and keeps a span of it, as of an answer; `error` is then the exception's class.

    A context manager for each event; as a generator it would cost four times as much.
    """

    __slots__ = ("_began", "_clock", "_doing", "_host", "_kind", "_spans", "_token")

    def __init__(
        self, service: str, operation: str, trace: Trace, kind: Kind, *, host: str, spans: SpanRing, clock: Clock
    ) -> None:
        self._doing = Doing(service, operation, trace)
        self._kind = kind
        self._host = host
        self._spans = spans
        self._clock = clock

    def __enter__(self) -> None:
        self._began = self._clock.monotonic()
        self._token = DOING.set(self._doing)

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        DOING.reset(self._token)
        service, operation, trace = self._doing
        if trace is not None and (error is not None or trace.sampled):
            duration = self._clock.monotonic() - self._began
            self._spans.add(Span(
                trace.trace_id, trace.span_id, trace.parent_id, service, operation, self._host,
                self._clock.time() - duration, duration, None if error is None else error.__name__, self._kind,
                sampled=trace.sampled,
            ))
