"""Trace context and the spans a host keeps: who called whom, when, and how it ended.

Identifiers are those of W3C Trace Context: 16 bytes for the trace, 8 for the span.
"""

from __future__ import annotations

import os
import random
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

NO_SPAN = bytes(8)
_bits = random.Random(os.urandom(16)).getrandbits


class Trace(NamedTuple):
    """Where in which trace a message stands; spans are kept only for sampled traces."""

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


@dataclass(frozen=True, slots=True)
class Span:
    """One execution of one operation; `started` is wall-clock seconds, `duration` seconds."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    operation: str
    host: str
    started: float
    duration: float
    error: str | None = None


class SpanRing:
    """The last spans of a host; the oldest make room."""

    def __init__(self, size: int = 8192) -> None:
        self._spans: deque[Span] = deque(maxlen=size)

    def add(self, span: Span) -> None:
        """Keep `span`."""
        self._spans.append(span)

    def of(self, trace_id: str) -> list[Span]:
        """Return the kept spans of one trace, in order of their start."""
        return sorted((span for span in self._spans if span.trace_id == trace_id), key=lambda span: span.started)
