"""HTTP for the agents of one process: shared, bounded connections, and the client that agents are handed.

- A request takes no longer than its limit, all attempts and redirects included, and than the call being answered has
  left.
- Only what may be done twice (GET, HEAD, OPTIONS, PUT, DELETE) is tried again: when the server could not be reached or
  asked to wait, and only while there is time.
- A URL reaches the internet alone (`guard.py`); servers that config names as targets are reached by their name, over
  connections of their own. A redirect is looked at like a URL, and never leads from https to http.
- Nothing is kept between requests but connections: no cookies, no proxies of the environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mesh.clock import Clock
from mesh.config import HttpConfig, HttpTarget
from mesh.connections.answer import Answer, read
from mesh.connections.guard import Guard
from mesh.connections.lookout import Lookout
from mesh.connections.slots import Slots
from mesh.connections.target import Target
from mesh.errors import (
    DeadlineExceeded,
    EngineMissing,
    InvalidArgument,
    MeshError,
    Overloaded,
    PermissionDenied,
    RemoteFailure,
    Unreachable,
)

if TYPE_CHECKING:
    import httpx

    from mesh.connections.redis import Carry

INSTALL = "pip install 'mesh[http]'"
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
PASSING = frozenset({429, 502, 503, 504})
"""Answers that a server gives for a while."""
DELAY_S = 0.1
_QUOTED = 200
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one request may take; seconds, bytes, and counts."""

    timeout_s: float
    max_response: int
    attempts: int
    redirects: int


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One request as it is sent."""

    method: str
    url: str
    shown: str
    options: Mapping[str, Any]
    accept: Collection[int]


class HttpPool(Target):
    """The connections of one process: those to the internet, and those to named targets, which are `targets`."""

    name = "http"
    address = "the internet"

    def __init__(self, config: HttpConfig, clock: Clock, environ: Mapping[str, str] = os.environ) -> None:
        super().__init__(clock)
        try:
            import httpx  # an extra: only agents that use HTTP pay for it
        except ImportError:
            raise EngineMissing(f"HTTP needs httpx, which is not installed: {INSTALL}", command=INSTALL) from None
        from mesh.connections.guarded import no_cookies, transport  # needs httpx

        self.config = config
        self.servers = Slots(config.per_target)
        self.connections = Slots(config.pool)
        self._httpx = httpx
        self.targets = {name: HttpNamed(name, target, self, environ) for name, target in config.targets.items()}
        guards = (Guard(config.private), None)
        self._free, self._named = (
            httpx.AsyncClient(transport=transport(guard, config.pool), trust_env=False, timeout=None,
                              cookies=no_cookies(),
                              headers={"Accept-Encoding": "gzip", "User-Agent": "mesh"})
            for guard in guards
        )

    @property
    def limits(self) -> HttpLimits:
        """What config allows a request."""
        config = self.config
        return HttpLimits(config.timeout_s, int(config.max_response_mb * _MIB), config.attempts, config.redirects)

    def pool(self) -> tuple[int, int, int]:
        """Return requests that run, the same, and how many may."""
        running = self.connections.running("all")
        return running, running, self.config.pool

    async def disconnect(self) -> None:
        """Close every connection."""
        await asyncio.gather(self._free.aclose(), self._named.aclose())

    async def exchange(self, wanted: _Wanted, limits: HttpLimits, left: float | None, named: HttpNamed | None,
                       own: Slots | None) -> Answer:
        """Return the answer to a request; raises an error of the mesh for anything else."""
        limit = limits.timeout_s if left is None else min(limits.timeout_s, left)
        if limit <= 0:
            raise DeadlineExceeded(f"no time is left for {wanted.method} {wanted.shown}", began="no")
        if self.closed:
            raise Unreachable(f"{wanted.shown}: the host stops", began="no")
        until = self.clock.monotonic() + limit
        stage = {"waiting": True}
        try:
            async with asyncio.timeout(limit):
                return await self._attempts(wanted, limits, until, named, own, stage)
        except TimeoutError:
            if stage["waiting"]:
                raise Overloaded(f"{wanted.shown}: no connection was free within {limit:.3g} s; raise `per_target` or "
                                 "`pool` in `connections: http:`", retry_after=1.0) from None
            told = DeadlineExceeded(f"{wanted.shown} did not answer {wanted.method} within {limit:.3g} s",
                                    began="unknown")
            self._failed(told, named, limit == limits.timeout_s)
            raise told from None

    async def _attempts(
        self, wanted: _Wanted, limits: HttpLimits, until: float, named: HttpNamed | None, own: Slots | None,
        stage: dict[str, bool],
    ) -> Answer:
        attempts = limits.attempts if wanted.method in IDEMPOTENT else 1
        for attempt in range(1, attempts + 1):
            error: MeshError | None
            try:
                answer = await self._follow(wanted, limits, named, own, stage)
            except Unreachable as unreachable:
                error = unreachable
                self._failed(unreachable, named, True)
            else:
                error = _refusal(wanted, answer)
                if error is None:
                    self._succeeded(named)
                    return answer
                if answer.status not in PASSING:
                    raise error
            delay = DELAY_S * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)
            delay = max(delay, float(error.details.get("retry_after") or 0.0))
            if attempt == attempts or self.clock.monotonic() + delay >= until:
                raise error
            stage["waiting"] = False
            await self.clock.sleep(delay)
        raise AssertionError("an attempt either returns or raises")

    async def _follow(
        self, wanted: _Wanted, limits: HttpLimits, named: HttpNamed | None, own: Slots | None, stage: dict[str, bool],
    ) -> Answer:
        """Send a request and what it is redirected to."""
        httpx = self._httpx
        try:
            request = self._free.build_request(wanted.method, wanted.url, **wanted.options)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, TypeError, ValueError) as error:
            raise InvalidArgument(f"{wanted.method} {wanted.shown!r:.200} cannot be sent: {error}",
                                  path="url") from None
        for _ in range(limits.redirects + 1):
            following = await self._send(request, wanted, limits, named, own, stage)
            if isinstance(following, Answer):
                return following
            if request.url.scheme == "https" and following.url.scheme != "https":
                raise PermissionDenied(f"{wanted.shown} leads from https to {following.url.scheme}",
                                       rule="http_downgrade")
            request = following
        raise RemoteFailure(f"{wanted.shown} leads on and on: more than {limits.redirects} redirects",
                            type="TooManyRedirects")

    async def _send(
        self, request: httpx.Request, wanted: _Wanted, limits: HttpLimits, named: HttpNamed | None, own: Slots | None,
        stage: dict[str, bool],
    ) -> Answer | httpx.Request:
        """Send one request; returns the answer, or the request it is redirected to."""
        httpx, url = self._httpx, request.url
        if url.scheme not in ("http", "https") or not url.host:
            raise InvalidArgument(f"{_shown(str(url))!r:.200} is no http address; write https://HOST/PATH", path="url")
        origin = _origin(url)
        client = self._named if named is not None and named.has(origin) else self._free
        told = _shown(str(url))
        stage["waiting"] = True
        async with self._slot(origin, own):
            stage["waiting"] = False
            self.calls += 1
            try:
                response = await client.send(request, stream=True, follow_redirects=False)
                try:
                    if response.next_request is not None:
                        return response.next_request
                    body = await read(told, response.aiter_raw(), response.headers.get("content-encoding", ""),
                                      limits.max_response)
                    return Answer(told, response.status_code, dict(response.headers), body)
                finally:
                    await response.aclose()
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                raise Unreachable(f"{told} cannot be reached ({str(error) or type(error).__name__})",
                                  began="no") from None
            except (httpx.TransportError, httpx.StreamError) as error:
                raise Unreachable(f"{told} broke off {wanted.method} ({str(error) or type(error).__name__})",
                                  began="unknown") from None

    @contextlib.asynccontextmanager
    async def _slot(self, origin: str, own: Slots | None) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            if own is not None:
                await stack.enter_async_context(own.one(origin))
            await stack.enter_async_context(self.servers.one(origin))
            await stack.enter_async_context(self.connections.one("all"))
            yield

    def _failed(self, error: MeshError, named: HttpNamed | None, tells: bool) -> None:
        self.failures += 1
        if named is not None and tells:
            named.failures += 1
            named.failed(error)

    def _succeeded(self, named: HttpNamed | None) -> None:
        self.succeeded()
        if named is not None:
            named.calls += 1
            if named.check_path is None or named.health.state == "unknown":
                named.succeeded()


class HttpNamed(Target):
    """A server that config names; looked at now and then if config says which path to ask."""

    def __init__(self, name: str, target: HttpTarget, pool: HttpPool, environ: Mapping[str, str]) -> None:
        super().__init__(pool.clock)
        self.name = f"http_{name}"
        self.address = target.url
        self.base = target.url.rstrip("/")
        self.check_path = target.check
        if target.check is not None:
            self.lookout = Lookout(self, self.check)
        self._pool = pool
        self._variable = target.token_env
        self._environ = environ
        self._origin = _origin(pool._httpx.URL(self.base))

    def has(self, origin: str) -> bool:
        """Tell whether a URL of `origin` is this server's."""
        return origin == self._origin

    def headers(self) -> dict[str, str]:
        """Return what proves who asks; raises `EngineMissing` when its variable is not set."""
        if self._variable is None:
            return {}
        token = self._environ.get(self._variable, "").strip()
        if not token:
            raise EngineMissing(f"{self.base} needs a token, and the environment variable {self._variable} is not set; "
                                "set it where the host starts", command=f"export {self._variable}=…")
        return {"Authorization": f"Bearer {token}"}

    def pool(self) -> tuple[int, int, int]:
        """Return requests that run, the same, and how many may."""
        running = self._pool.servers.running(self._origin)
        return running, running, self._pool.config.per_target

    async def disconnect(self) -> None:
        """Do nothing: the connections are the pool's."""

    async def check(self) -> None:
        """Ask the path that config names."""
        wanted = _Wanted("GET", url := f"{self.base}{self.check_path}", url, {"headers": self.headers()}, ())
        await self._pool.exchange(wanted, replace(self._pool.limits, attempts=1), None, self, None)


