"""The baseline `raw`: pyzmq, blocking DEALER and ROUTER over TCP loopback in two processes, msgpack each way.

`python -m benchmarks.raw serve` answers; `measure` is called by the benchmark with the port it prints.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass

import msgpack
import zmq

MESSAGE = {"text": "x" * 76, "number": 1}


@dataclass(frozen=True)
class RawFigures:
    """Calls per second at 64 outstanding, and the median latency in seconds of a lone call."""

    calls_per_second: float
    p50: float


def serve() -> None:
    """Answer every message with its own content until the parent closes the pipe."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    print(port, flush=True)
    poller = zmq.Poller()
    poller.register(router, zmq.POLLIN)
    poller.register(sys.stdin, zmq.POLLIN)
    while True:
        ready = dict(poller.poll())
        if sys.stdin.fileno() in ready:
            break
        while True:
            try:
                routing_id = router.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            body = msgpack.unpackb(router.recv())
            router.send(routing_id, zmq.SNDMORE)
            router.send(msgpack.packb(body))
    context.destroy(linger=0)


def measure(calls: int, alone: int) -> RawFigures:
    """Return the figures of `calls` calls at 64 outstanding and `alone` calls one at a time."""
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.raw", "serve"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None and server.stdin is not None
    context = zmq.Context()
    try:
        dealer = context.socket(zmq.DEALER)
        dealer.connect(f"tcp://127.0.0.1:{int(server.stdout.readline())}")
        _exchange(dealer, 1000, 64)
        many = calls / _exchange(dealer, calls, 64)
        latencies = []
        for _ in range(alone):
            started = time.perf_counter()
            _exchange(dealer, 1, 1)
            latencies.append(time.perf_counter() - started)
        return RawFigures(many, sorted(latencies)[alone // 2])
    finally:
        context.destroy(linger=0)
        server.stdin.close()
        server.wait(5)


def _exchange(dealer: zmq.Socket[bytes], calls: int, outstanding: int) -> float:
    """Make `calls` calls and return the seconds they took."""
    started = time.perf_counter()
    sent = received = 0
    while received < calls:
        while sent < calls and sent - received < outstanding:
            dealer.send(msgpack.packb(MESSAGE))
            sent += 1
        msgpack.unpackb(dealer.recv())
        received += 1
    return time.perf_counter() - started


if __name__ == "__main__":
    serve()
