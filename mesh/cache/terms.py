"""On which terms answers of an operation are kept: what its author declares, as config has changed it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SERVICE_OF = "."

INVALIDATED = "cache.invalidated"
"""The event that says which answers no longer hold, on every host: `{"tags": ["facts"]}`."""
MOST_TAGS = 64
LONGEST_TAG = 200


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds an answer of one operation is fresh, seconds more it may be given while a new one is fetched.

    `key` names the arguments that count, None for all; `tags` are the names an invalidation may have; `topics` are
    patterns of events that invalidate; `depends_on` are the operations that do once they have run; `redis` tells
    whether the answers are shared there too.
    """

    service: str
    operation: str
    ttl_s: float
    stale_s: float = 0.0
    key: tuple[str, ...] | None = None
    tags: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    redis: bool = True

    @property
    def target(self) -> str:
        """`service.operation`."""
        return f"{self.service}.{self.operation}"

    def labels(self) -> frozenset[str]:
        """Return every name that an invalidation of these answers may have: tags, dependencies, operation, service."""
        return frozenset((*self.tags, *self.depends_on, *self.topics, self.target, self.service))

    def row(self) -> dict[str, Any]:
        """Return them as plain values."""
        return {
            "ttl_s": self.ttl_s, "stale_s": self.stale_s, "key": None if self.key is None else list(self.key),
            "tags": list(self.tags), "depends_on": list(self.depends_on), "topics": list(self.topics),
            "redis": self.redis,
        }


def terms_of(
    service: str, operation: str, trait: Any, *, ttl_s: float | None = None, stale_s: float | None = None,
    redis: bool = True,
) -> Terms | None:
    """Return the terms of an operation that announces `trait`, None if its answers are not kept.

    `ttl_s`, `stale_s` and `redis` are what config says; a trait that does not read counts as none.
    """
    declared = trait if isinstance(trait, Mapping) else {}
    seconds = ttl_s if ttl_s is not None else _seconds(declared.get("ttl_s"))
    if not seconds:
        return None
    key = declared.get("key")
    return Terms(
        service, operation, seconds, stale_s if stale_s is not None else _seconds(declared.get("stale_s")),
        None if key is None else _names(key), _names(declared.get("tags")),
        tuple(whole(service, name) for name in _names(declared.get("depends_on"))), _names(declared.get("topics")),
        redis,
    )


def whole(service: str, name: str) -> str:
    """Return `service.operation` of an operation's name; one without a service is the service's own."""
    return name if SERVICE_OF in name else f"{service}.{name}"


def _seconds(value: Any) -> float:
    return float(value) if type(value) in (int, float) and value > 0 else 0.0


def _names(value: Any) -> tuple[str, ...]:
    return tuple(name for name in value if type(name) is str) if isinstance(value, Iterable) else ()
