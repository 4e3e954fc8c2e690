"""A ZeroMQ socket on the event loop, driven from its descriptor.

The descriptor only says that something may have changed: after every wake-up and after every send the socket must be
read until it is empty, or its EVENTS looked at, else a message can lie there unnoticed. `zmq.asyncio` keeps the same
rule at several times the cost, a future for each message.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping

import zmq

from mesh.errors import UsageError

TURN_ENVELOPES = 256
TURN_SECONDS = 0.002


def fastest_loop(environ: Mapping[str, str] = os.environ) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes uvloop's event loop if the extra `fast` is installed, asyncio's otherwise; `MESH_LOOP` names
    one of the two. Raises `UsageError` for a name that is neither, and for uvloop without the extra."""
    asked = environ.get("MESH_LOOP", "")
    if asked not in ("", "uvloop", "asyncio"):
        raise UsageError(f"MESH_LOOP is {asked!r}; there are `uvloop` and `asyncio`")
    if asked == "asyncio":
        return asyncio.new_event_loop
    try:
        from uvloop import new_event_loop  # an optional extra
    except ImportError:
        if asked:
            raise UsageError("MESH_LOOP asks for uvloop, which is not installed; pip install 'mesh[fast]'") from None
        return asyncio.new_event_loop
    made: Callable[[], asyncio.AbstractEventLoop] = new_event_loop
    return made


class LoopSocket:
    """Calls `drain` whenever the socket may hold something; `drain` returns True if it stopped before the end."""

    def __init__(self, socket: zmq.Socket[bytes], drain: Callable[[], bool]) -> None:
        self.socket = socket
        self._drain = drain
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._closed = False
        self._descriptor = socket.fileno()
        self._loop.add_reader(self._descriptor, self._wake)
        self.look()

    def look(self) -> None:
        """Read soon, whatever the descriptor says."""
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self._loop.call_soon(self._wake_again)

    def sent(self) -> None:
        """Say that a send was tried: that may have swallowed the descriptor's signal, also if it did not succeed."""
        if not self._closed and int(self.socket.get(zmq.EVENTS)) & zmq.POLLIN:
            self.look()

    def close(self, linger: int = 0) -> None:
        """Take the socket off the loop and close it; what was sent may still leave for `linger` milliseconds."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._descriptor)
            self.socket.close(linger=linger)

    def _wake_again(self) -> None:
        self._scheduled = False
        self._wake()

    def _wake(self) -> None:
        if self._closed:
            return
        unfinished = True
        try:
            unfinished = self._drain()
        finally:  # also when somebody who was told of a message raised: the rest would lie there unnoticed
            if unfinished:
                self.look()
