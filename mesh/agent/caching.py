"""What the author of an operation says of keeping its answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mesh.address import split_target
from mesh.agent.misfit import misfit
from mesh.cache.terms import LONGEST_TAG
from mesh.errors import InvalidArgument, LoadError
from mesh.topics import check_pattern

SHOWN = '@operation(idempotent=True, cache=60), or cache=Cache(ttl=60, stale=30, tags=("facts",))'


@dataclass(frozen=True, slots=True)
class Cache:
    """How long answers of an operation are kept, and what makes them no longer hold.

    `ttl` are the seconds an answer is fresh, `stale` the seconds after that in which it is still given while a new one
    is fetched. `key` names the arguments that count, all without it. `tags` are names by which any agent may let them
    go. `depends_on` are operations after which they no longer hold: `add_fact` of the same service, or
    `memory_client.add_memory`; `topics` are patterns of events that mean the same.
    """

    ttl: float
    stale: float = 0.0
    key: tuple[str, ...] | None = None
    tags: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()

    def trait(self) -> dict[str, Any]:
        """Return it as callers are told; what is not said is left out."""
        told: dict[str, Any] = {"ttl_s": self.ttl}
        if self.stale:
            told["stale_s"] = self.stale
        if self.key is not None:
            told["key"] = list(self.key)
        for name, values in (("tags", self.tags), ("depends_on", self.depends_on), ("topics", self.topics)):
            if values:
                told[name] = list(values)
        return told


def cache_of(name: str, method: Callable[..., Any], declared: float | Cache | None, idempotent: bool) -> Cache | None:
    """Return what `@operation(cache=…)` means; raises `LoadError` for what cannot be."""
    if declared is None:
        return None

    def refuse(problem: str, expected: str = SHOWN) -> LoadError:
        return misfit(name, f"@operation(cache={declared!r})", problem, expected, method)

    cache = declared if isinstance(declared, Cache) else Cache(declared)
    if not _seconds(cache.ttl) or not cache.ttl or not _seconds(cache.stale):
        raise refuse("these are no seconds to keep an answer", SHOWN)
    if not idempotent:
        raise refuse("an answer may be given again only where asking again does no harm",
                     "idempotent=True beside cache, or no cache")
    for field in ("key", "tags", "depends_on", "topics"):
        names = getattr(cache, field)
        if not (field == "key" and names is None) and not _are_names(names):
            raise refuse(f"{field} is {names!r}, not a tuple of names", f'{field}=("name",)')
    _check_names(cache, refuse)
    return cache


def _check_names(cache: Cache, refuse: Callable[..., LoadError]) -> None:
    for pattern in cache.topics:
        try:
            check_pattern(pattern)
        except InvalidArgument as error:
            raise refuse(f"in topics: {error.message}", 'topics=("memory.changed",)') from None
    for target in cache.depends_on:
        try:
            split_target(target if "." in target else f"own.{target}")
        except InvalidArgument as error:
            raise refuse(f"in depends_on: {error.message}", 'depends_on=("memory_client.add_memory",)') from None


def _seconds(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


def _are_names(values: Any) -> bool:
    return isinstance(values, tuple) and all(type(name) is str and 0 < len(name) <= LONGEST_TAG for name in values)
