"""A cache with a lifetime per kind of entry, shared by the agents of all hosts."""

from __future__ import annotations

from typing import Annotated, Any

import msgpack
from agents_pc2.cache_store import CacheStore
from pydantic import BaseModel, Field

from mesh import Agent, AgentConfig, InvalidArgument, MessageTooLarge, every, operation

MEMORY = "memory"
MEMORY_TTL = 3600.0
Seconds = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Key = Annotated[str, Field(min_length=1, max_length=1000)]


class Cached(BaseModel):
    """Whether there was such an entry, and its value (null without one, or when null was stored)."""

    hit: bool
    data: Any = None


class Removed(BaseModel):
    """Whether there was such an entry."""

    removed: bool


class Flushed(BaseModel):
    """How many entries were removed."""

    removed: int


class CacheManager(Agent):
    """Shared cache: understanding results, model choices, summaries, tool answers, memory records, with lifetimes."""

    class Config(AgentConfig):
        max_bytes: int = 64 * 1024 * 1024

    config: Config

    async def setup(self) -> None:
        """Begin empty."""
        self._store = CacheStore(self.config.max_bytes, self.clock.monotonic)

    @operation(idempotent=True)
    async def get(self, cache_type: Name, key: Key) -> Cached:
        """Return an entry of a namespace."""
        packed = self._store.get(cache_type, key)
        return (
            Cached(hit=False)
            if packed is None
            else Cached(hit=True, data=msgpack.unpackb(packed, strict_map_key=False))
        )

    @operation(idempotent=True)
    async def put(self, cache_type: Name, key: Key, value: Any, ttl: Seconds | None = None) -> None:
        """Store an entry for `ttl` seconds, by default as long as its namespace says."""
        try:
            packed = msgpack.packb(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidArgument(f"value cannot be cached ({error}); give plain values", path="value") from None
        if not self._store.put(cache_type, key, packed, ttl):
            raise MessageTooLarge(
                f"the value of {key!r} has {len(packed)} bytes, the cache holds {self.config.max_bytes} in all; "
                "raise max_bytes", size=len(packed), limit=self.config.max_bytes,
            )  # fmt: skip

    @operation(idempotent=True)
    async def invalidate(self, cache_type: Name, key: Key) -> Removed:
        """Remove an entry."""
        return Removed(removed=self._store.remove(cache_type, key))

    @operation(idempotent=True)
    async def flush(self, cache_type: Name) -> Flushed:
        """Remove all entries of a namespace."""
        return Flushed(removed=self._store.clear(cache_type))

    @operation(idempotent=True)
    async def cache_memory(self, memory_id: Key, data: dict[str, Any], ttl: Seconds = MEMORY_TTL) -> None:
        """Store a memory record by its id."""
        await self.put(MEMORY, memory_id, data, ttl)

    @operation(idempotent=True)
    async def get_cached_memory(self, memory_id: Key) -> Cached:
        """Return a memory record by its id."""
        return await self.get(MEMORY, memory_id)

    @operation(idempotent=True)
    async def invalidate_memory_cache(self, memory_id: Key) -> Removed:
        """Remove a memory record."""
        return await self.invalidate(MEMORY, memory_id)

    @every(seconds=300)
    async def sweep(self) -> None:
        """Let go of entries whose time is over."""
        self._store.sweep()
