"""A connection this process opened to one peer: dials, greets, carries calls, dials again when it is lost.

States: idle → connecting → greeting → up → lost → connecting ... Each dial is a new DEALER with a new random routing
id, for a routing id names one connection and libzmq's own reconnect would use it again. HELLO is the first frame and
nothing else leaves before WELCOME. When the connection is lost, a call still in the outbox has not begun; of one that
left in a frame nothing is known.

libzmq throws away what was received but not yet read when a connection ends. So a peer that stops says LEAVING and
lets this end hang up, which it does once it has every answer it waits for.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import zmq

from mesh import wire
from mesh.clock import Clock, Timer
from mesh.errors import MeshError, ProtocolError, Unreachable
from mesh.message import Event, Responder
from mesh.metrics import Traffic
from mesh.transport import profile
from mesh.transport.channel import RETRY
from mesh.transport.exchange import Exchange
from mesh.transport.keys import KeyPair, fingerprint
from mesh.transport.loop import TURN_ENVELOPES, TURN_SECONDS, LoopSocket
from mesh.transport.pending import Pending, Waiter
from mesh.wire import Envelope, Hello

State = Literal["idle", "connecting", "greeting", "up", "lost", "closed"]

GREETING_SECONDS = 2.0
REDIAL_FIRST = 0.05
REDIAL_JUST_GONE = 0.1
REDIAL_MOST = 0.5
REDIAL_LONG_GONE = 1.0
JUST_GONE = 5.0
LONG_GONE = 60.0
PAUSE = 1.0
LEFT = "the peer is stopping"

_MONITORED = (
    zmq.EVENT_CONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a peer listens and which key it must show; `key` None means no CURVE."""

    host: str
    endpoint: str
    key: str | None = None
    incarnation: int = 0


@dataclass(frozen=True, slots=True)
class LinkCallbacks:
    """Whom a link tells what: its state with a reason in words, an event that came, events that were lost, trouble
    worth an admin's eye."""

    state: Callable[[str, bool, str], None]
    event: Callable[[Event, str], None]
    lost_events: Callable[[str, int], None]
    trouble: Callable[[str, str], None]


