"""What the readers outside the mesh asked for: prefixes of topics, reader by reader.

A reader is known by the descriptor of its connection. It knows no sockets: whoever reads them tells it what came.
"""

from __future__ import annotations

from collections import Counter

PREFIXES = 64
PREFIX_BYTES = 256
REMEMBERED = 10_000


class Subscriptions:
    """A set of prefixes for each reader, bounded, and the answer whether anybody wants a topic."""

    def __init__(self) -> None:
        self._readers: dict[int, set[bytes]] = {}
        self._prefixes: Counter[bytes] = Counter()
        self._known: dict[bytes, bool] = {}

    @property
    def readers(self) -> int:
        """How many readers have subscribed to something."""
        return len(self._readers)

    def add(self, reader: int, prefix: bytes) -> str | None:
        """Note that `reader` wants `prefix`; returns in words why it may not, None if it may."""
        if len(prefix) > PREFIX_BYTES:
            return f"a subscription of {len(prefix)} bytes, the limit is {PREFIX_BYTES}"
        prefixes = self._readers.setdefault(reader, set())
        if prefix in prefixes:
            return None
        if len(prefixes) >= PREFIXES:
            return f"more than {PREFIXES} subscriptions; subscribe to a shorter prefix and choose in the reader"
        prefixes.add(prefix)
        self._prefixes[prefix] += 1
        self._known.clear()
        return None

    def remove(self, reader: int, prefix: bytes) -> None:
        """Note that `reader` no longer wants `prefix`; nothing happens if it never did."""
        prefixes = self._readers.get(reader)
        if prefixes is None or prefix not in prefixes:
            return
        prefixes.remove(prefix)
        self._release(prefix)
        if not prefixes:
            del self._readers[reader]

    def forget(self, reader: int) -> None:
        """Note that `reader` is gone."""
        for prefix in self._readers.pop(reader, set()):
            self._release(prefix)

    def wanted(self, topic: bytes) -> bool:
        """Tell whether any reader wants `topic`, given as it is sent, with its final zero byte."""
        if not self._prefixes:
            return False
        known = self._known.get(topic)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[topic] = any(map(topic.startswith, self._prefixes))
        return known

    def _release(self, prefix: bytes) -> None:
        self._prefixes[prefix] -= 1
        if not self._prefixes[prefix]:
            del self._prefixes[prefix]
        self._known.clear()
