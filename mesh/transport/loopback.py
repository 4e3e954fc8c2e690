"""Calls without a socket: the twin of pool and listener for agents of one process, and for tests.

The bodies are the same encoded bytes, the numbers, deadlines and cancellation the same as over a link.
"""

from __future__ import annotations

from mesh import wire
from mesh.message import Handler, Reply, Request
from mesh.transport.pending import Pending, Waiter
from mesh.transport.running import Running


class Loopback:
    """Carries calls to a handler in the same process, each in a task of its own."""

    def __init__(self, handler: Handler, pending: Pending) -> None:
        self.waiters: dict[int, Waiter] = {}
        self._pending = pending
        self._running = Running(handler, self._answer)

    async def exchange(self, request: Request) -> Reply:
        """Have the handler answer `request` and return its reply."""
        waiter = self._pending.open(request, self)
        self._running.start(waiter.number, request)
        return await waiter.outcome()

    def give_up(self, number: int) -> bool:
        """Cancel the call at the callee; it had begun as soon as it was made."""
        self._running.cancel(number)
        return False

    def cancel_all(self) -> None:
        """Cancel every running call; each is answered `cancelled`."""
        self._running.cancel_all()

    def _answer(self, number: int, request: Request, reply: Reply) -> None:
        waiter = self.waiters.get(number)
        if waiter is not None:
            waiter.finish(reply if reply.error is None else Reply(b"", wire.rebuilt(reply.error), reply.host))
