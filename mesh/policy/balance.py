"""Choose one of several instances that could all answer a call.

What is given here is one class of the directory's candidates: who is worse off was left out before. The strategies:

* `two_choices` (default): the less loaded of two at random (Mitzenmacher, The Power of Two Choices in Randomized Load
  Balancing, 2001). The own host's instances have the first word: another host gets the call only if it has strictly
  fewer calls on their way. A call alone thus never pays for a trip, and calls that overlap use every instance.
* `least_outstanding`: the least loaded of all; of equals one of the own host, else one at random.
* `local_first`: the own host's for as long as it has any, however loaded; then as `two_choices`.
* `random`: each as likely as the others, wherever it runs.
* `round_robin`: the one whose turn was longest ago, so two instances that are there never differ by more than one.
* `hash`: the highest random weight (Thaler and Ravishankar, A Name-Based Mapping Scheme for Rendezvous, 1996). Every
  host chooses the same; an instance that goes takes only its own keys along, one that comes takes its share from all.
  Services on the same places share the choice, so what belongs to one key stays together. The load does not count:
  who asks for a fixed place gets it.

Load is the number of calls and open streams that this host has on their way to an instance. What other hosts have
there is not known; that is what the chance in `two_choices` is good for: hosts that cannot see each other's calls do
not all run to the same instance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from random import Random
from typing import get_args

from mesh.config import Balance
from mesh.message import Reply
from mesh.records import InstanceRecord

Rows = Sequence[InstanceRecord]
Key = tuple[str, str, int]

DEFAULT = "two_choices"
HASH = "hash"
_MASK = (1 << 64) - 1


class Load:
    """How many calls of this host are on their way to each instance."""

    def __init__(self) -> None:
        self._counts: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def of(self, row: InstanceRecord) -> int:
        """Return how many are on their way to one instance."""
        return self._counts.get((row.service, row.host, row.number), 0)

    def add(self, row: InstanceRecord) -> Key:
        """Count one more, and return what takes it back."""
        key = row.service, row.host, row.number
        self._counts[key] = self._counts.get(key, 0) + 1
        return key

    def end(self, key: Key, reply: Reply | None) -> None:
        """Count one less, when it ends: for a stream that is when the last item has come."""
        if reply is None or reply.items is None:
            self.take(key)
        else:
            reply.items.at_end(lambda _: self.take(key))

    def take(self, key: Key) -> None:
        """Count one less; who has none is not kept."""
        left = self._counts[key] - 1
        if left:
            self._counts[key] = left
        else:
            del self._counts[key]


class Turns:
    """Who had a call when, among those that take turns; who is gone is forgotten."""

    def __init__(self) -> None:
        self._turn = 0
        self._last: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._last)

    def next(self, rows: Rows) -> InstanceRecord:
        """Return the row whose turn was longest ago; who has just come is the next."""
        last = self._last
        chosen = min(rows, key=lambda row: last.get((row.service, row.host, row.number), 0))
        self._turn += 1
        last[chosen.service, chosen.host, chosen.number] = self._turn
        if len(last) > 2 * len(rows) + 8:
            there = {(row.service, row.host, row.number) for row in rows}
            self._last = {key: turn for key, turn in last.items() if key in there}
        return chosen


def any_of(rows: Rows, random: Random) -> InstanceRecord:
    """Return one of them, each as likely as the others."""
    return rows[int(random.random() * len(rows))]


def lighter(rows: Rows, load: Load, random: Random) -> InstanceRecord:
    """Return the less loaded of two different ones at random."""
    count = len(rows)
    if count == 1:
        return rows[0]
    first = int(random.random() * count)
    second = (first + 1 + int(random.random() * (count - 1))) % count
    return rows[second] if load.of(rows[second]) < load.of(rows[first]) else rows[first]


def two_choices(rows: Rows, host: str, load: Load, random: Random) -> InstanceRecord:
    """Return the less loaded of two at random; one of `host` unless another has strictly less to do."""
    near = [row for row in rows if row.host == host]
    if not near or len(near) == len(rows):
        return lighter(rows, load, random)
    own = lighter(near, load, random)
    waiting = load.of(own)
    if not waiting:
        return own
    other = lighter([row for row in rows if row.host != host], load, random)
    return other if load.of(other) < waiting else own


def least_outstanding(rows: Rows, host: str, load: Load, random: Random) -> InstanceRecord:
    """Return the least loaded; of equals one of `host`, else one at random."""
    return min(rows, key=lambda row: (load.of(row), row.host != host, random.random()))


def local_first(rows: Rows, host: str, load: Load, random: Random) -> InstanceRecord:
    """Return one of `host` while it has any, else the less loaded of two at random."""
    return lighter([row for row in rows if row.host == host] or rows, load, random)


def rendezvous(rows: Rows, key: bytes) -> InstanceRecord:
    """Return the row that `key` belongs to."""
    point = int.from_bytes(blake2b(key, digest_size=8).digest())
    return max(rows, key=lambda row: _mixed(point ^ _place(row.host, row.number)))


@lru_cache(maxsize=4096)
def _place(host: str, number: int) -> int:
    """Return where a place stands among 2^64; the same in every process, which `hash()` is not."""
    return int.from_bytes(blake2b(f"{host}#{number}".encode(), digest_size=8).digest())


def _mixed(value: int) -> int:
    """Return 64 bits in which each depends on all of `value` (the finalizer of SplitMix64, Steele et al., 2014)."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)


_BY_LOAD: dict[str, Callable[[Rows, str, Load, Random], InstanceRecord]] = {
    "two_choices": two_choices, "least_outstanding": least_outstanding, "local_first": local_first,
}
STRATEGIES: tuple[str, ...] = get_args(Balance)
SERVICES = 10_000
"""Services whose turns are remembered; beyond, they begin anew."""


class Balancer:
    """What one host needs to choose: the load of its calls, whose turn it is, and chance."""

    def __init__(self, host: str, random: Random | None = None) -> None:
        self.load = Load()
        self._host = host
        self._random = random or Random()
        self._turns: dict[str, Turns] = {}

    def choose(self, rows: Rows, strategy: str = DEFAULT, key: bytes = b"") -> InstanceRecord:
        """Return the row that `strategy`, one of `STRATEGIES`, chooses of at least one; `key` is for `hash` alone."""
        if len(rows) == 1:
            return rows[0]
        by_load = _BY_LOAD.get(strategy)
        if by_load is not None:
            return by_load(rows, self._host, self.load, self._random)
        if strategy == "round_robin":
            return self._turns_of(rows[0].service).next(rows)
        return rendezvous(rows, key) if strategy == HASH else any_of(rows, self._random)

    def _turns_of(self, service: str) -> Turns:
        turns = self._turns.get(service)
        if turns is None:
            if len(self._turns) >= SERVICES:
                self._turns.clear()
            turns = self._turns[service] = Turns()
        return turns
