"""Bound how many calls of this host to one service may be outstanding, so that one that hangs cannot fill the host.

A semaphore without a queue: who finds no place is told at once, before anything is sent. A stream has its place until
it ends.
"""

from __future__ import annotations

from collections.abc import Iterator

from mesh.errors import Overloaded
from mesh.message import Request
from mesh.metrics import Sample, counter, gauge

RETRY_AFTER = 0.1

OUTSTANDING = gauge("mesh_bulkhead_outstanding", "Calls of this host to a service that wait for their answer.",
                    "service")
REFUSED = counter("mesh_bulkhead_refused_total", "Calls that were not sent: too many to the service were outstanding.",
                  "service")

class Bulkhead:
    """The outstanding calls of this host to one service; `calls` is how many there may be.

    Whoever sends one counts it in `outstanding`, and takes it back when it has ended.
    """

    __slots__ = ("calls", "outstanding", "refused")

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.outstanding = 0
        self.refused = 0

    def refusal(self, request: Request) -> Overloaded:
        """Return the error of a call that finds no place."""
        self.refused += 1
        return Overloaded(
            f"{request.target} was not called: {self.outstanding} calls of this host to {request.service} are "
            "outstanding (policies: bulkhead: calls); try again later", retry_after=RETRY_AFTER,
        )

    def leave(self, _: object = None) -> None:
        """Give a place back."""
        self.outstanding -= 1


class Bulkheads:
    """The bulkheads of a host by called service; an operation with a rule of its own has one of its own with it."""

    def __init__(self) -> None:
        self._of: dict[str, dict[int, Bulkhead]] = {}

    def of(self, service: str, calls: int) -> Bulkhead:
        """Return the one for calls whose rule allows so many."""
        return self._of.setdefault(service, {}).setdefault(calls, Bulkhead(calls))

    def samples(self) -> Iterator[Sample]:
        """Yield the figures of every service."""
        for service, places in self._of.items():
            yield OUTSTANDING.sample(sum(place.outstanding for place in places.values()), service)
            yield REFUSED.sample(sum(place.refused for place in places.values()), service)

    def row(self, service: str) -> dict[str, int]:
        """Return what those of a service do now, for `mesh describe`."""
        places = self._of.get(service, {}).values()
        return {"outstanding": sum(place.outstanding for place in places),
                "refused": sum(place.refused for place in places)}
