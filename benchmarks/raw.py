"""The baseline `raw`: pyzmq, blocking DEALER and ROUTER over TCP loopback in two processes, msgpack each way.

`python -m benchmarks.raw` answers; `measure` is called by the benchmark with the port it prints. The baseline of
streams is PUB and SUB in the same way: `python -m benchmarks.raw publish COUNT`, read by `published`. The publisher
waits when its queue is full instead of dropping, for a stream loses nothing either.
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


def publish(count: int) -> None:
    """Send `count` messages to the first subscriber, as fast as it takes them."""
    context = zmq.Context()
    publisher = context.socket(zmq.XPUB)
    publisher.setsockopt(zmq.XPUB_NODROP, 1)
    print(publisher.bind_to_random_port("tcp://127.0.0.1"), flush=True)
    publisher.recv()  # the subscription
    for _ in range(count):
        publisher.send(msgpack.packb(MESSAGE))
    sys.stdin.read()  # until the parent has them all
    context.destroy(linger=0)


def published(count: int) -> float:
    """Return how many messages per second reach a subscriber, each packed and unpacked."""
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.raw", "publish", str(count)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None and server.stdin is not None
    context = zmq.Context()
    try:
        subscriber = context.socket(zmq.SUB)
        subscriber.subscribe(b"")
        subscriber.connect(f"tcp://127.0.0.1:{int(server.stdout.readline())}")
        msgpack.unpackb(subscriber.recv())
        started = time.perf_counter()
        for _ in range(count - 1):
            msgpack.unpackb(subscriber.recv())
        return (count - 1) / (time.perf_counter() - started)
    finally:
        context.destroy(linger=0)
        server.stdin.close()
        server.wait(5)


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
    if sys.argv[1:2] == ["publish"]:
        publish(int(sys.argv[2]))
    else:
        serve()
