"""What the readers outside the mesh asked for: prefixes of topics, reader by reader.

A reader is known by the descriptor of its connection, and descriptors are used again. What it sent lies in a queue
until it is read, and when it is gone libzmq takes back there each prefix it still had, without naming the descriptor.
The news that a connection is gone comes earlier and says whose prefixes these can be. The next reader on a descriptor
may subscribe before all is taken back of the one before; for that while they count as one, and nothing it asked for is
lost. Whose a prefix was matters for the limit alone: that each is taken back once matters to everybody.

It knows no sockets; whoever reads them tells it what came, news of connections before messages.
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
        self._gone: list[int] = []  # in the order they went, until the queue has shown their end
        self._expelled: set[int] = set()
        self._prefixes: Counter[bytes] = Counter()
        self._known: dict[bytes, bool] = {}

    @property
    def readers(self) -> int:
        """How many readers have subscribed to something."""
        return len(self._wants)

    def left(self, reader: int) -> None:
        """Note that a connection has ended."""
        self._gone.append(reader)

    def add(self, reader: int, prefix: bytes) -> str | None:
        """Note that `reader` wants `prefix`; returns in words why its connection must end, None if it may go on."""
        prefixes = self._wants.setdefault(reader, set())
        if prefix in prefixes:
            return None
        prefixes.add(prefix)
        self._prefixes[prefix] += 1
        self._known.clear()
        if reader in self._expelled:  # its connection is ending already
            return None
        if len(prefix) > PREFIX_BYTES:
            refusal = f"a subscription of {len(prefix)} bytes, the limit is {PREFIX_BYTES}"
        elif len(prefixes) > PREFIXES:
            refusal = f"more than {PREFIXES} subscriptions; subscribe to a shorter prefix and choose in the reader"
        else:
            return None
        self._expelled.add(reader)
        return refusal

    def remove(self, reader: int, prefix: bytes) -> None:
        """Note that `reader` no longer wants `prefix`; nothing happens if it never did."""
        prefixes = self._wants.get(reader)
        if prefixes is None or prefix not in prefixes:
            return
        prefixes.remove(prefix)
        self._prefixes[prefix] -= 1
        if not self._prefixes[prefix]:
            del self._prefixes[prefix]
        if not prefixes:
            del self._wants[reader]
            self._expelled.discard(reader)
        self._known.clear()

    def taken_back(self, prefix: bytes) -> None:
        """Note that libzmq took back a prefix of a reader that is gone."""
        for reader in (*self._gone, *self._wants):
            if prefix in self._wants.get(reader, ()):
                self.remove(reader, prefix)
                if reader not in self._wants and reader in self._gone:  # that was its last, here it ends
                    self._gone.remove(reader)
                return

    def read_empty(self) -> None:
        """Note that the queue is empty: a reader that is gone and wants nothing has nothing more to say."""
        if self._gone:
            self._gone = [reader for reader in self._gone if reader in self._wants]
        if self._expelled:  # one that keeps within the limit now is another
            self._expelled = {reader for reader in self._expelled if len(self._wants[reader]) > PREFIXES}

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
