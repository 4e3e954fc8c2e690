"""Refuse a call that would enter an operation which already waits for it, or that has come too far."""

from __future__ import annotations

from mesh.errors import CallCycle
from mesh.message import Handler, Reply, Request
from mesh.wire import MAX_HOPS


def hops(inner: Handler) -> Handler:
    """Return `inner` for requests whose path is neither a circle nor over 16 steps."""

    async def handle(request: Request) -> Reply:
        if request.path:
            steps = [*request.path, request.target]
            if request.target in request.path:
                return Reply(error=CallCycle(f"a circle of calls: {' → '.join(steps)}", path=steps))
            if len(steps) > MAX_HOPS:
                return Reply(error=CallCycle(f"more than {MAX_HOPS} calls deep: {' → '.join(steps)}", path=steps))
        return await inner(request)

    return handle
