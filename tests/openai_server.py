"""A small real HTTP server that speaks the OpenAI chat protocol, and fails in each way a server can.

It runs in threads of its own on a free loopback port, so it serves tests on one event loop as well as processes.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

Fault = Literal["slow", "hang up", "cut", "malformed", "not a map", "no choices", "no text", "endless"]
Reply = Callable[[list[dict[str, Any]]], str]

HELD_S = 20.0


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


def echo(messages: list[dict[str, Any]]) -> str:
    """Return the last message, so an answer can be told from any other."""
    return f"you said: {messages[-1]['content']}"


class OpenAIServer:
    """`with OpenAIServer() as server:` answers at `server.base_url`; `fault` and `status` make it fail."""

    def __init__(self, *, models: tuple[str, ...] = ("small",), key: str | None = None, reply: Reply = echo) -> None:
        self.models = models
        self.key = key
        self.reply = reply
        self.fault: Fault | None = None
        self.status: int | None = None
        self.retry_after: str | None = None
        self.said = "as told"
        self.asked: list[Asked] = []
        self.connections = 0
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def base_url(self) -> str:
        """Where it listens, with the `/v1` of the protocol."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                server.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append(Asked(self.path, {name.lower(): text for name, text in self.headers.items()}, body))
                try:
                    server.answer(self, body)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client gave up, as some tests want

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler

    def answer(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        """Answer one request, in the way this server was told."""
        if self.fault == "slow":
            self.released.wait(HELD_S)
        if self.fault == "hang up":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.close_connection = True
            return
        if self.status is not None:
            self._error(handler, self.status, self.said)
        elif handler.path != "/v1/chat/completions":
            self._error(handler, 404, f"no such path {handler.path}")
        elif self.key is not None and handler.headers.get("Authorization") != f"Bearer {self.key}":
            self._error(handler, 401, f"wrong key: {handler.headers.get('Authorization')}")
        elif body["model"] not in self.models:
            self._error(handler, 404, f"no such model {body['model']}")
        else:
            self._complete(handler, body)

    def _complete(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        message: dict[str, Any] = {"role": "assistant", "content": self.reply(body["messages"])}
        if self.fault == "no text":
            message = {"role": "assistant", "content": None, "tool_calls": []}
        answer: Any = {
            "id": "chatcmpl-1", "object": "chat.completion", "model": body["model"],
            "choices": [] if self.fault == "no choices" else
            [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        }
        data = json.dumps(["a list"] if self.fault == "not a map" else answer).encode()
        if self.fault == "malformed":
            data = data[: len(data) // 2]
        if self.fault == "endless":
            data = b" " * (17 * 1024 * 1024)
        self._send(handler, 200, data, declared=len(data) + 100 if self.fault == "cut" else len(data))

    def _error(self, handler: BaseHTTPRequestHandler, status: int, said: str) -> None:
        self._send(handler, status, json.dumps({"error": {"message": said}}).encode())

    def _send(self, handler: BaseHTTPRequestHandler, status: int, data: bytes, declared: int | None = None) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data) if declared is None else declared))
        if self.retry_after is not None:
            handler.send_header("Retry-After", self.retry_after)
        handler.end_headers()
        handler.wfile.write(data)
        if declared is not None and declared > len(data):
            handler.close_connection = True
