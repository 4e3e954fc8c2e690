"""A connection over which calls go both ways: what this end asks of the peer, and what the peer asks of this end.

Whichever end dialled, a call ends once. What was still in the outbox when the connection was lost has not begun; of
what left in a frame nothing is known. A link (the pool's end) and a session (the listener's end) differ in how they
send, in how they greet, and in whom they let call.
"""

from __future__ import annotations

from abc import abstractmethod

from mesh import wire
from mesh.clock import Clock
from mesh.errors import DeadlineExceeded, MeshError, Overloaded, ProtocolError, Unreachable
from mesh.message import Handler, Reply, Request
from mesh.metrics import Traffic
from mesh.transport.channel import Channel
from mesh.transport.outbox import CALL_BYTES
from mesh.transport.pending import Pending, Waiter
from mesh.transport.running import Running
from mesh.wire import Envelope


class Exchange(Channel):
    """A channel that carries calls. Without `pending` this end cannot call, without `handler` it answers none."""

    def __init__(
        self, peer: str, clock: Clock, traffic: Traffic, *, pending: Pending | None, handler: Handler | None
    ) -> None:
        super().__init__(peer, clock, traffic)
        self.waiters: dict[int, Waiter] = {}
        self._pending = pending
        self._running = None if handler is None else Running(handler, self._answer)

    # -- what the two ends do differently

    @property
    def caller(self) -> str:
        """Who calls from the other end, for messages and permission."""
        return self.peer

    @abstractmethod
    def take(self, envelope: Envelope) -> None:
        """Do what an envelope asks that is of no call; raises `ProtocolError` for what the peer may not send."""

    # -- calls to the peer

    async def exchange(self, request: Request) -> Reply:
        """Send `request` to the peer and return its reply; a call that cannot be made is answered with the reason."""
        if self._pending is None:
            return Reply(error=Unreachable(f"{request.target}: {self.peer} is not called over this connection",
                                           began="no"))
        waiter = self._pending.open(request, self)
        try:
            self.send_call(waiter, wire.call(waiter.number, request))
        except MeshError as error:
            waiter.fail(error)
        return await waiter.outcome()

    def send_call(self, waiter: Waiter, envelope: bytes) -> None:
        """Queue a call; raises `Overloaded` when too many wait, `Unreachable` when the peer is gone."""
        self.outbox.put_call(waiter.number, waiter.request.caller, envelope)
        self.dirty()

    def give_up(self, number: int) -> bool:
        """Take a call back, or have the peer cancel it; returns True if nothing of it had left."""
        if self.outbox.withdraw(number):
            return True
        if self.may_flush():
            self.outbox.put_control(wire.cancel(number))
            self.dirty()
        return False

    def end_calls(self, reason: str) -> None:
        """End every call in both directions, because the connection is lost."""
        if self._running is not None:
            self._running.abandon()
        for waiter in list(self.waiters.values()):
            began = "no" if self.outbox.holds(waiter.number) else "unknown"
            known = "the call had not left" if began == "no" else "whether the call began is unknown"
            waiter.fail(Unreachable(
                f"{waiter.request.target}: the connection to {self.peer} is lost ({reason}); {known}", began=began
            ))

    # -- calls of the peer

    def _call(self, number: int, request: Request) -> None:
        assert self._running is not None
        if not self.may_flush():  # ended by an earlier envelope of the same frame
            return
        if number in self._running:
            raise ProtocolError(f"call {number} is running already")
        if request.deadline <= self._clock.monotonic():
            self._answer(number, request, Reply(error=DeadlineExceeded(
                f"{request.target} was not begun: its deadline had passed when it arrived", began="no"
            )))
        elif self.blocked and self.outbox.call_bytes + self.outbox.bulk_bytes > CALL_BYTES:
            self._answer(number, request, Reply(error=Overloaded(
                f"{self.peer} leaves 16 MiB of replies unread; nothing more is begun for it", retry_after=1.0
            )))
        else:
            self._running.start(number, request)

    def _answer(self, number: int, request: Request, reply: Reply) -> None:
        if self.may_flush():
            self.outbox.put_reply(number, request.service, wire.reply(number, reply))
            self.dirty()

    def cancel_all(self) -> None:
        """Cancel what runs for the peer; each is answered `cancelled`."""
        if self._running is not None:
            self._running.cancel_all()

    def __len__(self) -> int:
        return 0 if self._running is None else len(self._running)

    def __bool__(self) -> bool:
        return True

    # -- in

    def handle(self, envelope: Envelope, shift: float) -> None:
        """Do what the peer asks, or hand its answer to who waits."""
        kind = envelope[0]
        if kind == wire.CALL and self._running is not None:
            self._call(*wire.read_call(envelope, shift, self.caller))
        elif (kind == wire.REPLY or kind == wire.ERROR) and self._pending is not None:
            number, reply = wire.read_reply(envelope)
            waiter = self.waiters.get(number)
            if waiter is not None:  # else nobody waits any more
                waiter.finish(reply)
        elif kind == wire.CANCEL and self._running is not None:
            self._running.cancel(envelope[1])
        else:
            self.take(envelope)
