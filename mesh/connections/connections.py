"""What the agents of one process reach outside the mesh: each target once, its connections shared and bounded."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mesh.clock import Clock
from mesh.config import ConnectionsConfig
from mesh.connections.target import Target, TargetFigures, reasons
from mesh.errors import EngineMissing
from mesh.metrics import Sample

if TYPE_CHECKING:
    from mesh.connections.http import HttpClient, HttpPool
    from mesh.connections.redis import Carry, RedisClient, RedisTarget

NO_REDIS = 'add `connections: {redis: {url: "redis://HOST:6379/0"}}` to config/hosts.yaml'


class Connections:
    """The targets of one process; `changed` is told of each whose health is news.

    `start` begins to look at those that config names; they are opened when somebody uses them, and closed by `close`.
    """

    def __init__(
        self, config: ConnectionsConfig, clock: Clock, changed: Callable[[Target], None] = lambda target: None
    ) -> None:
        self.config = config
        self.clock = clock
        self.guests: Counter[str] = Counter()
        self._changed = changed
        self._targets: dict[str, Target] = {}
        self._looking = False

    @property
    def redis(self) -> RedisTarget:
        """The Redis server that config names; raises `EngineMissing` when it names none."""
        if self.config.redis is None:
            raise EngineMissing(f"config/hosts.yaml names no Redis; {NO_REDIS}", command=NO_REDIS)
        known = self._targets.get("redis")
        if known is None:
            from mesh.connections.redis import RedisTarget  # a tenth of a second, for those who name a Redis

            known = self._add(RedisTarget(self.config.redis, self.clock))
        return known  # type: ignore[return-value]  # the target of this name is one

    @property
    def http(self) -> HttpPool:
        """HTTP; raises `EngineMissing` when httpx is not installed."""
        known = self._targets.get("http")
        if known is None:
            from mesh.connections.http import HttpPool  # an extra, for those who use it

            known = self._add(HttpPool(self.config.http, self.clock))
            for named in known.targets.values():  # type: ignore[attr-defined]  # it is the pool, made a line above
                self._add(named)
        return known  # type: ignore[return-value]  # the target of this name is one

    def start(self) -> None:
        """Begin to look whether the targets that config names are well."""
        self._looking = True
        if self.config.redis is not None:
            _ = self.redis
        if self.config.http.targets:
            with contextlib.suppress(EngineMissing):  # whoever uses them is told
                _ = self.http
        for target in self._targets.values():
            target.start()

    async def close(self) -> None:
        """Close every connection for good."""
        self._looking = False
        targets = list(self._targets.values())
        self._targets.clear()
        await asyncio.gather(*(target.close() for target in targets))

    def figures(self) -> list[TargetFigures]:
        """Return what each target shows of itself."""
        return [self._targets[name].figures() for name in sorted(self._targets)]

    def samples(self) -> Iterator[Sample]:
        """Yield the figures of each target for whoever scrapes."""
        for target in self.targets():
            yield from target.samples()

    def of(
        self, service: str, *, carry: Carry | None = None, remaining: Callable[[], float | None] = lambda: None
    ) -> AgentConnections:
        """Return the connections as one agent is handed them."""
        return AgentConnections(self, service, carry, remaining)

    def targets(self) -> Iterator[Target]:
        """Yield every target in use."""
        yield from list(self._targets.values())

    def _add(self, target: Target) -> Target:
        self._targets[target.name] = target
        target.changed = self._changed
        if self._looking:
            target.start()
        return target


class AgentConnections:
    """`self.connections` of one agent: the shared targets, under the deadline of the call being answered.

    While an agent is replaced there are two of one service, which counts as a user until the last has left.
    """

    def __init__(
        self, connections: Connections, service: str, carry: Carry | None, remaining: Callable[[], float | None]
    ) -> None:
        self._connections = connections
        self._service = service
        self._carry = carry
        self._remaining = remaining
        self._redis: RedisClient | None = None
        self._http: HttpClient | None = None
        self._missing: str | None = None
        self._entered = False

    @property
    def redis(self) -> RedisClient:
        """The client of the mesh's Redis; raises `EngineMissing` when config names none."""
        if self._redis is None:
            target = self._connections.redis
            from mesh.connections.redis import RedisClient  # loaded with its target

            self._enter(target)
            self._redis = RedisClient(target, self._carry, self._remaining)
        return self._redis

    @property
    def http(self) -> HttpClient:
        """HTTP within the limits of config; raises `EngineMissing` when httpx is not installed."""
        if self._http is None:
            try:
                pool = self._connections.http
            except EngineMissing as error:
                self._missing = error.message
                raise
            from mesh.connections.http import HttpClient  # loaded with its pool

            self._enter(pool)
            self._http = HttpClient(pool, self._service, self._carry, self._remaining)
        return self._http

    def limits(self) -> list[str]:
        """Return why what this agent uses limits it."""
        missing = [self._missing] if self._missing else []
        return [*missing, *reasons(self._connections.targets(), self._service)]

    def leave(self) -> None:
        """Be no user of anything any more."""
        guests = self._connections.guests
        if self._entered:
            self._entered = False
            guests[self._service] -= 1
        if not guests[self._service]:
            for target in self._connections.targets():
                target.users.discard(self._service)

    def _enter(self, target: Target) -> None:
        if not self._entered:
            self._entered = True
            self._connections.guests[self._service] += 1
        target.users.add(self._service)