class Link(Exchange):
    """One outgoing connection, whatever number of sockets it has used up so far.

    With a `handler` it also answers what the peer calls down.
    """

    def __init__(
        self, peer: Peer, context: profile.Context, own: KeyPair | None,
        greeting: Callable[[], Hello], callbacks: LinkCallbacks, clock: Clock, traffic: Traffic, pending: Pending,
        handler: Responder | None = None,
    ) -> None:
        super().__init__(peer.host, clock, traffic, pending=pending, handler=handler)
        self.waits_for_news = handler is not None
        self.at = peer
        self.state: State = "idle"
        self.reason = "not connected yet"
        self.answered_by: Hello | None = None
        self.refusal: MeshError | None = None
        self._context = context
        self._own = own
        self._greeting = greeting
        self._callbacks = callbacks
        self._socket: LoopSocket | None = None
        self._monitor: LoopSocket | None = None
        self._timer: Timer | None = None
        self._delay = REDIAL_FIRST
        self._gone_since: float | None = None
        self._seen = 0.0
        self._leaving = False
        self._told: Hello | None = None

    # -- life

    def dial(self) -> None:
        """Open a new connection, unless one is open or under way."""
        if self.state not in ("idle", "lost"):
            return
        self._stop_timer()
        socket = profile.dealer(self._context, own=self._own, server_key=self.at.key)
        if self.at.endpoint.startswith("ipc://"):
            profile.still(socket)
        self._monitor = LoopSocket(profile.monitor(socket, _MONITORED), self._drain_monitor)
        self._socket = LoopSocket(socket, self._drain)
        self.state = "connecting"
        self._timer = self._clock.call_later(GREETING_SECONDS, self._not_greeted)
        socket.connect(self.at.endpoint)

    def move(self, peer: Peer) -> None:
        """Follow the peer to a new address, key or incarnation; dials at once if the link is not up."""
        if peer == self.at:
            return
        elsewhere = (peer.endpoint, peer.key) != (self.at.endpoint, self.at.key)
        self.at = peer
        if self.state == "up" and not elsewhere:
            return
        self._delay = REDIAL_FIRST
        self.lose("the peer has moved")
        self.dial()

    def close(self, reason: str) -> None:
        """End the connection for good."""
        self.lose(reason)
        self._stop_timer()
        self.state = "closed"

    def lose(self, reason: str) -> None:
        """End the connection, fail its calls, dial again later."""
        if self.state in ("idle", "lost", "closed"):
            return
        self._stop_timer()
        for socket in (self._socket, self._monitor):
            if socket is not None:
                socket.close()
        self._socket = self._monitor = None
        self._leaving = False
        self.state = "lost"
        self.reason = reason
        self.end_calls(reason)
        self.forget()
        now = self._clock.monotonic()
        if self._gone_since is None:
            self._gone_since = now
        most = self._longest_pause(now - self._gone_since)
        # one that stops is there for a moment yet and would only refuse
        pause = REDIAL_MOST if reason == LEFT else min(self._delay, most)
        self._timer = self._clock.call_later(pause * random.uniform(0.8, 1.2), self.dial)
        self._delay = min(self._delay * 2, most)
        self._callbacks.state(self.peer, False, reason)

    def _longest_pause(self, gone: float) -> float:
        """Return how long to wait with the next dial at most; `gone` is for how long there has been no connection.

        A peer that was killed is started again at once, and a port where nobody listens yet refuses within a
        millisecond.
        """
        if self._delay == REDIAL_LONG_GONE or gone > LONG_GONE:
            return REDIAL_LONG_GONE
        return REDIAL_JUST_GONE if gone < JUST_GONE else REDIAL_MOST

    def _not_greeted(self) -> None:
        self.lose(f"no answer from {self.at.endpoint} within {GREETING_SECONDS:.0f} s")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- calls

    def send_call(self, waiter: Waiter, envelope: wire.Packed) -> None:
        """Queue a call; while there is no connection it waits at most 2 s. Raises `Overloaded`."""
        self.outbox.put_call(waiter.number, waiter.request.caller, envelope)
        if self.state == "up":
            self.dirty()
        else:
            if self.state == "idle":  # a lost link is dialled by its timer: callers must not hurry it
                self.dial()
            self._clock.call_later(GREETING_SECONDS, lambda: self._lose_patience(waiter))

    def _lose_patience(self, waiter: Waiter) -> None:
        if not waiter.future.done() and self.state != "up" and self.give_up(waiter.number):
            waiter.fail(Unreachable(
                f"{waiter.request.target}: {self.peer} cannot be reached ({self.reason}); the call had not left",
                began="no",
            ))

    # -- frames

    def may_flush(self) -> bool:
        """Tell whether the peer has welcomed us."""
        return self.state == "up"

    def transmit(self, frame: bytes) -> bool:
        """Send one frame; returns False if the connection is full."""
        if self._socket is None:
            return False
        try:
            self._socket.socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        finally:
            self._socket.sent()
        return True

    def _drain(self) -> bool:
        assert self._socket is not None
        now = self._clock.monotonic()
        if now - self._seen > PAUSE and self._monitor is not None:
            self._drain_monitor()  # after a pause the news of a lost connection comes before its last data
        self._seen = now
        until = now + TURN_SECONDS
        budget = TURN_ENVELOPES
        while self._socket is not None and budget > 0:
            socket = self._socket.socket
            try:
                data = socket.recv(zmq.NOBLOCK, copy=self.copies)
            except zmq.Again:
                break
            if socket.get(zmq.RCVMORE):
                while socket.get(zmq.RCVMORE):
                    socket.recv()
                self._count_bad(ProtocolError("a frame came in several parts"), now)
                continue
            budget -= self.receive(data if isinstance(data, bytes) else data.buffer)
            if self._clock.monotonic() > until:
                budget = 0
        if self._leaving and not self.awaited:
            self.lose(LEFT)
        if self.state == "greeting":
            self._greet()
        elif self.blocked:
            self.flush()
        return budget <= 0 and self._socket is not None

    def take(self, envelope: Envelope) -> None:
        """Take news of the connection and events."""
        kind = envelope[0]
        if kind == wire.EVENT:
            self._callbacks.event(wire.read_event(envelope), self.peer)
        elif kind == wire.WELCOME:
            self._welcomed(wire.read_greeting(envelope))
        elif kind == wire.REFUSED:
            self.refusal = wire.read_refused(envelope)
            self._refused(self.refusal.message)
        elif kind == wire.RESET:
            self.lose("the peer does not know this connection any more")
        elif kind == wire.LEAVING:
            self.reason = LEFT
            self._leaving = True
            self.cancel_all()  # what a peer that stops has asked for, it does not wait for any more
        else:
            raise ProtocolError(f"an envelope of kind {wire.Kind(kind).name} does not come from a listener")

    def undecodable(self, error: ProtocolError, repeated: bool) -> None:
        """Report the first of a run of bad frames; the third within 10 s ends the connection."""
        if repeated:
            self._callbacks.trouble(self.peer, f"{self.peer} sent 3 undecodable frames within 10 s: {error}")
            self.lose("too many undecodable frames")

    def events_lost(self, count: int) -> None:
        """Pass on how many events the peer had to drop."""
        self._callbacks.lost_events(self.peer, count)

    # -- greeting

    def _greet(self) -> None:
        """Send HELLO once the connection takes it; IMMEDIATE makes it refuse until it is complete."""
        if self._told is not None or self._socket is None or self.state != "greeting":
            return
        mine = self._greeting()
        if self.transmit(wire.frame(int(self._clock.monotonic() * 1000), 0, [wire.hello(mine)])):
            self._told = mine
        else:
            self._clock.call_later(RETRY, self._greet)

    def _welcomed(self, who: Hello) -> None:
        mine = self._greeting()
        if who.mesh != mine.mesh or who.host != self.at.host:
            self._refused(f"{self.at.endpoint} answers as {who.host} of mesh {who.mesh!r}, "
                          f"not as {self.at.host} of mesh {mine.mesh!r}; check config/hosts.yaml")
            return
        if self.state != "greeting":
            return
        self._stop_timer()
        self.answered_by = who
        self.state = "up"
        self.reason = ""
        self.refusal = None
        self._delay = REDIAL_FIRST
        self._gone_since = None
        if self._told is not None and self._told.interest != mine.interest:  # it changed on the way
            self.outbox.put_control(wire.interest(mine.interest))
        self._callbacks.state(self.peer, True, "")
        self.flush()

    def _refused(self, reason: str) -> None:
        if reason != self.reason:
            self._callbacks.trouble(self.peer, f"{self.peer} at {self.at.endpoint} refused this host: {reason}")
        self._delay = REDIAL_LONG_GONE
        self.lose(reason)

    # -- monitor

    def _drain_monitor(self) -> bool:
        if self._monitor is not None:
            for event, _ in list(profile.happenings(self._monitor.socket)):
                if self._monitor is not None:
                    self._monitored(event)
        return False

    def _monitored(self, event: int) -> None:
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED and self.state == "connecting":
            self.state = "greeting"
            self.answered_by = None
            self._told = None
            self._greet()
        elif event == zmq.EVENT_DISCONNECTED:
            self.lose(f"{self.at.endpoint} closed the connection")
        elif event == zmq.EVENT_CLOSED:
            self.lose(f"nothing listens at {self.at.endpoint}")
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            mine = fingerprint(self._own.public) if self._own else "none"
            self._refused(f"{self.at.endpoint} does not know this key ({mine}); add it there under hosts: in "
                          "config/hosts.yaml (mesh keys show prints the line)")
        elif event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            expected = fingerprint(self.at.key) if self.at.key else "none"
            self._refused(f"{self.at.endpoint} did not prove the key {expected} that is expected of {self.peer}; "
                          "another program or an old key may be there")
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            self._refused(f"{self.at.endpoint} does not speak this protocol or this security")
