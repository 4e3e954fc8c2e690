"""Count what a cell answers: calls, errors, how long they took; keep a span of what is sampled and of what failed."""

from __future__ import annotations

from dataclasses import dataclass, field

from mesh.clock import Clock
from mesh.message import Handler, Reply, Request
from mesh.metrics import Latency
from mesh.tracing import WAITED, Span, SpanRing


@dataclass(slots=True)
class CallStats:
    """What one cell has answered since its host started; `loop_seconds` is the event loop's time it has used."""

    calls: int = 0
    errors: int = 0
    latency: Latency = field(default_factory=Latency)
    loop_seconds: float = 0.0


def measure(stats: CallStats, spans: SpanRing, host: str, clock: Clock, inner: Handler) -> Handler:
    """Return `inner` with every outcome counted."""

    async def handle(request: Request) -> Reply:
        started = clock.monotonic()
        error: str | None = "cancelled"
        try:
            reply = await inner(request)
            error = None if reply.error is None else reply.error.code
            return reply if reply.host else reply._replace(host=host)
        finally:
            duration = clock.monotonic() - started
            stats.calls += 1
            stats.latency.observe(duration)
            if error is not None:
                stats.errors += 1
            if error is not None or request.trace.sampled:
                spans.add(_span(request, host, clock.time() - duration, duration, error))

    return handle


def _span(request: Request, host: str, started: float, duration: float, error: str | None) -> Span:
    trace, waited = request.trace, WAITED.get()
    return Span(trace.trace_id, trace.span_id, trace.parent_id, request.service, request.operation, host, started,
                duration, error, "answer", request.caller,
                waited[1] if waited is not None and waited[0] == trace.span_id else 0.0, trace.sampled)
