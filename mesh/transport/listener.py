"""The socket others connect to: knows each connection by its session, answers calls, pushes events.

Who a peer is comes from its hello alone, checked against the key that ZAP accepted for that very connection; later
frames are looked up by routing id. A frame from a connection without a session is answered RESET and never executed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import zmq

from mesh import wire
from mesh.clock import Clock
from mesh.errors import MeshError, PermissionDenied, ProtocolError, StartError, Unavailable
from mesh.message import Event, Responder
from mesh.metrics import BOTH, Sample, Traffic, counter, gauge
from mesh.transport import profile
from mesh.transport.descriptor import hang_up, peer_address, within_machine
from mesh.transport.fanout import Fanout
from mesh.transport.keys import KeyPair
from mesh.transport.loop import TURN_ENVELOPES, TURN_SECONDS, LoopSocket
from mesh.transport.pending import Pending
from mesh.transport.session import Session
from mesh.wire import Hello, PeerKind

SESSIONS_OPEN = gauge("mesh_sessions", "Connections that others have opened to this process.", "kind", programs=BOTH)
WAITING = gauge("mesh_session_outbox_bytes", "What waits to leave for a peer that connected.", "peer", programs=BOTH)
STREAMS = gauge("mesh_session_streams", "Streams that are read and sent over a peer's connections.", "peer",
                programs=BOTH)
DROPPED = counter(
    "mesh_events_dropped_total",
    "Events that never left for a peer: it took too little and the oldest made room, or its connection ended.",
    programs=BOTH,
)
REFUSED = counter("mesh_greetings_refused_total", "Connections refused for what they said they were.", programs=BOTH)

LINGER = 200
SESSIONS_PER_PEER = 64
SESSIONS = 1024

# A connection that ends before its handshake is not worth a word: the registry's own probe of a lost host is one.
_MONITORED = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL


@dataclass(frozen=True, slots=True)
class ListenerCallbacks:
    """Whom a listener tells what: a session that came or went, a heartbeat, trouble worth an admin's eye.

    `session` may raise a `MeshError` for one that came: it is refused with that reason. `cell` raises one for a
    connection that is no cell of this host's; without it nothing is. `event` takes what a cell publishes.
    """

    session: Callable[[Session, bool], None]
    heartbeat: Callable[[Session, int, bytes], None]
    trouble: Callable[[str, str], None]
    cell: Callable[[Hello], None] | None = None
    event: Callable[[Session, Event], None] | None = None


class Listener:
    """One ROUTER and its sessions; with `pending`, those of cells can be called."""

    def __init__(
        self, context: profile.Context, own: KeyPair | None, identity: Callable[[], Hello],
        handler: Responder, callbacks: ListenerCallbacks, clock: Clock, traffic: Traffic,
        pending: Pending | None = None,
    ) -> None:
        self.sessions: dict[bytes, Session] = {}
        self._fanout = Fanout(self.sessions.values, traffic)
        self.accepting = True
        self.refused = 0
        self._context = context
        self._own = own
        self._identity = identity
        self._handler = handler
        self._callbacks = callbacks
        self._clock = clock
        self._traffic = traffic
        self._pending = pending
        self._router: LoopSocket | None = None
        self._monitor: LoopSocket | None = None
        self._open: set[int] = set()
        self._seen = 0.0
        self._port = 0
        self._path = ""

    def bind(self, endpoint: str, cells: str = "") -> str:
        """Listen at `endpoint` and return it with the real port; raises `StartError` if that cannot be.

        `cells` is the path of a socket in a folder that nobody else may enter: for the cells of this host alone.
        """
        socket = profile.router(self._context, own=None)
        monitor = profile.monitor(socket, _MONITORED)
        try:
            if cells:
                profile.still(socket)
                socket.bind(f"ipc://{cells}")
                profile.still(socket, False)
            if self._own is not None:
                profile.lock(socket, self._own)  # counts for what is bound from here on
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            socket.close(linger=0)
            monitor.close(linger=0)
            raise StartError(
                f"cannot listen at {endpoint}: {error.strerror}; another mesh or program may hold the port, or the "
                "address is not of this machine (see config/hosts.yaml)", endpoint=endpoint,
            ) from None
        self._router = LoopSocket(socket, self._drain)
        self._monitor = LoopSocket(monitor, self._drain_monitor)
        bound = profile.bound_to(socket)
        self._port = int(bound.rpartition(":")[2])
        self._path = cells
        return bound

    def close(self) -> None:
        """Stop listening; every session ends."""
        for session in list(self.sessions.values()):
            self._end(session, "this host stops")
        if self._router is not None:
            self._router.close(LINGER)  # answers that were sent a moment ago are still on their way
        if self._monitor is not None:
            self._monitor.close()
        self._router = self._monitor = None
        self._open.clear()

    def publish(self, event: Event, *, only: PeerKind | None = None) -> None:
        """Push an event to every session (of a kind) that wants its topic."""
        self._fanout.publish(event, only)

    def tell(self, envelope: bytes) -> None:
        """Send a control envelope to every session, after all that waits for it."""
        self._fanout.seal()
        for session in list(self.sessions.values()):
            session.flush()
            session.outbox.put_control(envelope)
            session.flush()

    @property
    def busy(self) -> bool:
        """Tell whether any request of a peer is being answered."""
        return any(len(session) for session in self.sessions.values())

    @property
    def waiting(self) -> bool:
        """Tell whether any peer that was told that this host leaves still has answers to take, and so is connected."""
        return any(session.kind != "heartbeat" for session in self.sessions.values())

    def samples(self) -> Iterator[Sample]:
        """Yield the figures of the sessions; those of one peer together, operators as one."""
        kinds: Counter[str] = Counter(host=0, heartbeat=0, operator=0)
        waiting: Counter[str] = Counter()
        streams: Counter[str] = Counter()
        for session in self.sessions.values():
            kinds[session.kind] += 1
            waiting[session.caller] += session.outbox.waiting_bytes
            streams[session.caller] += session.streams
        for kind, count in kinds.items():
            yield SESSIONS_OPEN.sample(count, kind)
        for peer, size in waiting.items():
            yield WAITING.sample(size, peer)
        for peer, count in streams.items():
            yield STREAMS.sample(count, peer)
        yield DROPPED.sample(self._traffic.events_dropped + sum(
            session.outbox.lost_events for session in self.sessions.values()
        ))
        yield REFUSED.sample(self.refused)

    # -- in

    def _drain(self) -> bool:
        now = self._clock.monotonic()
        if now - self._seen > 1.0 and self._monitor is not None:
            self._drain_monitor()  # after a pause the news of a lost peer comes before its last calls
        self._seen = now
        until = now + TURN_SECONDS
        budget = TURN_ENVELOPES
        while budget > 0 and self._router is not None:
            socket = self._router.socket
            try:
                routing_id = socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            session = self.sessions.get(routing_id)
            if session is None:
                self._greet(routing_id, socket.recv(copy=False))
                budget -= 1
            else:
                data = socket.recv(copy=session.copies)
                budget -= self._received(session, data)
            if self._clock.monotonic() > until:
                budget = 0
        self._retry_blocked()
        return budget <= 0

    def _received(self, session: Session, data: bytes | zmq.Frame) -> int:
        assert self._router is not None
        if self._router.socket.get(zmq.RCVMORE):
            self._skip_parts()
            session.count_bad(ProtocolError("a frame came in several parts"))
            return 1
        return session.receive(data if isinstance(data, bytes) else data.buffer)

    def _skip_parts(self) -> None:
        assert self._router is not None
        while self._router.socket.get(zmq.RCVMORE):
            self._router.socket.recv()

    def _greet(self, routing_id: bytes, first: zmq.Frame) -> None:
        """Turn the first frame of a connection into a session, or refuse it."""
        if first.more:
            self._skip_parts()
        descriptor = int(first.get(zmq.SRCFD))
        # Descriptors are reused: what is known of this one must be of now, and no session may outlive its connection.
        self._drain_monitor()
        if descriptor not in self._open:
            return
        try:
            frame = wire.decode_frame(first.bytes)
            if first.more or len(frame.envelopes) != 1 or frame.envelopes[0][0] != wire.HELLO:
                self._send(routing_id, wire.reset())
                return
            hello = wire.read_greeting(frame.envelopes[0])
            self._authorize(hello, descriptor, first)
            session = Session(hello, routing_id, descriptor, self._send_frame, self._handler, self._on_heartbeat,
                              self._on_bad_session, self._clock, self._traffic, self._pending,
                              self._callbacks.event)
            session.note_stamp(frame.stamp)
            self._begin(session)
        except MeshError as error:
            if isinstance(error, ProtocolError):
                self._traffic.undecodable += 1
            self.refused += 1
            self._callbacks.trouble("refused_peer", f"a connection from {peer_address(descriptor)} is refused: {error}")
            self._send(routing_id, wire.refused(error))

    def _begin(self, session: Session) -> None:
        """Welcome a peer, unless whoever is told of it raises a `MeshError`: that refuses it."""
        for stale in [one for one in self.sessions.values() if one.descriptor == session.descriptor]:
            self._end(stale, "its connection is gone")
        self.sessions[session.routing_id] = session
        self._fanout.forget()
        session.on_interest.append(self._fanout.forget)
        session.outbox.put_control(wire.welcome(self._identity()))
        try:
            self._callbacks.session(session, True)
        except MeshError as error:
            del self.sessions[session.routing_id]
            session.end(error.message)
            self._fanout.forget()
            raise
        session.flush()

    def _name_of(self, frame: zmq.Frame) -> str | None:
        """Return the name ZAP gave the key of this connection, None without CURVE."""
        if self._own is None:
            return None
        try:
            return str(frame.get("User-Id"))
        except zmq.ZMQError:
            raise PermissionDenied("the connection shows no key", rule="curve") from None

    def _authorize(self, hello: Hello, descriptor: int, first: zmq.Frame) -> None:
        """Raise unless a peer may be what its hello says, by where it came in and by the key it showed."""
        mine = self._identity()
        if not self.accepting:
            raise Unavailable(f"{mine.host} is stopping")
        if hello.mesh != mine.mesh:
            raise ProtocolError(
                f"this is mesh {mine.mesh!r}, the peer belongs to mesh {hello.mesh!r}; check `mesh:` and the ports "
                "in config/hosts.yaml"
            )
        if within_machine(descriptor):
            self._authorize_cell(hello)
            return
        name = self._name_of(first)
        if hello.kind == "cell":
            raise PermissionDenied("a cell comes in over the socket of its own host, not from outside", rule="cell")
        claimed = "operator" if hello.kind == "operator" else hello.host
        if name is not None and (name != claimed or (name == "operator") != (hello.kind == "operator")):
            claimed = claimed if name != claimed else f"a {hello.kind}"
            raise PermissionDenied(f"the key of {name} may not speak for {claimed}", rule="identity")
        alike = [session for session in self.sessions.values() if session.kind == hello.kind]
        same = [session for session in alike if session.peer == hello.host]
        if len(self.sessions) >= SESSIONS or len(same) >= SESSIONS_PER_PEER:
            raise Unavailable(f"{hello.host} has {len(same)} connections here already; close some")
        for session in same:
            if hello.kind != "operator" and session.incarnation != hello.incarnation:
                raise PermissionDenied(
                    f"a {hello.kind} named {hello.host} is connected already "
                    f"(incarnation {session.incarnation}, this one is {hello.incarnation}); two supervisors may not "
                    "share a host name: stop the other one or give this one another name", rule="one_supervisor",
                )

    def _authorize_cell(self, hello: Hello) -> None:
        if self._callbacks.cell is None or hello.kind != "cell":
            raise PermissionDenied(f"a {hello.kind} does not come in over the socket of this host's cells", rule="cell")
        self._callbacks.cell(hello)

    # -- out

    def _send(self, routing_id: bytes, envelope: bytes) -> None:
        """Send one envelope to a connection without a session; if it cannot take it, it is not told."""
        self._send_frame(routing_id, wire.frame(int(self._clock.monotonic() * 1000), 0, [envelope]))

    def _send_frame(self, routing_id: bytes, frame: bytes) -> bool:
        """Send to one peer; returns False if it cannot take more now. A peer that is gone loses its session."""
        router = self._router
        if router is None:
            return True
        try:
            router.socket.send(routing_id, zmq.SNDMORE | zmq.NOBLOCK)
            router.socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            session = self.sessions.get(routing_id)
            if session is not None:
                self._end(session, "the connection is gone")
        finally:
            router.sent()
        return True

    def _retry_blocked(self) -> None:
        """Try all blocked peers: the socket's readiness says nothing about one of them."""
        for session in [session for session in self.sessions.values() if session.blocked]:
            session.flush()

    # -- the end of a session

    def sever(self, session: Session, reason: str) -> None:
        """Close a peer's connection from this side, unless it is gone already."""
        self._drain_monitor()  # if it is, its descriptor may mean another peer's connection by now
        if session.ended is None:
            hang_up(session.descriptor, self._path if session.kind == "cell" else self._port)
            self._end(session, reason)

    def _end(self, session: Session, reason: str) -> None:
        if self.sessions.pop(session.routing_id, None) is not None:
            session.end(reason)
            self._fanout.forget()
            self._callbacks.session(session, False)

    def _on_heartbeat(self, session: Session, age_ms: int, inventory: bytes) -> None:
        self._callbacks.heartbeat(session, age_ms, inventory)

    def _on_bad_session(self, session: Session, reason: str) -> None:
        self._callbacks.trouble("bad_session", f"{session.kind} {session.peer}: {reason}; its connection is closed")
        asyncio.get_running_loop().call_soon(self.sever, session, reason)

    def _drain_monitor(self) -> bool:
        if self._monitor is not None:
            for event, descriptor in list(profile.happenings(self._monitor.socket)):
                self._monitored(event, descriptor)
        return False

    def _monitored(self, event: int, descriptor: int) -> None:
        if event == zmq.EVENT_ACCEPTED:
            self._open.add(descriptor)
        elif event == zmq.EVENT_DISCONNECTED:
            self._open.discard(descriptor)
            for session in [one for one in self.sessions.values() if one.descriptor == descriptor]:
                self._end(session, "the peer closed the connection")
        else:
            self._callbacks.trouble(
                "handshake", "a program without the mesh's security knocked at this port and was refused"
            )
