"""Refuse a call that would enter an operation which already waits for it, or that has come too far."""

from __future__ import annotations

from collections.abc import Awaitable

from mesh.errors import CallCycle
from mesh.message import Handler, Reply, Request
from mesh.wire import MAX_HOPS


def hops(inner: Handler) -> Handler:
    """Return `inner` for requests whose path is neither a circle nor over 16 steps."""

    def handle(request: Request) -> Awaitable[Reply]:
        path = request.path
        if path and (len(path) >= MAX_HOPS or request.target in path):
            return _refuse(request)
        return inner(request)

    return handle


async def _refuse(request: Request) -> Reply:
    steps = [*request.path, request.target]
    what = "a circle of calls" if request.target in request.path else f"more than {MAX_HOPS} calls deep"
    return Reply(error=CallCycle(f"{what}: {' → '.join(steps)}", path=steps))
