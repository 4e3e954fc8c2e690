"""The baselines: `raw` of calls, which comes with the mesh (`mesh/cli/baseline.py`), and `raw` of streams.

The latter is PUB and SUB in the same way: `python -m benchmarks.raw publish COUNT`, read by `published`. The publisher
waits when its queue is full instead of dropping, for a stream loses nothing either.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass

import msgpack
import zmq

from mesh.cli.baseline import MESSAGE, Raw, running

__all__ = ["MESSAGE", "Raw", "RawFigures", "measure", "publish", "published", "running"]


@dataclass(frozen=True)
class RawFigures:
    """Calls per second at 64 outstanding, and the median latency in seconds of a lone call."""

    calls_per_second: float
    p50: float


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
        server.stdout.close()


def measure(calls: int, alone: int) -> RawFigures:
    """Return the figures of `calls` calls at 64 outstanding and `alone` calls one at a time."""
    with running() as raw:
        return RawFigures(raw.calls_per_second(calls), raw.p50(alone))


if __name__ == "__main__":
    publish(int(sys.argv[2]))
