"""Sampled spans on their way to an OpenTelemetry receiver: OTLP over HTTP, protobuf, from a thread of its own.

A call has one span id for both its ends here and two there: the callee's span keeps it, the caller's gets its bits
turned round, which either host can work out for itself. Which agent a span belongs to is its resource.
"""

from __future__ import annotations

import http.client
import importlib.util
import threading
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mesh import __version__
from mesh.errors import EngineMissing
from mesh.metrics import Sample, counter
from mesh.tracing import NO_SPAN, Span

QUEUE = 4096
BATCH = 512
GATHER_S = 1.0
LIMIT_S = 10.0
AGAIN_S = 5.0
TRIES = 3
PATH = "/v1/traces"
INSTALL = "pip install 'mesh[tracing]'"

_RETRYABLE = frozenset({429, 502, 503, 504})

SENT = counter("mesh_otlp_spans_total", "Spans that the OpenTelemetry receiver took.")
DROPPED = counter("mesh_otlp_dropped_total", "Spans it did not take, or for which there was no room.")

Trouble = Callable[[str], None]


class OtlpSender:
    """Sends what `add` is given to `endpoint`; `trouble` hears, from its thread, what fails: once until it works again.

    4,096 spans wait at most; what finds no room, or is refused three times, is counted in `dropped`. Raises
    `EngineMissing` where the extra is not installed.
    """

    def __init__(self, endpoint: str, mesh: str, environment: str, trouble: Trouble, *, gather_s: float = GATHER_S,
                 again_s: float = AGAIN_S) -> None:
        if importlib.util.find_spec("opentelemetry") is None or not _has_proto():
            raise EngineMissing(f"spans are not sent to {endpoint}: the package opentelemetry-proto is not installed; "
                                f"run {INSTALL}", command=INSTALL)
        self.sent = self.dropped = 0
        self._url = endpoint if endpoint.endswith(PATH) else endpoint.rstrip("/") + PATH
        self._mesh = mesh
        self._environment = environment
        self._trouble = trouble
        self._gather_s = gather_s
        self._again_s = again_s
        self._waiting: deque[Span] = deque()
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def add(self, span: Span) -> None:
        """Take a span, from the event loop: costs no more than a place in a queue."""
        if len(self._waiting) >= QUEUE:
            self.dropped += 1
            return
        self._waiting.append(span)
        if not self._news.is_set():
            self._news.set()

    def close(self, limit: float = 2.0) -> None:
        """Send what waits, for at most `limit` seconds."""
        self._stopping.set()
        self._news.set()
        self._thread.join(limit)

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._stopping.wait(self._gather_s)  # so that a burst leaves together
            self._news.clear()
            while self._waiting:
                self._send([self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))])
            if self._stopping.is_set():
                return

    def _send(self, spans: list[Span]) -> None:
        """Send a batch, again where that may help; count it as dropped where it does not."""
        body = encoded(spans, self._mesh, self._environment)
        for left in reversed(range(1 if self._stopping.is_set() else TRIES)):
            refusal, again = self._post(body)
            if refusal is None:
                self.sent += len(spans)
                self._failing = False
                return
            self._tell(refusal)
            if not again or not left or self._stopping.wait(self._again_s):
                break
        self.dropped += len(spans)

    def _post(self, body: bytes) -> tuple[str | None, bool]:
        """Return why the receiver did not take it, None if it did, and whether to try again."""
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/x-protobuf",
                                                           "User-Agent": f"mesh/{__version__}"})
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
                answer.read(65_536)
            return None, False
        except urllib.error.HTTPError as error:
            error.close()
            return f"it answered {error.code} {error.reason}", error.code in _RETRYABLE
        except (OSError, ValueError, http.client.HTTPException) as error:
            return f"{getattr(error, 'reason', None) or error}", True

    def _tell(self, refusal: str) -> None:
        if not self._failing:
            self._failing = True
            self._trouble(f"spans are not taken by {self._url} (tracing: otlp): {refusal}; {QUEUE:,} wait at most, "
                          "what finds no room is dropped")


def samples(sender: OtlpSender | None) -> Iterator[Sample]:
    """Yield what a sender has sent; zeros where there is none."""
    yield SENT.sample(0 if sender is None else sender.sent)
    yield DROPPED.sample(0 if sender is None else sender.dropped)


def encoded(spans: Iterable[Span], mesh: str, environment: str) -> bytes:
    """Return spans as an `ExportTraceServiceRequest`, those of one agent under one resource."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # an extra

    request = ExportTraceServiceRequest()
    scopes: dict[tuple[str, str], Any] = {}
    for span in spans:
        owner = span.caller.rpartition("@")[0] if span.kind == "call" else span.service
        scope = scopes.get((owner, span.host))
        if scope is None:
            resource = request.resource_spans.add()
            _attribute(resource.resource, {
                "service.name": owner, "service.namespace": mesh, "service.instance.id": f"{owner}@{span.host}",
                "host.name": span.host, "deployment.environment.name": environment,
            })
            scope = scopes[owner, span.host] = resource.scope_spans.add()
            scope.scope.name, scope.scope.version = "mesh", __version__
        _fill(scope.spans.add(), span)
    body: bytes = request.SerializeToString()
    return body


def _fill(made: Any, span: Span) -> None:
    from opentelemetry.proto.trace.v1 import trace_pb2 as proto  # an extra

    kinds = {"answer": proto.Span.SPAN_KIND_SERVER, "call": proto.Span.SPAN_KIND_CLIENT,
             "event": proto.Span.SPAN_KIND_CONSUMER, "timer": proto.Span.SPAN_KIND_INTERNAL,
             "cache": proto.Span.SPAN_KIND_INTERNAL}
    made.trace_id, made.span_id, made.parent_span_id = span.trace_id, *_ids(span)
    made.name, made.kind = f"{span.service}.{span.operation}", kinds[span.kind]
    made.start_time_unix_nano = int(span.started * 1e9)
    made.end_time_unix_nano = int((span.started + span.duration) * 1e9)
    made.flags = 1
    attributes: dict[str, str | float] = {"rpc.system": "mesh", "rpc.service": span.service,
                                          "rpc.method": span.operation}
    if span.caller:
        attributes["mesh.caller"] = span.caller
    if span.waited:
        attributes["mesh.waited_ms"] = span.waited * 1000
    if span.error is not None:
        attributes["error.type"] = span.error
        made.status.code, made.status.message = proto.Status.STATUS_CODE_ERROR, span.error
    _attribute(made, attributes)


def _ids(span: Span) -> tuple[bytes, bytes]:
    """Return the span id and that of the parent, as they are over there; empty for none."""
    parent = b"" if span.parent_id == NO_SPAN else span.parent_id
    if span.kind == "call":
        return turned(span.span_id), parent
    if span.kind in ("answer", "cache") and "@" in span.caller:  # an agent called, whose host keeps the call
        return span.span_id, turned(span.span_id)
    return span.span_id, parent


def turned(span_id: bytes) -> bytes:
    """Return a span id with its bits turned round."""
    return bytes(byte ^ 0xFF for byte in span_id)


def _attribute(message: Any, attributes: dict[str, Any]) -> None:
    for key, value in attributes.items():
        pair = message.attributes.add()
        pair.key = key
        if isinstance(value, str):
            pair.value.string_value = value
        else:
            pair.value.double_value = value


def _has_proto() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.proto.collector.trace.v1.trace_service_pb2") is not None
    except ModuleNotFoundError:
        return False
