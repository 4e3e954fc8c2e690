"""Choose the host that answers a call, from the directory and never by asking."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

from mesh.clock import Clock
from mesh.directory import Directory
from mesh.errors import MeshError, Unavailable
from mesh.message import Handler, Reply, Request

PATIENCE = 2.0
REGISTRY = "registry"
SUPERVISOR = "supervisor"

Send = Callable[[Request, str], Awaitable[Reply]]


class Resolver:
    """Routes calls by name; a name that is about to be ready is waited for, at most 2 s.

    `settling` tells whether this host has only just joined, so that a service it does not see yet may still come;
    `changed` waits for the directory's next change or the given seconds.
    """

    def __init__(
        self, directory: Directory, local_host: str, clock: Clock, *, local: Handler, remote: Send,
        settling: Callable[[], bool], changed: Callable[[float], Awaitable[None]],
    ) -> None:
        self._directory = directory
        self._host = local_host
        self._clock = clock
        self._local = local
        self._remote = remote
        self._settling = settling
        self._changed = changed
        self._random = Random()

    def __call__(self, request: Request) -> Awaitable[Reply]:
        """Pass a request on to the host that answers it."""
        service = request.service
        try:
            if service == SUPERVISOR:
                host = request.to_host or self._host
            elif service == REGISTRY:
                host = REGISTRY
            else:
                host = self._directory.pick(
                    service, local_host=self._host, to_host=request.to_host, random=self._random
                ).host
        except Unavailable as error:
            return self._wait(request, error)
        except MeshError as error:
            return _refuse(error)
        return self._send(request, host)

    def _send(self, request: Request, host: str) -> Awaitable[Reply]:
        return self._local(request) if host == self._host else self._remote(request, host)

    async def _wait(self, request: Request, error: Unavailable) -> Reply:
        """Wait for an instance that starts; answer `error` if there is none or it takes too long."""
        until = min(self._clock.monotonic() + PATIENCE, request.deadline)
        while self._directory.starting(request.service, to_host=request.to_host) or self._settling():
            left = until - self._clock.monotonic()
            if left <= 0:
                break
            await self._changed(left)
            try:
                picked = self._directory.pick(
                    request.service, local_host=self._host, to_host=request.to_host, random=self._random
                )
            except Unavailable as newer:
                error = newer
                continue
            return await self._send(request, picked.host)
        return Reply(error=error)


async def _refuse(error: MeshError) -> Reply:
    return Reply(error=error)
