"""Both ends of real connections: hosts with a listener and a pool each, and bare sockets that a test drives by hand."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec

import zmq

from mesh import wire
from mesh.clock import Clock
from mesh.errors import MeshError, Unreachable
from mesh.message import Event, Handler, Reply, Request, decode, encode, replied
from mesh.metrics import Traffic
from mesh.tracing import Trace
from mesh.transport import profile
from mesh.transport.deadlines import Deadlines
from mesh.transport.heartbeat import Heartbeat
from mesh.transport.keys import KeyPair
from mesh.transport.link import Link, LinkCallbacks, Peer
from mesh.transport.listener import Listener, ListenerCallbacks
from mesh.transport.pending import Pending
from mesh.transport.pool import Pool
from mesh.transport.session import Session
from tests.eventually import eventually
from tests.transport.resources import nothing_left

MESH = "home"
ANYWHERE = "tcp://127.0.0.1:*"
P = ParamSpec("P")


def pair() -> KeyPair:
    """Return a fresh key pair."""
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


KEYS: Mapping[str, KeyPair] = {name: pair() for name in ("mainpc", "pc2", "pc3", "operator", "stranger")}
ALLOW = {KEYS[name].public.encode(): name for name in ("mainpc", "pc2", "pc3", "operator")}


def on_a_loop(scenario: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an asynchronous test on a loop of its own, within 30 s, and see that nothing of it is left."""

    @wraps(scenario)
    def run(*fixtures: P.args, **named: P.kwargs) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(90):
                await scenario(*fixtures, **named)

        with nothing_left():
            asyncio.run(bounded())

    return run


async def echo(request: Request) -> Reply:
    """Answer with the arguments."""
    return Reply(request.body)


def ask(value: Any = None, *, target: str = "kb.echo", timeout: float = 5.0, caller: str = "nlu@pc2",
        clock: Clock | None = None) -> Request:
    """Return a request as a client makes it."""
    service, _, operation = target.partition(".")
    deadline = (clock or Clock()).monotonic() + timeout
    return Request(service, operation, encode(value), deadline, Trace.new(), caller)


def outcome(caller: Host, request: Request, to: str = "mainpc") -> asyncio.Future[Reply]:
    """Begin a call; what it ends with comes later."""
    return asyncio.ensure_future(replied(caller.pool.exchange(request, to)))


def unreachable(reply: Reply) -> tuple[str, str]:
    """Return (began, message) of a reply that must be `Unreachable`."""
    assert type(reply.error) is Unreachable, reply
    return reply.error.details["began"], reply.error.message


