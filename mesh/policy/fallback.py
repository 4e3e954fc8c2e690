"""Answer in place of a call that failed: with a value, or with what another operation says.

For the errors its rule names, which are never those that are the caller's own fault: to hide a wrong argument or a
refused permission would only move the trouble. The reply says what it came from, so nobody takes it for the real one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mesh.address import split_target
from mesh.config import FallbackRule
from mesh.errors import MeshError
from mesh.message import Handler, Reply, Request, Responder, encode, replied
from mesh.metrics import Sample, counter
from mesh.policy.rules import OPERATIONS

VALUE = "value"

ANSWERED = counter("mesh_fallbacks_total", "Failed calls that a fallback answered, by the error it stood in for.",
                   "service", "code")
FAILED = counter("mesh_fallbacks_failed_total", "Failed calls whose fallback failed as well, by the call's own error.",
                 "service", "code")


class Fallbacks:
    """How often fallbacks answered and failed, by called service and the code of the error they stood in for."""

    def __init__(self) -> None:
        self.answered: dict[tuple[str, str], int] = {}
        self.failed: dict[tuple[str, str], int] = {}

    def count(self, request: Request, error: MeshError, *, answered: bool) -> None:
        """Count a call that a fallback was asked for."""
        counts, key = self.answered if answered else self.failed, (request.service, error.code)
        if key in counts or len(counts) < OPERATIONS:
            counts[key] = counts.get(key, 0) + 1

    def samples(self) -> Iterator[Sample]:
        """Yield both figures."""
        for (service, code), count in self.answered.items():
            yield ANSWERED.sample(count, service, code)
        for (service, code), count in self.failed.items():
            yield FAILED.sample(count, service, code)

    def row(self, service: str) -> dict[str, int]:
        """Return what those of a service did, for `mesh describe`."""
        return {"answered": sum(count for (name, _), count in self.answered.items() if name == service),
                "failed": sum(count for (name, _), count in self.failed.items() if name == service)}


def fallback(rule: FallbackRule, fallbacks: Fallbacks, ask: Responder, inner: Handler) -> Handler:
    """Return `inner` with something to fall back on; `ask` makes the call to another operation.

    That call has the failed one in its path, so two operations that are each other's fallback do not ask for ever.
    """
    codes = frozenset(rule.on)
    value = None if rule.service is not None else encode(rule.value, name="value")

    async def handle(request: Request) -> Reply:
        reply = await inner(request)
        error = reply.error
        if error is None or error.code not in codes or (value is not None and request.credit):
            return reply
        if value is not None:
            fallbacks.count(request, error, answered=True)
            return Reply(value, fallback=VALUE)
        other = _other(request, rule.service)
        second = await replied(ask(other))
        fallbacks.count(request, error, answered=second.error is None)
        if second.error is not None:
            return reply._replace(error=_both(error, other, second.error))
        return second._replace(fallback=f"{other.target}, {second.fallback}" if second.fallback else other.target)

    return handle


def _other(request: Request, named: str | None) -> Request:
    """Return the call to the other operation: of the same name, unless the rule names one."""
    assert named is not None
    service, operation = split_target(named) if "." in named else (named, request.operation)
    return request._replace(service=service, operation=operation, path=(*request.path, request.target), to_host=None,
                            options=b"")


def _both(error: MeshError, other: Request, second: MeshError) -> MeshError:
    """Return the call's own error, which tells of the fallback's as well."""
    details: dict[str, Any] = dict(error.details)
    both = type(error)(f"{error.message}; its fallback {other.target} failed as well: {second.code}: {second.message}",
                       **details)
    both.asked = error.asked
    return both
