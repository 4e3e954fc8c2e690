"""The Redis server of a mesh: one bounded pool per process, and the client that agents are handed.

The client is redis-py's own with three differences: no command takes longer than `timeout_s` or than the call being
answered has left; nothing is tried twice, since a command whose answer was lost may have been done; and what the
operator must see to is an error of the mesh that says so, without the password. A mistake in a command stays the redis
error it is.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from redis import exceptions as rx
from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection
from redis.asyncio.client import Pipeline, PubSub
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from mesh.clock import Clock
from mesh.config import RedisConfig
from mesh.connections.lookout import Lookout
from mesh.connections.target import Target
from mesh.errors import (
    DeadlineExceeded,
    EngineMissing,
    InvalidArgument,
    MeshError,
    Overloaded,
    PermissionDenied,
    Unavailable,
    Unreachable,
)

T = TypeVar("T")
Carry = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Awaitable[Any]]
"""Runs a coroutine where the pool lives, which an agent in a thread of its own does not."""

RETRY_AFTER_S = 1.0
NEARLY_FULL = 0.97
_SECTION = "`connections.redis` of config/hosts.yaml"


class RedisTarget(Target):
    """The server and its pool in this process; connections are opened as they are needed."""

    name = "redis"

    def __init__(self, config: RedisConfig, clock: Clock, environ: Mapping[str, str] = os.environ) -> None:
        super().__init__(clock)
        self.config = config
        parts = urlsplit(config.url)
        host, port, db = parts.hostname or "localhost", parts.port or 6379, parts.path.strip("/") or "0"
        self.address = f"{host}:{port}/{db}"
        self._secret = environ.get(config.password_env, "") if config.password_env else None
        self._full = False
        self._pool = BlockingConnectionPool(
            max_connections=config.pool, timeout=config.timeout_s, retry=Retry(NoBackoff(), 0),
            connection_class=SSLConnection if parts.scheme == "rediss" else Connection,
            host=host, port=port, db=int(db) if db.isdigit() else 0, username=config.username,
            password=self._secret or None, socket_timeout=config.timeout_s, socket_connect_timeout=config.timeout_s,
        )
        self._own = RedisClient(self)
        self.lookout = Lookout(self, self.check)

    def pool(self) -> tuple[int, int, int]:
        """Return connections in use, open, and at most."""
        used, idle = len(self._pool._in_use_connections), len(self._pool._available_connections)
        return used, used + idle, self.config.pool

    async def disconnect(self) -> None:
        """Close every connection."""
        await self._pool.disconnect()

    async def check(self) -> None:
        """Ask whether it answers and takes writes."""
        async with self._own.pipeline(transaction=False) as asked:
            asked.ping()
            asked.info("memory")
            _, memory = await self.guarded("a look at its health", lambda: Pipeline.execute(asked), None)
        used, most = int(memory.get("used_memory", 0)), int(memory.get("maxmemory", 0))
        limit = most * NEARLY_FULL if self._full else most  # once full it counts as full until there is some room
        self._full = bool(most) and memory.get("maxmemory_policy") == "noeviction" and used >= limit
        if self._full:
            raise self._out_of_memory("writes")

    async def guarded(self, asked: str, work: Callable[[], Awaitable[T]], left: float | None) -> T:
        """Return what `work` returns within `timeout_s` and `left` seconds; raises an error of the mesh for what the
        operator must see to."""
        limit = self.config.timeout_s if left is None else min(self.config.timeout_s, left)
        if self.closed:
            raise Unavailable(f"the connections to Redis at {self.address} are closed: the host stops")
        self.calls += 1
        if limit <= 0:
            raise DeadlineExceeded(f"no time is left to ask Redis at {self.address} for {asked}", began="no")
        clock = asyncio.timeout(limit)
        try:
            async with clock:
                result = await work()
        except (rx.RedisError, OSError, TimeoutError) as error:
            told = self._slow(asked, limit) if clock.expired() else self._explained(asked, error)
            if told is None:
                raise
            self.failures += 1
            if isinstance(told, Unreachable):  # those that wait in the pool led to the same server
                await self._pool.disconnect(inuse_connections=False)
            if limit == self.config.timeout_s or not isinstance(told, DeadlineExceeded):
                self.failed(told)  # a caller in a hurry says nothing about the server
            raise told from None
        if self.health.state == "unknown":
            self.succeeded()
        return result

    def _slow(self, asked: str, limit: float) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"Redis at {self.address} did not answer {asked} within {limit:.3g} s; is it busy or stopped? "
            f"`timeout_s` in {_SECTION} is the limit", began="unknown",
        )

    def _out_of_memory(self, asked: str) -> Overloaded:
        return Overloaded(f"Redis at {self.address} is full and refuses {asked}: raise its maxmemory, or remove keys; "
                          "nothing was stored", retry_after=RETRY_AFTER_S)

    def _explained(self, asked: str, error: Exception) -> MeshError | None:
        """Return the error an operator can do something about, None for a mistake in the command."""
        where, text = f"Redis at {self.address}", self._hidden(str(error))
        if isinstance(error, rx.NoPermissionError):
            return PermissionDenied(f"{where} does not let this user do {asked} ({text})", rule="redis_acl")
        if isinstance(error, (rx.AuthenticationError, rx.AuthenticationWrongNumberOfArgsError)):
            return self._refused(where, text)
        if isinstance(error, rx.MaxConnectionsError) or "No connection available" in text:
            return Overloaded(f"all {self.config.pool} connections to {where} are in use, and {asked} waited "
                              f"{self.config.timeout_s:g} s; raise `pool` in {_SECTION}", retry_after=RETRY_AFTER_S)
        if "max number of clients" in text:
            return Overloaded(f"{where} has no room for another client ({text}); raise its maxclients, or lower "
                              f"`pool` in {_SECTION}", retry_after=RETRY_AFTER_S)
        if isinstance(error, rx.OutOfMemoryError) or text.startswith("OOM ") or "OOM command" in text:
            self._full = True
            return self._out_of_memory(asked)
        if isinstance(error, rx.BusyLoadingError):
            return Unavailable(f"{where} is still reading its data from disk", retry_after=RETRY_AFTER_S)
        if isinstance(error, rx.ReadOnlyError) or text.startswith(("MISCONF", "MASTERDOWN", "NOREPLICAS")):
            return Unavailable(f"{where} takes no writes now ({text}); see its log and its disk",
                               retry_after=RETRY_AFTER_S)
        if isinstance(error, (rx.ConnectionError, rx.TimeoutError, OSError)):
            return self._away(where, asked, text or type(error).__name__)
        return None

    def _refused(self, where: str, text: str) -> EngineMissing:
        variable = self.config.password_env
        if variable is None:
            return EngineMissing(f"{where} asks for a password ({text}); name the environment variable that holds it "
                                 f"as `password_env` in {_SECTION}", command="set connections.redis.password_env")
        found = "is not set" if not self._secret else "is not the one it takes"
        return EngineMissing(f"{where} refused the login ({text}): the password in {variable} {found}; set it where "
                             "the host starts, then start it again", command=f"export {variable}=…")

    def _away(self, where: str, asked: str, text: str) -> Unreachable:
        connecting = "connecting to" in text.lower()
        broke = "cannot be reached" if connecting else f"broke off {asked}"
        return Unreachable(f"{where} {broke} ({text}); is it running, and is `url` in {_SECTION} right?",
                           began="no" if connecting else "unknown")

    def _hidden(self, text: str) -> str:
        return text.replace(self._secret, "***") if self._secret else text


class RedisClient(Redis):
    """redis-py's asyncio client over the pool of this process; bytes in, bytes out.

    Raises `Unreachable`, `DeadlineExceeded`, `Overloaded` (no connection free, or the server is full), `Unavailable`,
    `PermissionDenied` and `EngineMissing` (wrong password).
    """

    def __init__(
        self, target: RedisTarget, carry: Carry | None = None, remaining: Callable[[], float | None] = lambda: None,
    ) -> None:
        super().__init__(connection_pool=target._pool)
        self._target = target
        self._carry = carry
        self._remaining = remaining

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run one command and return its parsed answer."""
        command: Callable[..., Awaitable[Any]] = super().execute_command
        return await self._guard(str(args[0]), lambda: command(*args, **options))

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """Return a pipeline, whose commands leave together; with `transaction` all are done, or none."""
        return RedisPipeline(self, transaction, shard_hint)

    def pubsub(self, **options: Any) -> PubSub:
        """Return a subscription of Redis, which holds one connection of the pool until it is closed."""
        if self._carry is not None:
            raise InvalidArgument("a subscription of Redis lives on the host's loop: use `isolation: coroutine`, or "
                                  "subscribe to events of the mesh", path="isolation")
        return super().pubsub(**options)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Do nothing: the pool is the host's, and closes with it."""

    async def _guard(self, asked: str, work: Callable[[], Awaitable[Any]]) -> Any:
        left = self._remaining()
        if self._carry is None:
            return await self._target.guarded(asked, work, left)
        return await self._carry(lambda: self._target.guarded(asked, work, left))


class RedisPipeline(Pipeline):
    """redis-py's pipeline under the same guard."""

    def __init__(self, client: RedisClient, transaction: bool, shard_hint: str | None) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, transaction, shard_hint)
        self._client = client

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send what was collected and return the answers in order."""
        asked = f"{len(self.command_stack)} commands"
        work: Callable[[bool], Awaitable[list[Any]]] = super().execute
        return cast("list[Any]", await self._client._guard(asked, lambda: work(raise_on_error)))

    async def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command at once, as after `watch`."""
        work: Callable[..., Awaitable[Any]] = super().immediate_execute_command
        return await self._client._guard(str(args[0]), lambda: work(*args, **options))

    async def reset(self) -> None:  # type: ignore[override]  # redis-py's pipeline does not fit redis-py's commands
        """Forget what was collected and give the connection back."""
        carry = self._client._carry
        work: Callable[[], Coroutine[Any, Any, None]] = super().reset
        await (work() if carry is None else carry(work))
