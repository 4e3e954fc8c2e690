"""Entries with a lifetime, in namespaces with a cap each, under one bound of bytes for all of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

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
    """Packed bytes, and the moment (of the store's clock, seconds) from which they count no more."""

    packed: bytes
    ends: float


class CacheStore:
    """What is cached; within a namespace the least recently used goes first, across them the lower priority."""

    def __init__(
        self, max_bytes: int, now: Callable[[], float], namespaces: Mapping[str, Namespace] = NAMESPACES
    ) -> None:
        self._max_bytes = max_bytes
        self._now = now
        self._namespaces = namespaces
        self._entries: dict[str, OrderedDict[str, Entry]] = {}
        self.size = 0
        """Bytes held."""

    def get(self, name: str, key: str) -> bytes | None:
        """Return the bytes of an entry, None when it is not there or its time is over."""
        entries = self._entries.get(name, OrderedDict())
        entry = entries.get(key)
        if entry is None:
            return None
        if entry.ends <= self._now():
            self._drop(name, key)
            return None
        entries.move_to_end(key)
        return entry.packed

    def put(self, name: str, key: str, packed: bytes, ttl: float | None) -> bool:
        """Store an entry for `ttl` seconds (None: as its namespace says); false when it is too large for the store."""
        rules = self._namespaces.get(name, ANY_OTHER)
        if len(packed) > self._max_bytes:
            return False
        self.remove(name, key)
        if self.size + len(packed) > self._max_bytes or len(self._entries.get(name, ())) >= rules.entries:
            self.sweep()
        self._make_room(name, rules, len(packed))
        entry = Entry(packed, self._now() + (ttl if ttl is not None else rules.ttl))
        self._entries.setdefault(name, OrderedDict())[key] = entry
        self.size += len(packed)
        return True

    def remove(self, name: str, key: str) -> bool:
        """Remove an entry; return whether it was there and still counted."""
        entry = self._entries.get(name, OrderedDict[str, Entry]()).get(key)
        if entry is None:
            return False
        self._drop(name, key)
        return entry.ends > self._now()

    def clear(self, name: str) -> int:
        """Remove all entries of a namespace and return how many still counted."""
        return sum(self.remove(name, key) for key in list(self._entries.get(name, ())))

    def sweep(self) -> None:
        """Let go of entries whose time is over."""
        now = self._now()
        for name, entries in list(self._entries.items()):
            for key in [key for key, entry in entries.items() if entry.ends <= now]:
                self._drop(name, key)

    def _make_room(self, name: str, rules: Namespace, needed: int) -> None:
        own = self._entries.get(name, OrderedDict())
        while len(own) >= rules.entries:
            self._drop(name, next(iter(own)))
        for other in sorted(self._entries, key=lambda each: RANK[self._namespaces.get(each, ANY_OTHER).priority]):
            while self.size + needed > self._max_bytes and other in self._entries:
                self._drop(other, next(iter(self._entries[other])))

    def _drop(self, name: str, key: str) -> None:
        self.size -= len(self._entries[name].pop(key).packed)
        if not self._entries[name]:
            del self._entries[name]
