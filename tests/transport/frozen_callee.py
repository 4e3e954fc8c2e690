"""A program of the tests: a host that answers each call with all it was ever asked, to be stopped with a signal."""

from __future__ import annotations

import asyncio
import sys

from mesh.message import Reply, Request, decode, encode
from mesh.transport.keys import KeyPair
from tests.transport import ends

asked: list[object] = []


async def note(request: Request) -> Reply:
    """Remember what was asked; this is what must not happen to a call that has expired."""
    asked.append(decode(request.body))
    return Reply(encode(asked))


async def main(public: str, secret: str, caller: str) -> None:
    """Print the endpoint, then answer until killed."""
    ends.ALLOW[caller.encode()] = "pc2"
    host = ends.Host("mainpc", note, key=KeyPair(public, secret))
    print(host.listen(), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
