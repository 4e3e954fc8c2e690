"""What the readers outside the mesh asked for: prefixes of topics, reader by reader.

A reader is known by the descriptor of its connection, and descriptors are used again: news of connections comes at
once, what a reader sent lies in a queue until it is read, so a message may be that of a reader long gone. It is, until
the queue shows where the former reader ends: libzmq takes back each of its subscriptions there, naming no descriptor.

It knows no sockets; whoever reads them tells it what came, connections before messages.
"""

from __future__ import annotations

from collections import Counter

PREFIXES = 64
PREFIX_BYTES = 256
REMEMBERED = 10_000


class Subscriptions:
    """A set of prefixes for each reader, bounded, and the answer whether anybody wants a topic."""

    def __init__(self) -> None:
        self._wants: dict[int, set[bytes]] = {}
        self._former: dict[int, set[bytes]] = {}  # what a reader wanted that is gone, while its end was not read yet
        self._prefixes: Counter[bytes] = Counter()
        self._known: dict[bytes, bool] = {}

    @property
    def readers(self) -> int:
        """How many readers have subscribed to something."""
        return sum(1 for prefixes in self._wants.values() if prefixes)

    # -- connections

    def came(self, reader: int) -> None:
        """Note a new connection."""
        self.left(reader)
        self._wants[reader] = set()

    def left(self, reader: int) -> None:
        """Note that a connection has ended, or is ended by us."""
        prefixes = self._wants.pop(reader, None)
        if prefixes:
            self._former[reader] = prefixes
            self._release(*prefixes)

    # -- messages, in the order of the queue

    def add(self, reader: int, prefix: bytes) -> str | None:
        """Note that `reader` wants `prefix`; returns in words why it may not, None if it may."""
        prefixes = self._wants.get(reader)
        if prefixes is None or reader in self._former or prefix in prefixes:
            return None
        if len(prefix) > PREFIX_BYTES:
            return f"a subscription of {len(prefix)} bytes, the limit is {PREFIX_BYTES}"
        if len(prefixes) >= PREFIXES:
            return f"more than {PREFIXES} subscriptions; subscribe to a shorter prefix and choose in the reader"
        prefixes.add(prefix)
        self._prefixes[prefix] += 1
        self._known.clear()
        return None

    def remove(self, reader: int, prefix: bytes) -> None:
        """Note that `reader` no longer wants `prefix`; nothing happens if it never did."""
        former = self._former.get(reader)
        if former is not None:
            former.discard(prefix)
            if not former:  # nothing is left for libzmq to take back
                del self._former[reader]
            return
        prefixes = self._wants.get(reader, set())
        if prefix in prefixes:
            prefixes.remove(prefix)
            self._release(prefix)

    def taken_back(self, prefix: bytes) -> None:
        """Note that libzmq took back a subscription of a reader that is gone: its messages end here."""
        for reader, prefixes in self._former.items():
            if prefix in prefixes:
                del self._former[reader]
                return

    def read_empty(self) -> None:
        """Note that the queue is empty: whoever is connected now is the one who will be heard next."""
        for reader in [reader for reader in self._former if reader in self._wants]:
            del self._former[reader]

    # -- topics

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

    def _release(self, *prefixes: bytes) -> None:
        for prefix in prefixes:
            self._prefixes[prefix] -= 1
            if not self._prefixes[prefix]:
                del self._prefixes[prefix]
        self._known.clear()
