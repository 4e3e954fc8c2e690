"""One connection as the listener sees it: who is at the other end, what it asked, what it wants to hear."""

from __future__ import annotations

from collections.abc import Callable

from mesh import wire
from mesh.clock import Clock
from mesh.errors import ProtocolError, Unreachable
from mesh.message import Event, Responder
from mesh.metrics import Traffic
from mesh.topics import Interest
from mesh.transport.exchange import Exchange
from mesh.transport.pending import Pending, Waiter
from mesh.wire import Envelope, Hello

STALLED = 10.0
OF_CELL = "cell:"


class Session(Exchange):
    """A greeted peer; ends with its connection, and its running requests end with it. A `cell` can be called too."""

    waits_for_news = True

    def __init__(
        self, hello: Hello, routing_id: bytes, descriptor: int, send: Callable[[bytes, bytes], bool],
        handler: Responder, on_heartbeat: Callable[[Session, int, bytes], None],
        on_bad: Callable[[Session, str], None], clock: Clock, traffic: Traffic, pending: Pending | None = None,
        on_event: Callable[[Session, Event], None] | None = None,
    ) -> None:
        super().__init__(hello.host, clock, traffic, handler=handler,
                         pending=pending if hello.kind == "cell" else None)
        self.kind = hello.kind
        self.incarnation = hello.incarnation
        self.via = f"{self.caller}:{hello.incarnation}" if hello.kind == "cell" else self.caller
        self.software = hello.software
        self.interest = Interest(hello.interest)
        self.routing_id = routing_id
        self.descriptor = descriptor
        self.ended: str | None = None
        self.on_interest: list[Callable[[], None]] = []
        self._send = send
        self._on_heartbeat = on_heartbeat
        self._on_bad = on_bad
        self._on_event = on_event
        self._blocked_since: float | None = None

    @property
    def caller(self) -> str:
        """Who calls, for messages and figures: the host's name, `operator`, or `cell:<service>`."""
        if self.kind == "cell":
            return f"{OF_CELL}{self.peer}"
        return "operator" if self.kind == "operator" else self.peer

    def may_flush(self) -> bool:
        """Tell whether the peer is there."""
        return self.ended is None

    def send_call(self, waiter: Waiter, envelope: wire.Packed) -> None:
        """Queue a call; raises `Overloaded`, or `Unreachable` when the peer is gone."""
        if self.ended is not None:
            raise Unreachable(f"{waiter.request.target}: {self.peer} is gone ({self.ended}); the call had not left",
                              began="no")
        super().send_call(waiter, envelope)

    def transmit(self, frame: bytes) -> bool:
        """Send one frame; returns False if the peer cannot take it now."""
        if self.ended is not None:
            return True
        taken = self._send(self.routing_id, frame)
        now = self._clock.monotonic()
        self._blocked_since = None if taken else (self._blocked_since or now)
        if self._blocked_since is not None and now - self._blocked_since > STALLED:
            self._on_bad(self, f"it took nothing for {STALLED:.0f} s while replies waited")
        return taken

    def take(self, envelope: Envelope) -> None:
        """Take what the peer wants to hear, its heartbeats, and what a cell publishes."""
        kind = envelope[0]
        if kind == wire.INTEREST:
            self.interest = Interest(wire.read_interest(envelope))
            for changed in self.on_interest:
                changed()
        elif kind == wire.EVENT and self.kind == "cell" and self._on_event is not None:
            self._on_event(self, wire.read_event(envelope))
        elif kind == wire.HEARTBEAT and self.kind == "heartbeat":
            self.outbox.put_control(wire.echo(envelope[1]))
            self.dirty()
            self._on_heartbeat(self, envelope[2], envelope[3])
        elif kind != wire.LEAVING:
            raise ProtocolError(f"an envelope of kind {wire.Kind(kind).name} does not come from a {self.kind}")

    def count_bad(self, error: ProtocolError) -> None:
        """Count a frame that is not even worth decoding."""
        self._count_bad(error, self._clock.monotonic())

    def undecodable(self, error: ProtocolError, repeated: bool) -> None:
        """Close the connection at the third bad frame within 10 s."""
        if repeated and self.ended is None:
            self._on_bad(self, f"3 undecodable frames within 10 s, the last because {error}")

    def events_lost(self, count: int) -> None:
        """Peers push no events up to a listener, so none can be lost on the way."""

    def end(self, reason: str) -> None:
        """Cancel what runs for the peer, fail what was asked of it and drop what waits: it is gone."""
        self.ended = reason
        self.end_calls(reason)
        self.forget()
