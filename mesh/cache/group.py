"""The kept answers of one operation, and what has become of the calls to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from mesh.cache.terms import Terms


@dataclass(slots=True, eq=False)
class Group:
    """One operation's keys in memory and its figures since the host started.

    Every call is a hit, stale (a hit whose time was over), coalesced (it waited for another one's), shared (from Redis)
    or a miss; `invalidated` are the answers that were let go because they no longer held. One that is not `on` keeps
    nothing any more.
    """

    terms: Terms
    labels: frozenset[str]
    on: bool = True
    keys: set[bytes] = field(default_factory=set)
    size: int = 0
    hits: int = 0
    stale: int = 0
    coalesced: int = 0
    shared: int = 0
    misses: int = 0
    invalidated: int = 0
    evicted: int = 0
