"""A program of the tests: a host that calls all the time and has little patience, to be stopped with a signal."""

from __future__ import annotations

import asyncio
import sys

from mesh.message import replied
from mesh.transport.keys import KeyPair
from mesh.transport.link import Peer
from tests.transport import ends

PATIENCE = 0.1
AT_ONCE = 8


async def call_for_ever(host: ends.Host) -> None:
    """Call again as soon as the last call has ended, however it did; the argument is when the caller gives up.

    The monotonic clock is the machine's, so the callee can compare.
    """
    while True:
        until = host.clock.monotonic() + PATIENCE
        await replied(host.pool.exchange(ends.ask(until, timeout=PATIENCE), "mainpc"))
        await host.clock.sleep(0.002)


async def main(endpoint: str, callee: str, public: str, secret: str) -> None:
    """Call until killed."""
    host = ends.Host("pc2", key=KeyPair(public, secret))
    host.pool.connect(Peer("mainpc", endpoint, callee))
    await asyncio.gather(*(call_for_ever(host) for _ in range(AT_ONCE)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
