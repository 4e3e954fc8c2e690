"""Count what a cell answers, by operation and outcome, and how long it took; keep a span of what is sampled or failed.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field

from mesh.clock import Clock
from mesh.errors import MeshError, RemoteFailure
from mesh.message import Items, Reply, Request
from mesh.metrics import BOTH, Latency, Sample, counter, gauge, histogram
from mesh.tracing import WAITED, Span, SpanRing

OTHER = "other"
"""Where calls to operations that the agent does not have are counted: callers must not make up labels."""

CALLS = counter("mesh_calls_total",
                "Calls answered here, by outcome: `ok` or the code of the error. A stream counts when it ends.",
                "service", "operation", "code", programs=BOTH)
SECONDS = histogram("mesh_call_seconds", "From a call's arrival at its cell to its answer, waiting included.",
                    "service", "operation", programs=BOTH)

STREAMS = gauge("mesh_streams", "Streams that are open here.", "service", "operation")
ITEMS = counter("mesh_stream_items_total", "Items sent by streams that have ended.", "service", "operation")


@dataclass(slots=True)
class Outcomes:
    """What became of the calls of one operation; every call is in `latency`, those that failed in `errors` too.

    Of a stream `latency` holds the opening; `streams` are those open now, `items` all those of streams that ended.
    """

    latency: Latency = field(default_factory=Latency)
    errors: dict[str, int] = field(default_factory=dict)
    streams: int = 0
    items: int = 0


@dataclass(slots=True)
class CallStats:
    """What one cell has done since its host started: the calls it answered, the event loop's time it has used, and
    the events its handlers were too slow for.

    `known` holds the operations there are; while it is None every name is taken for one.
    """

    loop_seconds: float = 0.0
    events_lost: int = 0
    known: Container[str] | None = None
    operations: dict[str, Outcomes] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        """How many calls were answered."""
        return sum(one.latency.count for one in self.operations.values())

    @property
    def errors(self) -> int:
        """How many of them with an error."""
        return sum(count for one in self.operations.values() for count in one.errors.values())

    @property
    def latency(self) -> Latency:
        """How long they took, all operations together."""
        return Latency.merged(one.latency for one in self.operations.values())

    def of(self, operation: str) -> Outcomes:
        """Return where the calls of an operation are counted that none was counted of so far."""
        name = operation if self.known is None or operation in self.known else OTHER
        return self.operations.setdefault(name, Outcomes())

    def refused(self, operation: str, code: str) -> None:
        """Count a call that was refused at the door, in no time; whoever made it keeps a span of it."""
        outcomes = self.operations.get(operation) or self.of(operation)
        outcomes.latency.observe(0.0)
        outcomes.errors[code] = outcomes.errors.get(code, 0) + 1

    def samples(self, service: str) -> Iterator[Sample]:
        """Yield the figures of a service's calls."""
        for name, one in self.operations.items():
            yield SECONDS.spread(one.latency, service, name)
            # an open stream is neither yet: a counter that is taken back looks like a restart to Prometheus
            yield CALLS.sample(one.latency.count - sum(one.errors.values()) - one.streams, service, name, "ok")
            for code, count in one.errors.items():
                yield CALLS.sample(count, service, name, code)
            if one.streams or one.items:
                yield STREAMS.sample(one.streams, service, name)
                yield ITEMS.sample(one.items, service, name)


class Measure:
    """Counts every outcome of a cell in `stats`, and keeps the spans of its calls in `spans`."""

    def __init__(self, stats: CallStats, spans: SpanRing, host: str, clock: Clock) -> None:
        self._stats = stats
        self._operations = stats.operations
        self._spans = spans
        self._host = host
        self._clock = clock

    def refused(self, request: Request, error: MeshError) -> Reply:
        """Return the reply to a call that was refused at the door, in no time; its caller keeps a span of it."""
        self._stats.refused(request.operation, error.code)
        return Reply(error=error, host=self._host)

    def ended(self, request: Request, began: float, reply: Reply | None) -> Reply:
        """Count a call that has ended, and return its reply with this host's name; None says it was cancelled."""
        duration = self._clock.monotonic() - began
        outcomes = self._operations.get(request.operation) or self._stats.of(request.operation)
        outcomes.latency.observe(duration)
        if reply is None:
            error: str | None = "cancelled"
        else:
            error = None if reply.error is None else reply.error.code
        if error is not None:
            outcomes.errors[error] = outcomes.errors.get(error, 0) + 1
        if reply is not None and reply.items is not None:
            _follow(outcomes, reply.items, request, self._host, began, self._spans, self._clock)
        elif error is not None or request.trace.sampled:
            self._spans.add(_span(request, self._host, self._clock.time() - duration, duration, error))
        if reply is None:
            return Reply(host=self._host)
        return reply if reply.host else reply._replace(host=self._host)


def _follow(
    outcomes: Outcomes, items: Items, request: Request, host: str, started: float, spans: SpanRing, clock: Clock
) -> None:
    """Count what an open stream ends with; its span lasts as long as it does."""
    outcomes.streams += 1

    def ended(error: MeshError | None) -> None:
        outcomes.streams -= 1
        outcomes.items += items.taken
        code = None if error is None else error.code or RemoteFailure.code
        if code is not None:
            outcomes.errors[code] = outcomes.errors.get(code, 0) + 1
        if code is not None or request.trace.sampled:
            duration = clock.monotonic() - started
            spans.add(_span(request, host, clock.time() - duration, duration, code))

    items.at_end(ended)


def _span(request: Request, host: str, started: float, duration: float, error: str | None) -> Span:
    trace, waited = request.trace, WAITED.get()
    return Span(trace.trace_id, trace.span_id, trace.parent_id, request.service, request.operation, host, started,
                duration, error, "answer", request.caller,
                waited[1] if waited is not None and waited[0] == trace.span_id else 0.0, trace.sampled)
