"""How every socket of the mesh is set up and watched, and the one Context of a process.

Rules this file holds to:
- Options are set before bind or connect; libzmq ignores most of them afterwards.
- A routing id names one connection: 16 fresh random bytes, so that nobody can guess or claim another's.
- The C library's random numbers are seeded before the first socket exists: a ROUTER starts the ids it gives to nameless
  peers at `rand()`, and libzmq aborts the process when a client claims the one it would hand out next.
- libzmq's I/O thread waits for a monitor that nobody reads. So a monitor has no bound, and it is ended before either
  socket of it closes: a full or forsaken one stops every link of the process, ZMTP heartbeats included.
- What is received has no bound (RCVHWM 0). With one, a loop that stands still lets the queue of a peer fill up, and
  then libzmq stops reading: heartbeats go unanswered, so a host that is merely busy loses its links; and if that peer
  dies before the next heartbeat leaves, libzmq 4.3.5 aborts this process (`!_io_error`, its issue 4364). To do without
  heartbeats, or to go by the TTL of the peer's, does not do: any other message calls the TTL off. What a peer may
  have unread here is bounded at its own end instead (`owed_bytes` in `exchange`).
"""

from __future__ import annotations

import ctypes
import itertools
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Literal, TypeAlias

import zmq

from mesh.transport.heap import keep_heap
from mesh.transport.keys import KeyPair

Context: TypeAlias = "zmq.Context[zmq.Socket[bytes]]"
Socket: TypeAlias = "zmq.Socket[bytes]"  # what callers see; the Context makes `WatchableSocket`s
Kind = Literal["router", "dealer", "xpub"]

ZAP_DOMAIN = b"mesh"
MAX_SOCKETS = 4096
MAX_FRAME = 1024 * 1024
MAX_SUBSCRIPTION = 1024

_BEATING: Mapping[int, int] = {zmq.HEARTBEAT_IVL: 500, zmq.HEARTBEAT_TIMEOUT: 2000, zmq.HEARTBEAT_TTL: 2000}
_EVERY: Mapping[int, int] = {
    zmq.LINGER: 0,
    zmq.SNDHWM: 64,
    zmq.RCVHWM: 0,
    **_BEATING,
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 30,
    zmq.TCP_KEEPALIVE_INTVL: 5,
    zmq.TCP_KEEPALIVE_CNT: 3,
    zmq.HANDSHAKE_IVL: 3000,
    zmq.CONNECT_TIMEOUT: 2000,
    zmq.MAXMSGSIZE: MAX_FRAME,
}
_OF_KIND: Mapping[Kind, Mapping[int, int]] = {
    "router": {zmq.ROUTER_MANDATORY: 1, zmq.ROUTER_HANDOVER: 0},
    "dealer": {zmq.IMMEDIATE: 1, zmq.RECONNECT_IVL: -1},
    # readers send nothing but subscriptions, so 1 KiB is plenty and a longer frame ends the connection
    "xpub": {zmq.SNDHWM: 1000, zmq.XPUB_NODROP: 0, zmq.XPUB_VERBOSER: 1, zmq.MAXMSGSIZE: MAX_SUBSCRIPTION},
}
_TYPES: Mapping[Kind, int] = {"router": zmq.ROUTER, "dealer": zmq.DEALER, "xpub": zmq.XPUB}
_monitors = itertools.count(1)


def new_context() -> Context:
    """Return the Context of this process; call it once, in the thread that will open the listener."""
    _seed_random()
    keep_heap()
    context: Context = MeshContext()
    context.linger = 0
    context.set(zmq.MAX_SOCKETS, MAX_SOCKETS)
    return context


def router(context: Context, *, own: KeyPair | None) -> Socket:
    """Return a ROUTER ready to bind, closed to strangers if `own` is given."""
    return _server(context, "router", own)


def xpub(context: Context, *, own: KeyPair | None) -> Socket:
    """Return an XPUB ready to bind, closed to strangers if `own` is given."""
    return _server(context, "xpub", own)


def dealer(context: Context, *, own: KeyPair | None, server_key: str | None) -> Socket:
    """Return a DEALER ready for its one connection; with both keys it shows `own` and accepts only `server_key`."""
    socket: Socket = context.socket(_TYPES["dealer"])
    apply(socket, "dealer")
    if own is not None and server_key is not None:
        unlock(socket, own, server_key)
    return socket


