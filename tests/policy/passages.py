"""Calls through a passage that has only the policies a test is about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.message import Handler, Reply, Request
from mesh.policy.balance import Load
from mesh.policy.passage import Passage
from mesh.policy.resolve import Found, Route
from mesh.records import InstanceRecord

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
