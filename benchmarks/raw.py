"""The baseline `raw`: pyzmq, blocking DEALER and ROUTER over TCP loopback in two processes, msgpack each way.

`python -m benchmarks.raw serve` answers, on the port that it prints; `running` starts it. The baseline of
streams is PUB and SUB in the same way: `python -m benchmarks.raw publish COUNT`, read by `published`. The publisher
waits when its queue is full instead of dropping, for a stream loses nothing either.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
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


class Raw:
    """The client's side of the baseline, while its server runs."""

    def __init__(self, dealer: zmq.Socket[bytes], core: int | None) -> None:
        self._dealer = dealer
        self._core = core

    def calls_per_second(self, calls: int, outstanding: int = 64) -> float:
        """Make `calls` calls, `outstanding` at a time."""
        with placed(self._core):
            return calls / _exchange(self._dealer, calls, outstanding)

    def p50(self, calls: int) -> float:
        """Return the median latency in seconds of calls made one at a time."""
        latencies = []
        with placed(self._core):
            for _ in range(calls):
                began = time.perf_counter()
                _exchange(self._dealer, 1, 1)
                latencies.append(time.perf_counter() - began)
        return sorted(latencies)[calls // 2]

    def offered(self, rate: float, seconds: float, tick: float) -> list[float]:
        """Make `rate` calls a second whatever the answers do, those of a tick together; returns the latencies in
        seconds, each counted from the tick in which its call was due."""
        due, began = deque[float](), time.perf_counter()
        sent, total = 0, int(rate * seconds)
        latencies: list[float] = []
        with placed(self._core):
            while len(latencies) < total:
                now = time.perf_counter() - began
                while sent < total and sent < (now // tick + 1) * tick * rate:
                    self._dealer.send(msgpack.packb(MESSAGE))
                    due.append(now // tick * tick)
                    sent += 1
                left = (now // tick + 1) * tick - now
                if self._dealer.poll(max(1, round(left * 1000)) if sent < total else 1000):
                    while (message := _arrived(self._dealer)) is not None:
                        msgpack.unpackb(message)
                        latencies.append(time.perf_counter() - began - due.popleft())
        return latencies


@contextlib.contextmanager
def running(cores: tuple[int, int] | None = None) -> Iterator[Raw]:
    """Run a server in a process of its own; with `cores` client and server have one each."""
    # the child pins itself, before it has threads
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.raw", "serve", *([str(cores[1])] if cores else [])],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None and server.stdin is not None
    core = cores[0] if cores else None
    with placed(core):  # libzmq's thread is where the one is that makes it
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
    try:
        dealer.connect(f"tcp://127.0.0.1:{int(server.stdout.readline())}")
        _exchange(dealer, 1000, 64)
        yield Raw(dealer, core)
    finally:
        context.destroy(linger=0)
        server.stdin.close()
        server.wait(5)


@contextlib.contextmanager
def placed(core: int | None) -> Iterator[None]:
    """Keep this thread, and those it makes, on one core for a while; None leaves it where it is."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measure(calls: int, alone: int) -> RawFigures:
    """Return the figures of `calls` calls at 64 outstanding and `alone` calls one at a time."""
    with running() as raw:
        return RawFigures(raw.calls_per_second(calls), raw.p50(alone))


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


def _arrived(dealer: zmq.Socket[bytes]) -> bytes | None:
    try:
        return dealer.recv(zmq.NOBLOCK)
    except zmq.Again:
        return None


if __name__ == "__main__":
    if sys.argv[1:2] == ["publish"]:
        publish(int(sys.argv[2]))
    else:
        if sys.argv[2:]:
            os.sched_setaffinity(0, {int(sys.argv[2])})
        serve()