def apply(socket: Socket, kind: Kind) -> None:
    """Set the options of the mesh on a new socket; a dealer also gets a routing id of its own."""
    for option, value in {**_EVERY, **_OF_KIND[kind]}.items():
        socket.setsockopt(option, value)
    if kind == "dealer":
        socket.setsockopt(zmq.ROUTING_ID, new_routing_id())
    if isinstance(socket, WatchableSocket):
        socket.exposed = True


def still(socket: Socket, silent: bool = True) -> None:
    """Have what a socket binds or connects from here on do without heartbeats, or with them again.

    Between processes of one machine the kernel tells of an end at once; a heartbeat could only take one that was
    stopped for a while, or a machine that slept, for dead.
    """
    for option, value in _BEATING.items():
        socket.setsockopt(option, 0 if silent else value)


def new_routing_id() -> bytes:
    """Return 16 random bytes for one connection; never log or send them, never use them twice."""
    return bytes((1 + secrets.randbelow(255),)) + secrets.token_bytes(15)  # ids that begin with zero are libzmq's own


def lock(socket: Socket, own: KeyPair) -> None:
    """Make a socket that will bind accept only CURVE clients whom the ZAP handler knows."""
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, own.secret.encode())
    socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)


def unlock(socket: Socket, own: KeyPair, server_key: str) -> None:
    """Make a socket that will connect show `own` and accept only the server that holds `server_key`."""
    socket.setsockopt(zmq.CURVE_PUBLICKEY, own.public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, own.secret.encode())
    socket.setsockopt(zmq.CURVE_SERVERKEY, server_key.encode())


class WatchableSocket(zmq.Socket[bytes]):
    """A socket that ends its monitor before it closes."""

    watched = False
    exposed = False

    def close(self, linger: int | None = None) -> None:
        """End the monitor, if there is one, then the socket."""
        self.unwatch()
        super().close(linger)

    def unwatch(self) -> None:
        """End the monitor, if there is one."""
        if self.watched and not self.closed:
            self.watched = False
            with suppress(zmq.ZMQError):  # a terminated Context has ended it already
                self.disable_monitor()


class Monitor(zmq.Socket[bytes]):
    """The reading end of a monitor; it may close before or after the socket it watches."""

    of: WatchableSocket | None = None

    def close(self, linger: int | None = None) -> None:
        """End the monitor, then this end of it."""
        if self.of is not None:
            self.of.unwatch()
            self.of = None
        super().close(linger)


class MeshContext(zmq.Context[zmq.Socket[bytes]]):
    """A Context whose sockets can be watched without danger."""

    _socket_class = WatchableSocket


def bound_to(socket: Socket) -> str:
    """Return the endpoint a socket was bound to last, with its real port."""
    endpoint = socket.get(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    return endpoint.rstrip(b"\0").decode()


def census(context: Context) -> tuple[int, int]:
    """Return how many open sockets of a Context face the network, and how many serve inside the process."""
    opened = [socket for socket in list(context._sockets) if not socket.closed]
    facing = sum(1 for socket in opened if getattr(socket, "exposed", False))
    return facing, len(opened) - facing


def monitor(socket: Socket, events: int) -> Monitor:
    """Return what tells of `events` (zmq.EVENT_... flags) of a socket that `new_context()`'s Context made."""
    assert isinstance(socket, WatchableSocket)
    endpoint = f"inproc://mesh.monitor.{next(_monitors)}"
    reader: Monitor = socket.context.socket(zmq.PAIR, socket_class=Monitor)
    reader.setsockopt(zmq.RCVHWM, 0)
    socket.monitor(endpoint, events)
    socket.watched = True
    reader.connect(endpoint)
    reader.of = socket
    return reader


def happenings(reader: Socket) -> Iterator[tuple[int, int]]:
    """Yield event and value of everything a monitor has to tell now; the value is a descriptor or an error number."""
    while True:
        try:
            head = reader.recv_multipart(zmq.DONTWAIT)[0]
        except zmq.Again:
            return
        yield int.from_bytes(head[:2], sys.byteorder), int.from_bytes(head[2:6], sys.byteorder)


def _server(context: Context, kind: Kind, own: KeyPair | None) -> Socket:
    socket: Socket = context.socket(_TYPES[kind])
    apply(socket, kind)
    if own is not None:
        lock(socket, own)
    return socket


def _seed_random() -> None:
    library = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)
    library.srand(int.from_bytes(os.urandom(4), sys.byteorder))
