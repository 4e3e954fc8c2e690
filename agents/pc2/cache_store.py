"""Entries with a lifetime, in namespaces with a cap each, under one bound of bytes for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from cachetools import TLRUCache

Priority = Literal["low", "medium", "high"]
RANK: Mapping[Priority, int] = {"low": 0, "medium": 1, "high": 2}
MINUTE, HOUR = 60.0, 3600.0


@dataclass(frozen=True, slots=True)
class Namespace:
    """The lifetime of an entry in seconds, the most entries, and how late they go when space is short."""

    ttl: float
    entries: int
    priority: Priority


NAMESPACES: Mapping[str, Namespace] = {
    "nlu_results": Namespace(5 * MINUTE, 1000, "high"),
    "model_decisions": Namespace(10 * MINUTE, 500, "high"),
    "context_summaries": Namespace(HOUR, 200, "medium"),
    "tool_responses": Namespace(15 * MINUTE, 1000, "low"),
    "memory": Namespace(12 * HOUR, 5000, "high"),
    "vision": Namespace(HOUR, 500, "medium"),
}
ANY_OTHER = Namespace(HOUR, 1000, "low")


@dataclass(frozen=True, slots=True)
class Entry:
    """Packed bytes and the lifetime they were put with."""

    packed: bytes
    ttl: float


class CacheStore:
    """What is cached; within a namespace the least recently used goes first, across them the lower priority."""

    def __init__(self, max_bytes: int, now: Callable[[], float], namespaces: Mapping[str, Namespace] = NAMESPACES) -> None:
        self._max_bytes = max_bytes
        self._now = now
        self._namespaces = namespaces
        self._caches: dict[str, _Bounded] = {}

    @property
    def size(self) -> int:
        """Bytes held, those of entries whose time is over left out."""
        for cache in self._caches.values():
            cache.expire()
        return sum(cache.held for cache in self._caches.values())

    def get(self, name: str, key: str) -> bytes | None:
        """Return the bytes of an entry, None when it is not there or its time is over."""
        cache = self._caches.get(name)
        entry = cache.get(key) if cache is not None else None
        return entry.packed if entry is not None else None

    def put(self, name: str, key: str, packed: bytes, ttl: float | None) -> bool:
        """Store an entry; false when it is larger than everything that may be held."""
        rules = self._namespaces.get(name, ANY_OTHER)
        if len(packed) > self._max_bytes:
            return False
        cache = self._caches.setdefault(name, _Bounded(rules, self._now))
        cache.pop(key, None)
        self._make_room(len(packed))
        cache[key] = Entry(packed, ttl if ttl is not None else rules.ttl)
        return True

    def remove(self, name: str, key: str) -> bool:
        """Remove an entry; return whether it was there."""
        cache = self._caches.get(name)
        return cache is not None and cache.pop(key, None) is not None

    def clear(self, name: str) -> int:
        """Remove all entries of a namespace and return how many there were."""
        cache = self._caches.pop(name, None)
        if cache is None:
            return 0
        cache.expire()
        return len(cache)

    def sweep(self) -> None:
        """Let go of entries whose time is over, and of namespaces without any."""
        for name, cache in list(self._caches.items()):
            cache.expire()
            if not cache:
                del self._caches[name]

    def _make_room(self, needed: int) -> None:
        if self.size + needed <= self._max_bytes:
            return
        for cache in sorted(self._caches.values(), key=lambda each: RANK[each.priority]):
            while cache and sum(each.held for each in self._caches.values()) + needed > self._max_bytes:
                cache.popitem()


class _Bounded(TLRUCache[str, Entry]):
    """One namespace; knows the bytes it holds."""

    def __init__(self, rules: Namespace, now: Callable[[], float]) -> None:
        super().__init__(rules.entries, ttu=lambda _key, entry, time: time + entry.ttl, timer=now)
        self.priority = rules.priority
        self.held = 0

    def __setitem__(self, key: str, entry: Entry) -> None:
        super().__setitem__(key, entry)
        self.held += len(entry.packed)

    def __delitem__(self, key: str) -> None:
        with self.timer:  # type: ignore[attr-defined]
            pass
        super().__delitem__(key)
