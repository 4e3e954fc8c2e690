"""Many light hosts in one process: connections that speak the protocol of docs/protocol.md and only count what they
hear, each checked for gaps, each event decoded as the baseline decodes its messages.

`python -m benchmarks.peers ENDPOINT MESH FIRST COUNT EVERY` connects COUNT of them, prints `ready`, and prints what
they have heard since the last time for each line it is sent. After EVERY events one says so to the publisher.
"""

from __future__ import annotations

import json
import os
import sys
import time

import msgpack
import zmq

from mesh import wire
from mesh.message import Request, encode
from mesh.tracing import Trace

_HEARTBEATS = ((zmq.HEARTBEAT_IVL, 500), (zmq.HEARTBEAT_TIMEOUT, 2000), (zmq.HEARTBEAT_TTL, 2000))


class Peer:
    """One light host; `missed` are gaps in the numbers, `dropped` what the publisher's host says of them."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, mesh: str, name: str, every: int
    ) -> None:
        self.name = name
        self.received = self.missed = self.dropped = 0
        self.socket = context.socket(zmq.DEALER)
        for option, value in ((zmq.ROUTING_ID, b"\1" + os.urandom(15)), (zmq.LINGER, 0), (zmq.RCVHWM, 0), *_HEARTBEATS):
            self.socket.setsockopt(option, value)
        self.socket.connect(endpoint)
        self._every = every
        self._next = every
        self._before: int | None = None
        self._dropped_before = 0
        self._calls = 0
        self._send(wire.hello(wire.Hello(mesh, "host", name, 1, ("bench.event",))))
        if msgpack.unpackb(self.socket.recv())[2][0] != wire.WELCOME:
            raise SystemExit(f"{name} was not welcomed")

    def drain(self) -> None:
        """Take every frame that is there."""
        while True:
            try:
                data = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._take(msgpack.unpackb(data))

    def _take(self, frame: list[list[object]]) -> None:
        before, seen = self._before, self.received
        number = -1
        for envelope in frame[2:]:
            if envelope[0] == wire.EVENT:
                number = msgpack.unpackb(envelope[5])["number"]
                if before is not None and before != number + 1:
                    self.missed += before - number - 1
                before = number or None
                self.received += 1
        self._before = before
        self.dropped = int(frame[1]) - self._dropped_before  # type: ignore[call-overload]
        if number == 0 or (self._every and self.received >= self._next > seen):
            self._next = self.received + self._every
            self._tell()

    def _tell(self) -> None:
        self._calls += 1
        body = encode({"reader": self.name, "count": self.received})
        request = Request("bench_publisher", "took", body, time.monotonic() + 30, Trace.new(), self.name)
        self._send(bytes(wire.call(self._calls, request)))

    def _send(self, envelope: bytes) -> None:
        self.socket.send(wire.frame(int(time.monotonic() * 1000), 0, [envelope]))

    def report(self) -> dict[str, int]:
        """Return what was heard, and begin anew."""
        told = {"received": self.received, "missed": self.missed, "dropped": self.dropped}
        self._dropped_before += self.dropped
        self.received = self.missed = self.dropped = 0
        self._next = self._every
        self._before = None
        return told


def main(endpoint: str, mesh: str, first: int, count: int, every: int) -> None:
    """Count until the parent closes the pipe."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    peers = [Peer(context, endpoint, mesh, f"light{number:02}", every) for number in range(first, first + count)]
    poller = zmq.Poller()
    by_socket = {peer.socket: peer for peer in peers}
    for each in (*by_socket, sys.stdin):
        poller.register(each, zmq.POLLIN)
    print("ready", flush=True)
    while True:
        for ready, _ in poller.poll():
            if ready in by_socket:
                by_socket[ready].drain()
            elif not sys.stdin.readline():
                context.destroy(linger=0)
                return
            else:
                told = {"peers": [peer.report() for peer in peers], "processor": time.process_time()}
                print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
