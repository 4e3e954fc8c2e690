"""A connection over which calls and streams go both ways: what this end asks of the peer, and the peer of this end.

Whichever end dialled, a call ends once. What was still in the outbox when the connection was lost has not begun; of
what left in a frame nothing is known. A link (the pool's end) and a session (the listener's end) differ in how they
send, in how they greet, and in whom they let call.
"""

from __future__ import annotations

from abc import abstractmethod

from mesh import wire
from mesh.clock import Clock
from mesh.errors import DeadlineExceeded, MeshError, Overloaded, ProtocolError, Unreachable
from mesh.message import Answer, Reply, Request, Responder
from mesh.metrics import Traffic
from mesh.transport.channel import Channel
from mesh.transport.inflow import Inflows
from mesh.transport.outbox import CALL_BYTES
from mesh.transport.outflow import Pace
from mesh.transport.pending import Pending, Waiter
from mesh.transport.running import Running
from mesh.wire import EVENT, ITEM, ITEMS, Envelope

REMEMBERED = 65_536
OWED_BYTES = 32 * 1024 * 1024


class Exchange(Channel):
    """A channel that carries calls. Without `pending` this end cannot call, without `handler` it answers none.

    Each call is answered once, also one that was given up. An answer to nobody's question is counted: it is a second
    one, or another call's.
    """

    def __init__(
        self, peer: str, clock: Clock, traffic: Traffic, *, pending: Pending | None, handler: Responder | None
    ) -> None:
        super().__init__(peer, clock, traffic)
        self.via = peer
        """Who calls from the other end, for permission; of a cell its incarnation too, as a service may have several.
        """
        self.waiters: dict[int, Waiter] = {}
        self.inflows = Inflows(self, None if pending is None else pending.deadlines)
        self.pace = Pace(clock, lambda: self.outbox.crowded)
        self._pending = pending
        self._running = None if handler is None else Running(handler, self._answer, self)
        self._given_up: dict[int, None] = {}
        self.owed_bytes = 0
        self._owed: dict[int, int] = {}

    @property
    def streams(self) -> int:
        """How many streams are read and sent over this connection."""
        return len(self.inflows) + (0 if self._running is None else self._running.streams)

    # -- what the two ends do differently

    @property
    def caller(self) -> str:
        """Who calls from the other end, for messages and figures."""
        return self.peer

    @abstractmethod
    def take(self, envelope: Envelope) -> None:
        """Do what an envelope asks that is of no call; raises `ProtocolError` for what the peer may not send."""

    # -- calls to the peer

    def exchange(self, request: Request) -> Answer:
        """Send `request` to the peer, to be awaited for its reply; what cannot be sent is answered with the reason."""
        if self._pending is None:
            return Reply(error=Unreachable(f"{request.target}: {self.peer} is not called over this connection",
                                           began="no"))
        waiter = self._pending.open(request, self)
        try:
            envelope = wire.call(waiter.number, request)
            self._owe(waiter, len(envelope))
            self.send_call(waiter, envelope)
        except MeshError as error:
            self._settle(waiter.number)
            waiter.fail(error)
        return waiter

    def _owe(self, waiter: Waiter, size: int) -> None:
        """Count a call that the peer is to answer; raises `Overloaded` while it owes answers to 32 MiB of calls.

        A peer whose loop stands still reads nothing, and what it receives has no bound (see `profile`): so there is one
        here. A call that was given up counts until the peer has answered it, for until then it may lie there unread.
        Big ones, which travel in parts, wait for the peer's acknowledgement anyway.
        """
        if size > wire.CHUNK:
            return
        if self.owed_bytes + size > OWED_BYTES:
            raise Overloaded(
                f"{waiter.request.target} was not called: {self.peer} has {self.owed_bytes >> 20} MiB of calls to "
                "answer or to read yet; try again later", retry_after=0.1, began="no",
            )
        self._owed[waiter.number] = size
        self.owed_bytes += size

    def _settle(self, number: int) -> None:
        """Take note that the peer has answered a call, or will never see it."""
        self.owed_bytes -= self._owed.pop(number, 0)

    def send_call(self, waiter: Waiter, envelope: wire.Packed) -> None:
        """Queue a call; raises `Overloaded` when too many wait, `Unreachable` when the peer is gone."""
        self.outbox.put_call(waiter.number, waiter.request.caller, envelope)
        self.dirty()

    def give_up(self, number: int) -> bool:
        """Take a call back, or have the peer cancel it or its stream; returns True if nothing of it had left."""
        if self.outbox.withdraw(number):
            self._settle(number)
            return True
        if self.may_flush():
            self.outbox.put_control(wire.cancel(number))
            self.dirty()
            self._given_up[number] = None
            if len(self._given_up) > REMEMBERED:  # of a stream that ended just then no more is heard
                del self._given_up[next(iter(self._given_up))]
        return False

    def grant(self, number: int, taken: int) -> None:
        """Tell the peer how many items of its stream were taken in all."""
        if self.may_flush():
            self.outbox.put_control(wire.credit(number, taken))
            self.dirty()

    @property
    def awaited(self) -> bool:
        """Tell whether anything is still to come from the peer: an answer, or items."""
        return bool(self.waiters or self.inflows)

    def end_calls(self, reason: str) -> None:
        """End every call in both directions, because the connection is lost."""
        self._given_up.clear()
        self._owed.clear()
        self.owed_bytes = 0
        if self._running is not None:
            self._running.abandon()
        for waiter in list(self.waiters.values()):
            began = "no" if self.outbox.holds(waiter.number) else "unknown"
            known = "the call had not left" if began == "no" else "whether the call began is unknown"
            waiter.fail(Unreachable(
                f"{waiter.request.target}: the connection to {self.peer} is lost ({reason}); {known}", began=began
            ))
        self.inflows.fail(lambda target: Unreachable(
            f"{target}: the connection to {self.peer} is lost ({reason}) in the middle of its stream", began="unknown"
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

    def send_opened(self, number: int, host: str) -> None:
        """Say that a stream of this end is open."""
        self._put_item(number, wire.opened(number, host))

    def send_items(self, number: int, first: int, bodies: list[bytes]) -> None:
        """Send items of a stream."""
        self.outbox.put_item(number, wire.item(number, first, bodies[0]) if len(bodies) == 1
                             else wire.items(number, first, bodies))
        if not self._scheduled:  # a stream makes a few in one step: they share a frame
            self.dirty()

    def send_end(self, number: int, count: int, error: MeshError | None) -> None:
        """Say that a stream of this end has ended."""
        self._put_item(number, wire.end(number, count, error))

    def _put_item(self, number: int, envelope: bytes) -> None:
        if self.may_flush():
            self.outbox.put_item(number, envelope)
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
        if kind == ITEM and self._pending is not None:  # first, for they are the most
            inflow = self.inflows.get(envelope[1])
            if inflow is not None:  # else nobody reads it any more
                inflow.put(envelope[2], envelope[3])
        elif kind == ITEMS and self._pending is not None:
            inflow = self.inflows.get(envelope[1])
            if inflow is not None:
                inflow.put_all(envelope[2], envelope[3])
        elif kind == EVENT:
            self.take(envelope)
        elif kind == wire.CALL and self._running is not None:
            self._call(*wire.read_call(envelope, shift, self.via))
        elif (kind == wire.REPLY or kind == wire.ERROR) and self._pending is not None:
            number, reply = wire.read_reply(envelope)
            self._settle(number)
            waiter = self.waiters.get(number)
            if waiter is not None:
                waiter.finish(reply)
            else:
                self._unawaited(number)
        elif kind == wire.CANCEL and self._running is not None:
            self.outbox.drop_items(envelope[1])
            self._running.cancel(envelope[1])
        elif not self._stream(kind, envelope, shift):
            self.take(envelope)

    def _stream(self, kind: int, envelope: Envelope, shift: float) -> bool:
        """Take what streams send rarely; returns False if it is none of that, or not this peer's to send."""
        if kind == wire.OPEN and self._running is not None:
            self._call(*wire.read_open(envelope, shift, self.via))
        elif kind == wire.CREDIT and self._running is not None:
            self._running.grant(envelope[1], envelope[2])
        elif kind == wire.OPENED and self._pending is not None:
            self._settle(envelope[1])
            waiter = self.waiters.get(envelope[1])
            if waiter is not None and waiter.request.credit:
                self.inflows.open(waiter, envelope[2])
        elif kind == wire.END and self._pending is not None:
            number, count, error = wire.read_end(envelope)
            self._settle(number)
            inflow = self.inflows.get(number)
            if inflow is not None:
                inflow.end(count, error)
            elif number not in self.waiters:  # one that was cancelled in this very turn is about to be given up
                self._unawaited(number)
        else:
            return False
        return True

    def _unawaited(self, number: int) -> None:
        """Take the answer to a call that was given up, and count one that nobody has ever waited for."""
        if number in self._given_up:
            del self._given_up[number]
        else:
            self._traffic.strays += 1