class HttpClient:
    """HTTP as an agent uses it; `to` gives one whose paths are below a target that config names.

    Every method returns an `Answer` and raises `Unreachable`, `DeadlineExceeded`, `Overloaded` (no slot free, or the
    server says 429 or 503), `RemoteFailure` (any other status from 400 on, or an answer that cannot be used),
    `PermissionDenied` (an address that no URL may reach) and `InvalidArgument`.
    """

    def __init__(
        self, pool: HttpPool, service: str, carry: Carry | None, remaining: Callable[[], float | None], *,
        limits: HttpLimits | None = None, own: Slots | None = None, named: HttpNamed | None = None,
    ) -> None:
        self._pool = pool
        self._service = service
        self._carry = carry
        self._remaining = remaining
        self._limits = limits or pool.limits
        self._own = own
        self._named = named

    def to(self, name: str) -> HttpClient:
        """Return the client of the target `name`; raises `EngineMissing` when config names no such target."""
        named = self._pool.targets.get(name)
        if named is None:
            known = ", ".join(sorted(self._pool.targets)) or "none"
            raise EngineMissing(f"config/hosts.yaml names no HTTP target {name}; it names {known}",
                                command=f"add connections.http.targets.{name} to config/hosts.yaml")
        named.users.add(self._service)
        return HttpClient(self._pool, self._service, self._carry, self._remaining, limits=self._limits, own=self._own,
                          named=named)

    def within(
        self, *, timeout_s: float | None = None, max_response_mb: float | None = None, attempts: int | None = None,
        redirects: int | None = None, per_target: int | None = None,
    ) -> HttpClient:
        """Return a client with limits of its own, never wider than those of config."""
        before = self._limits
        limits = HttpLimits(
            _least(timeout_s, before.timeout_s),
            int(_least(None if max_response_mb is None else max_response_mb * _MIB, before.max_response)),
            int(_least(attempts, before.attempts)), int(_least(redirects, before.redirects)),
        )
        own = self._own if per_target is None else Slots(per_target)
        return HttpClient(self._pool, self._service, self._carry, self._remaining, limits=limits, own=own,
                          named=self._named)

    async def request(
        self, method: str, url: str, *, params: Mapping[str, Any] | None = None, json: Any = None,
        data: Mapping[str, Any] | None = None, content: bytes | str | None = None,
        headers: Mapping[str, str] | None = None, timeout: float | None = None, accept: Collection[int] = (),
    ) -> Answer:
        """Send a request and return its answer; `accept` names statuses from 400 on that are an answer too."""
        own, method = {**(headers or {})}, method.upper()
        if self._named is not None:
            url = f"{self._named.base}/{url.lstrip('/')}"
            own = {**own, **self._named.headers()}
        options = {"params": params, "json": json, "data": data, "content": content, "headers": own}
        given = {key: value for key, value in options.items() if value is not None}
        wanted = _Wanted(method, url, _shown(url), given, accept)
        limits = self._limits if timeout is None else replace(self._limits,
                                                              timeout_s=_least(timeout, self._limits.timeout_s))
        left = self._remaining()

        def exchange() -> Coroutine[Any, Any, Answer]:
            return self._pool.exchange(wanted, limits, left, self._named, self._own)

        answer: Answer = await (exchange() if self._carry is None else self._carry(exchange))
        return answer

    async def get(self, url: str, **options: Any) -> Answer:
        """Send GET; options as of `request`."""
        return await self.request("GET", url, **options)

    async def head(self, url: str, **options: Any) -> Answer:
        """Send HEAD; options as of `request`."""
        return await self.request("HEAD", url, **options)

    async def post(self, url: str, **options: Any) -> Answer:
        """Send POST, which is never tried twice; options as of `request`."""
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: Any) -> Answer:
        """Send PUT; options as of `request`."""
        return await self.request("PUT", url, **options)

    async def patch(self, url: str, **options: Any) -> Answer:
        """Send PATCH, which is never tried twice; options as of `request`."""
        return await self.request("PATCH", url, **options)

    async def delete(self, url: str, **options: Any) -> Answer:
        """Send DELETE; options as of `request`."""
        return await self.request("DELETE", url, **options)


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}"


def _shown(url: str) -> str:
    """Return a URL without what may be secret in it: user, password, query."""
    scheme, found, rest = url.partition("?")[0].partition("#")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{found}{host.rpartition('@')[2]}{slash}{path}"


def _least(wanted: float | None, allowed: float) -> float:
    return allowed if wanted is None else min(wanted, allowed)


def _refusal(wanted: _Wanted, answer: Answer) -> MeshError | None:
    """Return the error that a status means, None for one that is an answer."""
    if answer.status < 400 or answer.status in wanted.accept:
        return None
    said = f": {answer.text[:_QUOTED].strip()}" if answer.body.strip() else ""
    told = f"{answer.url} answered {wanted.method} with HTTP {answer.status}{said}"
    if answer.status in (429, 503):
        return Overloaded(told, retry_after=_retry_after(answer.headers))
    if answer.status in PASSING:  # whoever stands before the server could not reach it
        return Unreachable(told, began="unknown")
    return RemoteFailure(told, type=f"HTTP {answer.status}")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of `Retry-After`; its form as a date is left out, since clocks differ."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86_400 else None
