"""Bound how many calls of this host to one service may be outstanding, so that one that hangs cannot fill the host.

A semaphore without a queue: who finds no place is told at once, before anything is sent. A stream has its place until
it ends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from mesh.errors import Overloaded
from mesh.message import Reply, Request
from mesh.metrics import Sample, counter, gauge

RETRY_AFTER = 0.1

OUTSTANDING = gauge("mesh_bulkhead_outstanding", "Calls of this host to a service that wait for their answer.",
                    "service")
REFUSED = counter("mesh_bulkhead_refused_total", "Calls that were not sent: too many to the service were outstanding.",
                  "service")

Row = TypeVar("Row")


class Bulkhead:
    """The outstanding calls of this host to one service; `calls` is how many there may be."""

    __slots__ = ("calls", "outstanding", "refused")

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.outstanding = 0
        self.refused = 0

    def leave(self, _: object = None) -> None:
        """Give a place back."""
        self.outstanding -= 1

    def samples(self, service: str) -> Iterator[Sample]:
        """Yield how many calls are outstanding, and how many were refused."""
        yield OUTSTANDING.sample(self.outstanding, service)
        yield REFUSED.sample(self.refused, service)

    def row(self) -> dict[str, int]:
        """Return what it does now, for `mesh describe`."""
        return {"outstanding": self.outstanding, "refused": self.refused}


def bulkhead(
    place: Bulkhead, send: Callable[[Request, Row], Awaitable[Reply]]
) -> Callable[[Request, Row], Awaitable[Reply]]:
    """Return `send` for as many calls at a time as there are places."""

    async def handle(request: Request, row: Row) -> Reply:
        if place.outstanding >= place.calls:
            place.refused += 1
            return Reply(error=Overloaded(
                f"{request.target} was not called: {place.outstanding} calls of this host to {request.service} are "
                "outstanding (policies: bulkhead: calls); try again later", retry_after=RETRY_AFTER,
            ))
        place.outstanding += 1
        items = None
        try:
            reply = await send(request, row)
            items = reply.items
            return reply
        finally:
            if items is None:
                place.leave()
            else:
                items.at_end(place.leave)

    return handle
