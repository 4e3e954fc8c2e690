"""Choose the host that answers a call, from the directory and never by asking."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

from mesh.clock import Clock
from mesh.config import Rules
from mesh.directory import Directory
from mesh.errors import MeshError, Unavailable
from mesh.message import Handler, Reply, Request
from mesh.records import InstanceRecord

PATIENCE = 2.0
REGISTRY = "registry"
SUPERVISOR = "supervisor"
CONTROL = frozenset({REGISTRY, SUPERVISOR})
"""Services that are no agents: no directory lists them, and no policy stands in their way."""

Send = Callable[[Request, InstanceRecord], Awaitable[Reply]]


class Resolver:
    """Routes calls by name; a name that is about to be ready is waited for, at most 2 s.

    `settling` tells whether this host has only just joined, so that a service it does not see yet may still come;
    `changed` waits for the directory's next change or the given seconds.
    """

    def __init__(
        self, directory: Directory, local_host: str, clock: Clock, *, settling: Callable[[], bool],
        changed: Callable[[float], Awaitable[None]],
    ) -> None:
        self._directory = directory
        self._host = local_host
        self._clock = clock
        self._settling = settling
        self._changed = changed
        self._random = Random()

    def knows(self, service: str) -> bool:
        """Tell whether the name was ever configured or announced."""
        return self._directory.is_known(service)

    def in_front_of_control(self, carry: Callable[[Request, str], Awaitable[Reply]]) -> Handler:
        """Return `carry` with the host that a call to a supervisor or the registry goes to."""

        def handle(request: Request) -> Awaitable[Reply]:
            return carry(request, REGISTRY if request.service == REGISTRY else request.to_host or self._host)

        return handle

    def in_front_of(self, send: Send, rules: Rules) -> Handler:
        """Return `send` with the instance that a call goes to."""

        def handle(request: Request) -> Awaitable[Reply]:
            try:
                row = self._pick(request)
            except Unavailable as error:
                return self._wait(request, send, error)
            except MeshError as error:
                return _refuse(error)
            return send(request, row)

        return handle

    def _pick(self, request: Request) -> InstanceRecord:
        return self._directory.pick(request.service, local_host=self._host, to_host=request.to_host,
                                    random=self._random)

    async def _wait(self, request: Request, send: Send, error: Unavailable) -> Reply:
        """Wait for an instance that starts; answer `error` if there is none or it takes too long."""
        until = min(self._clock.monotonic() + PATIENCE, request.deadline)
        while self._directory.starting(request.service, to_host=request.to_host) or self._settling():
            left = until - self._clock.monotonic()
            if left <= 0:
                break
            await self._changed(left)
            try:
                row = self._pick(request)
            except Unavailable as newer:
                error = newer
                continue
            return await send(request, row)
        return Reply(error=error)


async def _refuse(error: MeshError) -> Reply:
    return Reply(error=error)
