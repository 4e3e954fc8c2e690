"""Answers in the memory of a host: the least recently used make room, by number and by bytes.

An answer is the encoded bytes that were sent, so nobody who is given them can change them for others. The bounds are
the host's, whatever the operation; cachetools counts one measure per cache and lets nothing go by group, so the order
is kept here in an OrderedDict.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from mesh.cache.group import Group
from mesh.message import Reply

OVERHEAD = 512
"""Bytes that an entry takes beside its key and its body, roughly: the objects, and its places in two tables."""

LARGEST = 0.25
"""Share of all bytes that a single answer may have."""


@dataclass(slots=True)
class Entry:
    """One answer; `born` is the moment (monotonic seconds) at which the call that got it was begun."""

    reply: Reply
    born: float
    group: Group
    size: int


class Memory:
    """At most `entries` answers of `size` bytes in all."""

    def __init__(self, entries: int, size: int) -> None:
        self.most = entries
        self.most_bytes = size
        self.size = 0
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._touch = self._entries.move_to_end

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> Entry | None:
        """Return what is kept under `key`, which is then the last to make room."""
        entry = self._entries.get(key)
        if entry is not None:
            self._touch(key)
        return entry

    def put(self, key: bytes, reply: Reply, born: float, group: Group) -> bool:
        """Keep an answer; returns False for one that is too large, or older than the one that is kept."""
        known = self._entries.get(key)
        if known is not None and known.born > born:
            return False
        self.drop(key)
        size = len(key) + len(reply.body) + OVERHEAD
        if size > self.most_bytes * LARGEST or not self.most:
            return False
        self._entries[key] = Entry(reply, born, group, size)
        group.keys.add(key)
        group.size += size
        self.size += size
        while len(self._entries) > self.most or self.size > self.most_bytes:
            oldest, entry = self._entries.popitem(last=False)
            self._gone(oldest, entry)
            entry.group.evicted += 1
        return True

    def drop(self, key: bytes) -> None:
        """Let go of one answer, if it is there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._gone(key, entry)

    def clear(self, group: Group) -> int:
        """Let go of the answers of one operation and return how many there were."""
        count = len(group.keys)
        for key in group.keys:
            self.size -= self._entries.pop(key).size
        group.keys.clear()
        group.size = 0
        return count

    def _gone(self, key: bytes, entry: Entry) -> None:
        self.size -= entry.size
        entry.group.size -= entry.size
        entry.group.keys.discard(key)
