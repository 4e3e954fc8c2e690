"""Calls without a socket: the twin of pool and listener for agents of one process, and for tests.

The bodies are the same encoded bytes, the numbers, deadlines, credit and cancellation the same as over a link.
"""

from __future__ import annotations

from mesh import wire
from mesh.errors import MeshError
from mesh.message import Answer, Reply, Request, Responder
from mesh.transport.inflow import Inflows
from mesh.transport.outflow import Pace
from mesh.transport.pending import Pending, Waiter
from mesh.transport.running import Running


class Loopback:
    """Carries calls to a handler in the same process; what that does not answer at once has a task of its own."""

    def __init__(self, handler: Responder, pending: Pending) -> None:
        self.waiters: dict[int, Waiter] = {}
        self.inflows = Inflows(self, pending.deadlines)
        self.pace = Pace(pending.deadlines.clock, lambda: False)
        self._pending = pending
        self._running = Running(handler, self._take, self)

    def exchange(self, request: Request) -> Answer:
        """Have the handler answer `request`."""
        answer = self._running.begin(request)
        if type(answer) is Reply and answer.items is None:
            return _arrived(answer)
        waiter = self._pending.open(request, self)
        self._running.go_on(waiter.number, request, answer)
        return waiter

    def give_up(self, number: int) -> bool:
        """Cancel the call at the callee; it had begun as soon as it was made."""
        self._running.cancel(number)
        return False

    def cancel_all(self) -> None:
        """Cancel every running call; each is answered `cancelled`."""
        self._running.cancel_all()

    def _take(self, number: int, request: Request, reply: Reply) -> None:
        waiter = self.waiters.get(number)
        if waiter is not None:
            waiter.finish(_arrived(reply))

    # -- streams

    def grant(self, number: int, taken: int) -> None:
        """Tell the callee how many items of its stream were taken in all."""
        self._running.grant(number, taken)

    def send_opened(self, number: int, host: str) -> None:
        """Hand a stream that is open to whoever waits for it."""
        waiter = self.waiters.get(number)
        if waiter is not None:
            self.inflows.open(waiter, host)

    def send_items(self, number: int, first: int, bodies: list[bytes]) -> None:
        """Hand items to their reader."""
        inflow = self.inflows.get(number)
        if inflow is not None:
            inflow.put_all(first, bodies)

    def send_end(self, number: int, count: int, error: MeshError | None) -> None:
        """Tell the reader of a stream that it has ended."""
        inflow = self.inflows.get(number)
        if inflow is not None:
            inflow.end(count, None if error is None else wire.rebuilt(error))


def _arrived(reply: Reply) -> Reply:
    """Return a reply as it would arrive from another host."""
    return reply if reply.error is None else Reply(b"", wire.rebuilt(reply.error), reply.host)
