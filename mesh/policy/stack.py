"""The two onions of a call, each built once, in the order in which a request passes."""

from __future__ import annotations

from mesh.clock import Clock
from mesh.message import Handler
from mesh.policy.deadline import DeadlineGuard
from mesh.policy.hops import hops
from mesh.policy.inbox import Inbox
from mesh.policy.measure import CallStats, measure
from mesh.tracing import SpanRing


def outgoing(resolve: Handler) -> Handler:
    """Return what a caller's request passes on its way out."""
    return hops(resolve)


def incoming(
    method: Handler, *, stats: CallStats, spans: SpanRing, host: str, inbox: Inbox, guard: DeadlineGuard, clock: Clock
) -> Handler:
    """Return what a request passes on its way to a cell's method."""
    handler = guard.in_front_of(method)
    handler = inbox.in_front_of(handler)
    return measure(stats, spans, host, clock, handler)
