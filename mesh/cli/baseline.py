"""The baseline of every benchmark, `raw`: pyzmq alone, a blocking DEALER and ROUTER in two processes over TCP loopback,
msgpack of a map of 100 bytes each way. `python -m mesh.cli.baseline` answers, on the port that it prints.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator

import msgpack
import zmq

MESSAGE = {"text": "x" * 76, "number": 1}


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


class Raw:
    """The client's side of the baseline, while its server runs."""

    def __init__(self, dealer: zmq.Socket[bytes], core: int | None) -> None:
        self._dealer = dealer
        self._core = core

    def calls_per_second(self, calls: int, outstanding: int = 64) -> float:
        """Make `calls` calls, `outstanding` at a time."""
        with placed(self._core):
            return calls / _exchange(self._dealer, calls, outstanding)

    def latencies(self, calls: int) -> list[float]:
        """Return what calls took that were made one at a time, in seconds and ascending."""
        latencies = []
        with placed(self._core):
            for _ in range(calls):
                began = time.perf_counter()
                _exchange(self._dealer, 1, 1)
                latencies.append(time.perf_counter() - began)
        return sorted(latencies)

    def p50(self, calls: int) -> float:
        """Return the median latency in seconds of calls made one at a time."""
        return self.latencies(calls)[calls // 2]

    def offered(self, rate: float, seconds: float, tick: float) -> tuple[list[float], float]:
        """Make `rate` calls a second whatever the answers do, those of a tick together; returns the latencies in
        seconds, each counted from the tick in which its call was due, and the seconds until the last answer."""
        due, began = deque[float](), time.perf_counter()
        sent, total = 0, int(rate * seconds)
        latencies: list[float] = []
        with placed(self._core):
            while len(latencies) < total:
                now = time.perf_counter() - began
                while sent < total and sent < (now // tick + 1) * tick * rate:
                    self._dealer.send(msgpack.packb(MESSAGE))
                    due.append(sent / rate // tick * tick)
                    sent += 1
                left = (now // tick + 1) * tick - now
                if self._dealer.poll(max(1, round(left * 1000)) if sent < total else 1000):
                    while (message := _arrived(self._dealer)) is not None:
                        msgpack.unpackb(message)
                        latencies.append(time.perf_counter() - began - due.popleft())
        return latencies, time.perf_counter() - began


@contextlib.contextmanager
def running(cores: tuple[int, int] | None = None) -> Iterator[Raw]:
    """Run a server in a process of its own; with `cores` client and server have one each."""
    # the child pins itself, before it has threads
    server = subprocess.Popen([sys.executable, "-m", "mesh.cli.baseline", *([str(cores[1])] if cores else [])],
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
        server.stdout.close()


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
    if sys.argv[1:]:
        os.sched_setaffinity(0, {int(sys.argv[1])})
    serve()
