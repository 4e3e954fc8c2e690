"""A real HTTP server on loopback that is slow, huge, broken, moody or leads elsewhere, as its paths say."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class HttpServer:
    """Serves until `close`; `seen` counts requests by method and path, `running` tells how many are in `/slow` now."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.running = 0
        self.most = 0
        self.go = threading.Event()
        self._lock = threading.Lock()
        outer = self

        class Handler(_Handler):
            server_of = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def entered(self, change: int) -> None:
        with self._lock:
            self.running += change
            self.most = max(self.most, self.running)

    def close(self) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: HttpServer

    def _handle(self) -> None:
        outer, parts = self.server_of, urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else b""
        self.query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        outer.seen[f"{self.command} {parts.path}"] += 1
        outer.headers.append({key.lower(): value for key, value in self.headers.items()})
        with contextlib.suppress(OSError):
            getattr(self, f"_{parts.path.strip('/').split('/')[0] or 'root'}", self._missing)()

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _handle

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _missing(self) -> None:
        self._send(404, b"nothing here")

    def _echo(self) -> None:
        told: dict[str, Any] = {"method": self.command, "query": self.query, "body": self.body.decode()}
        self._send(200, json.dumps(told).encode(), Content_Type="application/json", Set_Cookie="session=mine; Path=/")

    def _slow(self) -> None:
        self.server_of.entered(1)
        self.server_of.go.wait(30)
        self.server_of.entered(-1)
        self._send(200, b"late")

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        while not self.server_of.go.wait(0.05):
            self.wfile.write(b"x")

    def _huge(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(10**9))
        self.end_headers()
        for _ in range(10**4):
            self.wfile.write(b"x" * 10**5)

    def _bomb(self) -> None:
        self._send(200, gzip.compress(b"\0" * 50_000_000), Content_Encoding="gzip")

    def _packed(self) -> None:
        self._send(200, gzip.compress("grüß".encode()), Content_Encoding="gzip",
                   Content_Type="text/plain; charset=utf-8")

    def _brotli(self) -> None:
        self._send(200, b"?", Content_Encoding="br")

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _half(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"half")
        self.close_connection = True

    def _garbage(self) -> None:
        self.wfile.write(b"\x00\x01 this is no HTTP\r\n\r\n")
        self.close_connection = True

    def _redirect(self) -> None:
        self._send(int(self.query.get("status", "302")), b"", Location=self.query["to"])

    def _loop(self) -> None:
        self._send(302, b"", Location="/loop")

    def _status(self) -> None:
        headers = {"Retry_After": self.query["after"]} if "after" in self.query else {}
        self._send(int(self.query["code"]), b"as asked", **headers)

    def _busy(self) -> None:
        self._send(503, b"come later")

    def _flaky(self) -> None:
        count = self.server_of.seen[f"{self.command} {urlsplit(self.path).path}"]
        if count < int(self.query["good"]):
            self._send(503, b"not yet")
        else:
            self._send(200, f"attempt {count}".encode())

    def _health(self) -> None:
        self._send(500 if self.server_of.go.is_set() else 200, b"")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def http_server() -> Iterator[HttpServer]:
    """Give a server that is closed in any case."""
    server = HttpServer()
    try:
        yield server
    finally:
        server.close()
