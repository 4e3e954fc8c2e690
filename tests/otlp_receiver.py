"""An OTLP/HTTP receiver: takes what is posted to /v1/traces and reads it with the official protobuf definitions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Received:
    """One span with the attributes of its resource."""

    resource: dict[str, Any]
    span: Any

    @property
    def attributes(self) -> dict[str, Any]:
        """Those of the span."""
        return attributes(self.span)


def attributes(message: Any) -> dict[str, Any]:
    """Return attributes as plain values."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in message.attributes}


class Receiver(ThreadingHTTPServer):
    """Keeps what it receives; answers with `answers` first, then 200."""

    daemon_threads = True

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.requests: list[ExportTraceServiceRequest] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spans(self) -> list[Received]:
        """Return every span it took."""
        return [
            Received(attributes(group.resource), span)
            for request in list(self.requests) for group in request.resource_spans
            for scope in group.scope_spans for span in scope.spans
        ]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        code = self.server.answers.pop(0) if self.server.answers else 200
        if self.path != "/v1/traces" or self.headers["Content-Type"] != "application/x-protobuf":
            code = 404
        if code == 200:
            self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(code)
        self.end_headers()
        self.wfile.write(ExportTraceServiceResponse().SerializeToString())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def receiving(*answers: int) -> Iterator[Receiver]:
    """Give a receiver that listens."""
    with Receiver(*answers) as receiver:
        thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()