class Host:
    """What the transport of one host is: a listener, a pool, and what both of them told."""

    def __init__(
        self, name: str, handler: Handler = echo, *, mesh: str = MESH, incarnation: int = 1, clock: Clock | None = None,
        key: KeyPair | None = None, secure: bool = True, kind: wire.PeerKind = "host",
    ) -> None:
        self.name = name
        self.clock = clock or Clock()
        self.key = key or KEYS[name]
        self._own = self.key if secure else None
        self.hello = wire.Hello(mesh, kind, name, incarnation, (), "test")
        self.traffic = Traffic()
        self.endpoint = ""
        self._folder = tempfile.TemporaryDirectory(prefix="mesh-")
        self.cells = f"{self._folder.name}/cells"
        self.sessions: list[tuple[str, bool]] = []
        self.heartbeats: list[tuple[str, int, bytes]] = []
        self.links: list[tuple[str, bool, str]] = []
        self.events: list[Event] = []
        self.lost: list[tuple[str, int]] = []
        self.troubles: list[str] = []
        self.refuses: MeshError | None = None
        self.context = profile.new_context()
        self.heartbeat = Heartbeat(self.context, ALLOW, clock=Clock(), on_refused=lambda *_: None)
        self.heartbeat.start()
        self.deadlines = Deadlines(self.clock)
        self.pending = Pending(self.deadlines)
        self._handler = handler
        self.listener = self._new_listener()
        self.pool = Pool(
            self.context, self._own, lambda: self.hello, self.pending,
            LinkCallbacks(lambda *what: self.links.append(what), lambda event, _: self.events.append(event),
                          lambda *what: self.lost.append(what), lambda _, text: self.troubles.append(text)),
            self.clock, self.traffic, handler if kind == "cell" else None,
        )

    @property
    def peer(self) -> Peer:
        """Where this host listens, for a pool to dial."""
        return Peer(self.name, self.endpoint, self._own.public if self._own else None)

    @property
    def door(self) -> Peer:
        """Where this host listens for its cells."""
        return Peer(self.name, f"ipc://{self.cells}")

    def _new_listener(self) -> Listener:
        return Listener(
            self.context, self._own, lambda: self.hello, self._handler,
            ListenerCallbacks(self._session, self._beat, lambda _, text: self.troubles.append(text), self._cell,
                              lambda _, event: self.events.append(event)),
            self.clock, self.traffic, self.pending,
        )

    def _session(self, session: Session, up: bool) -> None:
        if up and self.refuses is not None:
            raise self.refuses
        self.sessions.append((session.peer, up))

    def _cell(self, hello: wire.Hello) -> None:
        """Let every cell in."""

    def _beat(self, session: Session, age_ms: int, inventory: bytes) -> None:
        self.heartbeats.append((session.peer, age_ms, inventory))

    def listen(self, endpoint: str = ANYWHERE) -> str:
        """Open the listener."""
        self.endpoint = self.listener.bind(endpoint, self.cells)
        return self.endpoint

    def deafen(self) -> None:
        """Close the listener; a later `listen` opens a new one."""
        self.listener.close()
        self.listener = self._new_listener()

    def become(self, **changes: Any) -> None:
        """Say something else of this host in the next greeting."""
        self.hello = replace(self.hello, **changes)

    def dial(self, other: Host, **changes: Any) -> Link:
        """Connect to another host, or to what `changes` of its `Peer` say."""
        at = other.door if self.hello.kind == "cell" else other.peer
        return self.pool.connect(replace(at, **changes))

    async def join(self, other: Host) -> Link:
        """Connect to another host and wait for its welcome."""
        link = self.dial(other)
        await eventually(lambda: link.state == "up")
        return link

    async def call(self, host: str, value: Any = None, **how: Any) -> Any:
        """Call `kb.echo` (or another target) on a host and return the value; raises its error."""
        return (await replied(self.pool.exchange(ask(value, clock=self.clock, **how), host))).value()

    def session_of(self, peer: str) -> Session:
        """Return the one session of a peer."""
        found = [session for session in self.listener.sessions.values() if session.peer == peer]
        assert len(found) == 1, found
        return found[0]

    def close(self) -> None:
        """Close everything."""
        self.pool.close()
        self.listener.close()
        self.deadlines.close()
        self.heartbeat.stop()
        self.context.term()
        self._folder.cleanup()


@asynccontextmanager
async def host(name: str, handler: Handler = echo, *, listens: bool = True, **how: Any) -> AsyncIterator[Host]:
    """Give a host that listens."""
    it = Host(name, handler, **how)
    try:
        if listens:
            it.listen()
        yield it
    finally:
        it.close()


@asynccontextmanager
async def two_hosts(handler: Handler = echo, **how: Any) -> AsyncIterator[tuple[Host, Host]]:
    """Give mainpc, which listens, and pc2, which is connected to it."""
    async with host("mainpc", handler, **how) as callee, host("pc2") as caller:
        await caller.join(callee)
        yield callee, caller


class RawDealer:
    """The dialling end without the mesh's own code: sends what a test gives it, keeps what comes."""

    def __init__(self, to: Peer, name: str = "pc2", *, high_water: int | None = None) -> None:
        self.context = profile.new_context()
        self.socket = profile.dealer(self.context, own=KEYS[name], server_key=to.key)
        if high_water is not None:  # with heartbeats as well, libzmq may abort this process when the connection ends
            self.socket.setsockopt(zmq.HEARTBEAT_IVL, 0)
            self.socket.setsockopt(zmq.RCVHWM, high_water)
            self.socket.setsockopt(zmq.RCVBUF, 8192)
        self.monitor = profile.monitor(self.socket, zmq.EVENT_DISCONNECTED)
        self.name = name
        self.heard: list[wire.Envelope] = []
        self.frames: list[wire.Frame] = []
        self.socket.connect(to.endpoint)

    async def send(self, *envelopes: wire.Packed, stamp: int | None = None) -> None:
        """Send one frame as soon as the connection takes it."""
        stamp = int(Clock().monotonic() * 1000) if stamp is None else stamp
        await self.send_bytes(wire.frame(stamp, 0, list(map(bytes, envelopes))))

    async def send_bytes(self, *parts: bytes) -> None:
        """Send any bytes as one message."""
        await eventually(lambda: self.socket.poll(0, zmq.POLLOUT))
        self.socket.send_multipart(parts, zmq.DONTWAIT)

    async def greet(self, kind: wire.PeerKind = "host", *, mesh: str = MESH, host: str = "", incarnation: int = 1,
                    interest: tuple[str, ...] = (), stamp: int | None = None) -> wire.Envelope:
        """Say hello and return the answer."""
        await self.send(wire.hello(wire.Hello(mesh, kind, host or self.name, incarnation, interest)), stamp=stamp)
        return await self.next()

    async def next(self) -> wire.Envelope:
        """Return the next envelope that comes."""
        seen = len(self.heard)
        await eventually(lambda: len(self.read()) > seen)
        return self.heard[seen]

    def read(self) -> list[wire.Envelope]:
        """Take every frame that waits; returns all envelopes so far."""
        while True:
            try:
                data = self.socket.recv(zmq.DONTWAIT)
            except zmq.Again:
                return self.heard
            self.frames.append(wire.decode_frame(data))
            self.heard += self.frames[-1].envelopes

    def of_kind(self, kind: int) -> list[wire.Envelope]:
        """Return every envelope of one kind that has come."""
        return [envelope for envelope in self.read() if envelope[0] == kind]

    @property
    def closed_by_peer(self) -> bool:
        """Tell whether the connection was ended from the other side."""
        return any(True for _ in profile.happenings(self.monitor))

    def close(self) -> None:
        """Close the connection."""
        self.monitor.close()
        self.socket.close()
        self.context.term()


