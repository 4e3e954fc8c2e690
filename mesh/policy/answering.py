"""The way of a request into its cell: let in or refused at the door, its turn, its deadline, its method, its figures.

A request that is refused is answered at once, and so is one whose operation is `prompt`, which means that it never
waits: it needs no task, whether its turn is now or comes later. Every other one is awaited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mesh.clock import Clock
from mesh.errors import MeshError, RateLimited
from mesh.message import Answer, Reply, Request, Responder
from mesh.policy.deadline import DeadlineGuard
from mesh.policy.inbox import Inbox
from mesh.policy.measure import Measure
from mesh.tracing import WAITED


class Answering:
    """What stands in front of a cell's `method`; `early` returns the error of a call above its caller's rate."""

    def __init__(
        self, method: Responder, *, inbox: Inbox, guard: DeadlineGuard, measure: Measure, clock: Clock,
        prompt: Callable[[str], bool] = lambda operation: False,
        early: Callable[[Request], RateLimited | None] = lambda request: None,
    ) -> None:
        self._method = method
        self._inbox = inbox
        self._guard = guard
        self._measure = measure
        self._monotonic = clock.monotonic
        self._prompt = prompt
        self._early = early

    def __call__(self, request: Request) -> Answer:
        """Answer a request."""
        error = self._early(request) or self._inbox.refusal(request)
        if error is not None:
            return self._measure.refused(request, error)
        if not self._prompt(request.operation):
            return self.awaited(request)
        if self._inbox.begin():
            return self._at_once(request, self._monotonic())
        return self._inbox.queue(request, self._at_once)

    def _at_once(self, request: Request, arrived: float) -> Answer:
        """Answer a call that never waits and has its place."""
        began = self._monotonic()
        try:
            answer = self._method(request) if request.deadline > began else Reply(error=self._guard.too_late(request))
        finally:
            self._inbox.end(began)
        if isinstance(answer, Reply):
            return self._measure.ended(request, arrived, answer)
        return self._failed(request, arrived, answer)

    async def _failed(self, request: Request, arrived: float, answer: Awaitable[Reply]) -> Reply:
        """Return the reply of a call that is over, but whose error has yet to be told to the error bus."""
        return self._measure.ended(request, arrived, await answer)

    async def awaited(self, request: Request) -> Reply:
        """Answer a call that waits for something, in the task of its own that this runs in."""
        inbox, arrived = self._inbox, self._monotonic()
        reply: Reply | None = None
        try:
            error: MeshError | None = inbox.refusal(request)  # others may have come before this task began
            if error is None:
                inbox.take(request)
                try:
                    reply = await self._in_turn(request, arrived)
                finally:
                    inbox.give(request)
            else:
                reply = Reply(error=error)
        finally:
            ended = self._measure.ended(request, arrived, reply)
        return ended

    async def _in_turn(self, request: Request, arrived: float) -> Reply:
        inbox, guard, began = self._inbox, self._guard, arrived
        if not inbox.begin():
            try:
                began = await inbox.turn_of(request)
            except MeshError as error:
                return Reply(error=error)
            WAITED.set((request.trace.span_id, began - arrived))
        try:
            if request.deadline <= self._monotonic():
                return Reply(error=guard.too_late(request))
            limit, reply = guard.begin(request), None
            try:
                answer = self._method(request)
                reply = answer if isinstance(answer, Reply) else await answer
                if reply.items is not None:
                    inbox.opened(reply.items)
                return reply
            except asyncio.CancelledError:
                verdict = guard.verdict(limit, request)
                if verdict is None:
                    raise
                return Reply(error=verdict)
            finally:
                guard.end(limit, request, reply)
        finally:
            inbox.end(began)
