"""The transport of HTTP: httpx's own, whose connections go only to addresses that a guard lets pass."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore
import httpx

from mesh.connections.guard import Guard
from mesh.errors import EngineMissing, PermissionDenied

HINT = "name the server in `connections: http: targets:`, or its network in `connections: http: private:`"


def transport(guard: Guard | None, pool: int) -> httpx.AsyncHTTPTransport:
    """Return a transport with at most `pool` connections; with a guard each is looked at before it is made.

    Raises `EngineMissing` for an httpx whose transport cannot be guarded.
    """
    limits = httpx.Limits(max_connections=pool, max_keepalive_connections=pool, keepalive_expiry=30.0)
    made = httpx.AsyncHTTPTransport(limits=limits)
    if guard is None:
        return made
    inside = getattr(made, "_pool", None)
    if not isinstance(inside, httpcore.AsyncConnectionPool) or not hasattr(inside, "_network_backend"):
        raise EngineMissing(f"httpx {httpx.__version__} cannot be kept from private addresses; install 0.27 or 0.28",
                            command="pip install 'httpx>=0.27,<0.29'")
    inside._network_backend = GuardedBackend(guard)
    return made


def no_cookies() -> CookieJar:
    """Return a jar that keeps nothing: what one agent was given is not another's."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


class GuardedBackend(httpcore.AnyIOBackend):
    """Connects to a name by those of its addresses that the guard has seen."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of `host` that answers; raises `PermissionDenied` if one may not be reached."""
        addresses = await self._addresses(host, port)
        for address in addresses:
            if refusal := self._guard.refuses(address):
                named = "" if address == host else f" ({host})"
                raise PermissionDenied(f"{refusal}{named}, and agents reach only the internet by a URL; {HINT}",
                                       rule="http_private")
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(f"the name {host} is not known ({error.strerror or error})") from None
        return list(dict.fromkeys(str(address[0]) for *_, address in found))
