"""The way of one operation's calls out of the caller's host: chosen, let through, sent, counted, and asked again.

In the order in which a call passes: an instance is chosen; its breaker, the bulkhead of its service and a pause it has
asked for are looked at, any of which may refuse the call before anything is sent; then it leaves. What it comes to is
told to all of them, and last it is decided whether it is asked again. A policy whose rule is off is None here.

One coroutine for all of it: to be awaited costs as much as all that a policy does.
"""

from __future__ import annotations

from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.message import Reply, Request
from mesh.policy.breakers import Guard, Guarded
from mesh.policy.bulkhead import Bulkhead
from mesh.policy.pause import Hold, Pause
from mesh.policy.resolve import Carry, Route
from mesh.policy.retry import Retry
from mesh.records import InstanceRecord

Ticket = tuple[Guarded | None, int, Pause | None, float]
"""What a call that was let through has to give back: its breaker with the turn, its pause, and when it left."""


class Passage:
    """One operation's calls, each carried to an instance that `route` finds."""

    def __init__(
        self, route: Route, carry: Carry, clock: Clock, *, guard: Guard | None = None, bulkhead: Bulkhead | None = None,
        hold: Hold | None = None, retry: Retry | None = None,
    ) -> None:
        self._route = route
        self._carry = carry
        self._clock = clock
        self._monotonic = clock.monotonic
        self._guard = guard
        self._bulkhead = bulkhead
        self._hold = hold
        self._retry = retry

    async def __call__(self, request: Request, attempts: int = 1) -> Reply:
        """Make a call, for the first time unless `attempts` says otherwise."""
        row, place, load = self._route.instance(request)
        if isinstance(row, MeshError):
            row, place, load = await self._route.arrival(request, row)
        if isinstance(row, MeshError):
            reply = Reply(error=row)
        else:
            ticket = self._let_through(request, row)
            answered: Reply | None = None
            try:
                if isinstance(ticket, MeshError):
                    answered = Reply(error=ticket)
                else:
                    answer = self._carry(request if place is None else request._replace(to_host=place), row.host)
                    answered = answer if isinstance(answer, Reply) else await answer
            finally:
                if load is not None:
                    self._route.load.end(load, answered)
                if not isinstance(ticket, MeshError):
                    self._back(ticket, request, row, answered)
            reply = answered
        retry = self._retry
        if retry is None:
            return reply
        if attempts == 1:
            retry.budget.calls += 1
        if reply.error is not None:
            wait = retry.wait(request, reply.error, attempts)
            if wait is not None:
                await self._clock.sleep(wait)
                return await self(request, attempts + 1)
        return reply if attempts == 1 else reply._replace(attempts=attempts)

    def _let_through(self, request: Request, row: InstanceRecord) -> Ticket | MeshError:
        """Return what the call gives back when it ends, or why it is not sent."""
        now = self._monotonic()
        guard, bulkhead, hold = self._guard, self._bulkhead, self._hold
        held = None
        if guard is not None:
            held = guard.last
            if held is None or held.row is not row:
                held = guard.of(row)
            if now >= held.breaker.next_look:
                refusal = guard.refusal(held, request, now)
                if refusal is not None:
                    return refusal
        if bulkhead is not None and bulkhead.outstanding >= bulkhead.calls:
            return bulkhead.refusal(request)
        pause = None
        if hold is not None and hold.pauses:
            found = hold.of(request, row, now)
            if isinstance(found, MeshError):
                return found
            pause = found
        turn = 0
        if guard is not None and held is not None:
            turn = held.breaker.turn if held.breaker.state == "closed" else guard.begin(held, now)
        if bulkhead is not None:
            bulkhead.outstanding += 1
        if pause is not None:
            pause.outstanding += 1
        return held, turn, pause, now

    def _back(self, ticket: Ticket, request: Request, row: InstanceRecord, reply: Reply | None) -> None:
        """Tell what a call came to; None says that its caller gave it up."""
        held, turn, pause, began = ticket
        bulkhead = self._bulkhead
        if bulkhead is not None:
            if reply is None or reply.items is None:
                bulkhead.outstanding -= 1
            else:  # a stream has its place until it ends
                reply.items.at_end(bulkhead.leave)
        if self._guard is not None and held is not None:
            breaker = held.breaker
            if reply is not None and reply.error is None and turn == breaker.turn and breaker.state == "closed":
                breaker.ok += 1  # as nearly every call ends: no detour
                breaker.failures = 0
            else:
                self._guard.ended(held, turn, reply, request.deadline - began)
        if pause is not None:
            pause.outstanding -= 1
        if self._hold is not None and reply is not None and (pause is not None or reply.error is not None):
            self._hold.ended(request, row, pause, reply.error)
