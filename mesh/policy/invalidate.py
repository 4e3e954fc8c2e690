"""Tell when an operation has run on which answers that hosts keep depend."""

from __future__ import annotations

from collections.abc import Callable

from mesh.errors import (
    CallCycle,
    CircuitOpen,
    InvalidArgument,
    MessageTooLarge,
    Overloaded,
    PermissionDenied,
    RateLimited,
    Unavailable,
    UnknownOperation,
    UnknownService,
)
from mesh.message import Reply, Request, Responder, replied

REFUSED = frozenset(kind.code for kind in (
    CallCycle, CircuitOpen, InvalidArgument, MessageTooLarge, Overloaded, PermissionDenied, RateLimited, Unavailable,
    UnknownOperation, UnknownService,
))
"""Errors of a call that has changed nothing, because it was not run or was refused."""


async def invalidate(request: Request, inner: Responder, ran: Callable[[Request], None]) -> Reply:
    """Return what `inner` answers; before that `ran` is told if the operation has run, also if it failed halfway.

    Of a stream it is told at the end.
    """
    reply: Reply | None = None
    try:
        reply = await replied(inner(request))
        return reply
    finally:
        if reply is not None and reply.items is not None:
            reply.items.at_end(lambda _: ran(request))
        elif reply is None or not _refused(reply):
            ran(request)


def _refused(reply: Reply) -> bool:
    error = reply.error
    return error is not None and (error.code in REFUSED or error.details.get("began") == "no")
