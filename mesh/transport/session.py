"""One connection as the listener sees it: who is at the other end, what it asked, what it wants to hear."""

from __future__ import annotations

from collections.abc import Callable

from mesh import wire
from mesh.clock import Clock
from mesh.errors import DeadlineExceeded, Overloaded, ProtocolError
from mesh.message import Handler, Reply, Request
from mesh.metrics import Traffic
from mesh.topics import Interest
from mesh.transport.channel import Channel
from mesh.transport.outbox import CALL_BYTES
from mesh.transport.running import Running
from mesh.wire import Envelope, Hello

STALLED = 10.0


class Session(Channel):
    """A greeted peer; ends with its connection, and its running requests end with it."""

    waits_for_news = True

    def __init__(
        self, hello: Hello, routing_id: bytes, descriptor: int, send: Callable[[bytes, bytes], bool],
        handler: Handler, on_heartbeat: Callable[[Session, int, bytes], None],
        on_bad: Callable[[Session, str], None], clock: Clock, traffic: Traffic,
    ) -> None:
        super().__init__(hello.host, clock, traffic)
        self.kind = hello.kind
        self.incarnation = hello.incarnation
        self.software = hello.software
        self.interest = Interest(hello.interest)
        self.routing_id = routing_id
        self.descriptor = descriptor
        self.ended: str | None = None
        self.on_interest: Callable[[], None] | None = None
        self._send = send
        self._running = Running(handler, self._answer)
        self._on_heartbeat = on_heartbeat
        self._on_bad = on_bad
        self._blocked_since: float | None = None

    @property
    def caller(self) -> str:
        """Who calls, for messages and permission: the host's name, or `operator`."""
        return "operator" if self.kind == "operator" else self.peer

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

    def handle(self, envelope: Envelope, shift: float) -> None:
        """Do what the peer asks."""
        kind = envelope[0]
        if kind == wire.CALL:
            self._call(*wire.read_call(envelope, shift, self.caller))
        elif kind == wire.CANCEL:
            self._running.cancel(envelope[1])
        elif kind == wire.INTEREST:
            self.interest = Interest(wire.read_interest(envelope))
            if self.on_interest is not None:
                self.on_interest()
        elif kind == wire.HEARTBEAT and self.kind == "heartbeat":
            self.outbox.put_control(wire.echo(envelope[1]))
            self.dirty()
            self._on_heartbeat(self, envelope[2], envelope[3])
        elif kind != wire.LEAVING:
            raise ProtocolError(f"an envelope of kind {wire.Kind(kind).name} does not come from a {self.kind}")

    def _call(self, number: int, request: Request) -> None:
        if self.ended is not None:  # by an earlier envelope of the same frame
            return
        if number in self._running:
            raise ProtocolError(f"call {number} is running already")
        if request.deadline <= self._clock.monotonic():
            self._answer(number, request, Reply(error=DeadlineExceeded(
                f"{request.target} was not begun: its deadline had passed when it arrived", began="no"
            )))
            return
        if self.outbox.call_bytes + self.outbox.bulk_bytes > CALL_BYTES and self.blocked:
            self._answer(number, request, Reply(error=Overloaded(
                f"{self.peer} leaves 16 MiB of replies unread; nothing more is begun for it", retry_after=1.0
            )))
            return
        self._running.start(number, request)

    def _answer(self, number: int, request: Request, reply: Reply) -> None:
        if self.ended is None:
            self.outbox.put_reply(number, request.service, wire.reply(number, reply))
            self.dirty()

    def count_bad(self, error: ProtocolError) -> None:
        """Count a frame that is not even worth decoding."""
        self._count_bad(error, self._clock.monotonic())

    def undecodable(self, error: ProtocolError, repeated: bool) -> None:
        """Close the connection at the third bad frame within 10 s."""
        if repeated and self.ended is None:
            self._on_bad(self, f"3 undecodable frames within 10 s, the last because {error}")

    def events_lost(self, count: int) -> None:
        """Peers push no events up to a listener, so none can be lost on the way."""

    def cancel_all(self) -> None:
        """Cancel what runs for this peer; each is answered `cancelled`."""
        self._running.cancel_all()

    def __len__(self) -> int:
        return len(self._running)

    def __bool__(self) -> bool:
        return True

    def end(self, reason: str) -> None:
        """Cancel what runs for the peer and drop what waits: it is gone."""
        self.ended = reason
        self._running.cancel_all()
        self.forget()
