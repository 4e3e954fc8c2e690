"""The states of a host in Redis: one hash per service, written whole by one script."""

from __future__ import annotations

import struct
from collections.abc import Awaitable
from typing import Any, TypeVar, cast

from redis.exceptions import RedisError

from mesh.clock import Clock
from mesh.connections import Connections
from mesh.errors import MeshError, StoreError
from mesh.state.store import KEPT, StateVersion, packed, unpacked

T = TypeVar("T")

_TIME = struct.Struct(">d")

_SAVE = """
local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('HSET', KEYS[1], version, ARGV[1])
local old = version - tonumber(ARGV[2])
while old > 0 and redis.call('HDEL', KEYS[1], old) == 1 do old = old - 1 end
return version
"""
"""time and body, versions kept: the new version; what is older than those kept goes."""


class RedisStates:
    """A `StateStore` in the Redis of the mesh; each host keeps its own, as with files."""

    def __init__(
        self, connections: Connections, mesh: str, host: str, *, clock: Clock | None = None, kept: int = KEPT
    ) -> None:
        self.kept = kept
        self._clock = clock or Clock()
        self._prefix = f"mesh:{mesh}:state:{host}"
        self._target = connections.redis
        self._redis = connections.of("").redis
        self._target.users.discard("")  # who uses it are the services that save

    async def save(self, service: str, state: dict[str, Any]) -> int:
        """Keep `state` as the newest of `service` and return its version."""
        value = _TIME.pack(self._clock.time()) + packed(state)
        return int(await self._done(service, self._redis.eval(_SAVE, 1, self._key(service), cast(Any, value),
                                                              cast(Any, self.kept))))

    async def latest(self, service: str) -> StateVersion | None:
        """Return the newest state of `service`, None when none was saved."""
        found = await self.history(service, 1)
        return found[0] if found else None

    async def history(self, service: str, limit: int = 10) -> list[StateVersion]:
        """Return up to `limit` states of `service`, the newest first."""
        key = self._key(service)
        newest = int(await self._done(service, cast(Any, self._redis.hget(key, "version"))) or 0)
        versions = range(newest, max(0, newest - min(limit, self.kept)), -1)
        if not versions:
            return []
        values = await self._done(service, cast(Any, self._redis.hmget(key, [str(one) for one in versions])))
        return [StateVersion(version, *self._read(value, service, version))
                for version, value in zip(versions, values, strict=True) if value is not None]

    async def close(self) -> None:
        """Do nothing: the connections are the host's."""

    def _key(self, service: str) -> str:
        self._target.users.add(service)
        return f"{self._prefix}:{service}"

    def _read(self, value: bytes, service: str, version: int) -> tuple[float, dict[str, Any]]:
        where = f"{self._prefix}:{service} in Redis at {self._target.address}"
        if len(value) < _TIME.size:
            raise StoreError(f"{where}: version {version} is damaged; remove that field")
        return _TIME.unpack_from(value)[0], unpacked(value[_TIME.size :], where, service, version)

    async def _done(self, service: str, work: Awaitable[Any]) -> Any:
        try:
            return await work
        except MeshError as error:
            raise StoreError(f"the state of {service} cannot be kept or read: {error.message}") from None
        except RedisError as error:
            raise StoreError(f"{self._prefix}:{service} in Redis at {self._target.address} cannot be used: {error}; is "
                             "the key another program's?") from error
