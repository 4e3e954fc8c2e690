"""A program of the tests: a host whose loop stands still for seconds when it is asked to."""

from __future__ import annotations

import asyncio
import sys
import threading

from mesh.message import Event, Reply, Request, decode
from mesh.transport.keys import KeyPair
from mesh.transport.link import Peer
from tests.transport import ends


def stand_still(seconds: float) -> None:
    """Keep the loop from turning, as a blocking library would."""
    print("standing still", flush=True)
    threading.Event().wait(seconds)
    print("going on", flush=True)


async def obey(request: Request) -> Reply:
    """Stand still for the seconds that are the argument, if it is a number."""
    value = decode(request.body)
    if isinstance(value, float):
        stand_still(value)
    return Reply(request.body)


async def listen(public: str, secret: str, caller: str) -> None:
    """Print the endpoint, then answer until killed."""
    ends.ALLOW[caller.encode()] = "pc2"
    print(ends.Host("mainpc", obey, key=KeyPair(public, secret)).listen(), flush=True)
    await asyncio.Event().wait()


async def dial(endpoint: str, callee: str, public: str, secret: str) -> None:
    """Connect, and stand still for the seconds that are the payload of an event."""
    host = ends.Host("pc2", key=KeyPair(public, secret))

    def hear(event: Event, peer: str) -> None:
        if isinstance(value := event.value(), float):
            stand_still(value)

    object.__setattr__(host.pool._callbacks, "event", hear)
    host.pool.connect(Peer("mainpc", endpoint, callee))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run((listen if sys.argv[1] == "listen" else dial)(*sys.argv[2:]))
