"""Calls on their way out and in, through only those policies that a test is about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.message import Handler, Reply, Request, Responder, replied
from mesh.policy.answering import Answering
from mesh.policy.balance import Load
from mesh.policy.deadline import DeadlineGuard
from mesh.policy.inbox import Inbox
from mesh.policy.measure import CallStats, Measure
from mesh.policy.passage import Passage
from mesh.policy.resolve import Found, Route
from mesh.records import InstanceRecord
from mesh.tracing import SpanRing
from mesh.transport.deadlines import Deadlines

Send = Callable[[Request, InstanceRecord], Awaitable[Reply]]


class Fixed:
    """A route that leads to one instance."""

    def __init__(self, row: InstanceRecord) -> None:
        self.row = row
        self.load = Load()

    def instance(self, request: Request) -> Found:
        """Return the instance."""
        return self.row, None, None

    async def arrival(self, request: Request, error: MeshError) -> Found:
        """It is there."""
        raise AssertionError("nobody waits for an instance")


def through(send: Send, clock: Clock, **policies: Any) -> Send:
    """Return `send` behind `policies`, for calls to whatever instance they name."""

    async def handle(request: Request, row: InstanceRecord) -> Reply:
        passage = Passage(cast(Route, Fixed(row)), lambda request, _: send(request, row), clock, **policies)
        return await passage(request)

    return handle


def over(inner: Handler, clock: Clock, **policies: Any) -> Handler:
    """Return `inner` behind `policies`, for calls to one instance."""
    row = InstanceRecord("kb", "pc2", 1, "ready")
    return Passage(cast(Route, Fixed(row)), lambda request, _: inner(request), clock, **policies)


def behind(
    method: Responder, clock: Clock, *, inbox: Inbox | None = None, guard: DeadlineGuard | None = None,
    stats: CallStats | None = None, spans: SpanRing | None = None,
) -> Handler:
    """Return what stands in front of a method that waits, roomy where a test says nothing of it."""
    answering = Answering(
        method, inbox=Inbox(waiting=1000, concurrency=1000, clock=clock) if inbox is None else inbox, clock=clock,
        guard=DeadlineGuard(Deadlines(clock), clock) if guard is None else guard,
        measure=Measure(stats or CallStats(), SpanRing() if spans is None else spans, "pc2", clock),
    )
    return lambda request: replied(answering(request))
