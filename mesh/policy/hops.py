"""Refuse a call that would enter an operation which already waits for it, or that has come too far."""

from __future__ import annotations

from mesh.errors import CallCycle
from mesh.message import Answer, Reply, Request, Responder
from mesh.wire import MAX_HOPS


def hops(inner: Responder) -> Responder:
    """Return `inner` for requests whose path is neither a circle nor over 16 steps."""

    def handle(request: Request) -> Answer:
        path = request.path
        if path and (len(path) >= MAX_HOPS or request.target in path):
            return _refusal(request)
        return inner(request)

    return handle


def _refusal(request: Request) -> Reply:
    steps = [*request.path, request.target]
    what = "a circle of calls" if request.target in request.path else f"more than {MAX_HOPS} calls deep"
    return Reply(error=CallCycle(f"{what}: {' → '.join(steps)}", path=steps))