@asynccontextmanager
async def raw_dealer(to: Host | Peer, name: str = "pc2", **how: Any) -> AsyncIterator[RawDealer]:
    """Give a bare dialling end, on its way to a host."""
    it = RawDealer(to if isinstance(to, Peer) else to.peer, name, **how)
    try:
        yield it
    finally:
        it.close()


class RawRouter:
    """The listening end without the mesh's own code, locked like a host's; answers what a test has it answer."""

    def __init__(self, name: str = "mainpc", *, endpoint: str = ANYWHERE) -> None:
        self.name = name
        self.key = KEYS[name]
        self.context = profile.new_context()
        self.heartbeat = Heartbeat(self.context, ALLOW, clock=Clock(), on_refused=lambda *_: None)
        self.heartbeat.start()
        self.socket = profile.router(self.context, own=self.key)
        self.socket.bind(endpoint)
        self.endpoint = profile.bound_to(self.socket)
        self.heard: list[tuple[bytes, wire.Envelope]] = []
        self.sizes: list[int] = []

    @property
    def peer(self) -> Peer:
        """Where this end listens, for a pool to dial."""
        return Peer(self.name, self.endpoint, self.key.public)

    async def next(self) -> tuple[bytes, wire.Envelope]:
        """Return routing id and envelope of what comes next."""
        seen = len(self.heard)
        await eventually(lambda: len(self.read()) > seen)
        return self.heard[seen]

    def read(self) -> list[tuple[bytes, wire.Envelope]]:
        """Take every frame that waits; returns all envelopes so far."""
        while True:
            try:
                routing_id, data = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return self.heard
            envelopes = wire.decode_frame(data).envelopes
            self.sizes.append(len(envelopes))
            self.heard += [(routing_id, envelope) for envelope in envelopes]

    def of_kind(self, kind: int) -> list[wire.Envelope]:
        """Return every envelope of one kind that has come."""
        return [envelope for _, envelope in self.read() if envelope[0] == kind]

    def tell(self, routing_id: bytes, *envelopes: wire.Packed, lost: int = 0) -> None:
        """Send one frame to a connection."""
        self.tell_bytes(routing_id, wire.frame(int(Clock().monotonic() * 1000), lost, list(map(bytes, envelopes))))

    def tell_bytes(self, routing_id: bytes, *parts: bytes) -> None:
        """Send any bytes to a connection."""
        self.socket.send_multipart([routing_id, *parts], zmq.DONTWAIT)

    async def welcome(self, **changes: Any) -> bytes:
        """Wait for a hello and welcome it; returns the routing id of the connection."""
        routing_id, envelope = await self.next()
        assert envelope[0] == wire.HELLO, envelope
        self.tell(routing_id, wire.welcome(replace(wire.Hello(MESH, "host", self.name, 1), **changes)))
        return routing_id

    def close(self) -> None:
        """Close every connection."""
        self.socket.close()
        self.heartbeat.stop()
        self.context.term()


@asynccontextmanager
async def raw_router(name: str = "mainpc", **how: Any) -> AsyncIterator[RawRouter]:
    """Give a bare listening end."""
    it = RawRouter(name, **how)
    try:
        yield it
    finally:
        it.close()


def value_of(envelope: wire.Envelope) -> Any:
    """Return the decoded body of an envelope."""
    return decode(envelope[-1])
