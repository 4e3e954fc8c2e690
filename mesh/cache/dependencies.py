"""What kept answers depend on, as the rows of the table announce it: operations that change them, events that tell so.

Every host knows it of every service, whether it has such answers or not: who runs the operation tells all others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mesh.cache.terms import terms_of
from mesh.records import InstanceRecord

Pair = tuple[InstanceRecord | None, InstanceRecord | None]


class Dependencies:
    """`operations` by service are those after which somebody's answers no longer hold; `topics` the patterns."""

    def __init__(self) -> None:
        self.operations: dict[str, frozenset[str]] = {}
        self.topics: frozenset[str] = frozenset()
        self._targets: Counter[str] = Counter()
        self._patterns: Counter[str] = Counter()

    def take(self, changes: Iterable[Pair]) -> bool:
        """Take how rows have changed, each as it was and as it is; tells whether anything depends otherwise now."""
        changed = False
        for before, after in changes:
            if before is not None and before.traits:
                changed = self._count(before, -1) or changed
            if after is not None and after.traits:
                changed = self._count(after, 1) or changed
        if changed:
            self._sum_up()
        return changed

    def _count(self, row: InstanceRecord, step: int) -> bool:
        found = False
        for operation, trait in row.traits.items():
            terms = terms_of(row.service, operation, trait.get("cache"))
            if terms is not None:
                for counter, names in ((self._targets, terms.depends_on), (self._patterns, terms.topics)):
                    for name in names:
                        counter[name] += step
                        found = True
        return found

    def _sum_up(self) -> None:
        operations: dict[str, set[str]] = {}
        for target, count in self._targets.items():
            if count > 0:
                service, _, operation = target.partition(".")
                operations.setdefault(service, set()).add(operation)
        self.operations = {service: frozenset(names) for service, names in operations.items()}
        self.topics = frozenset(pattern for pattern, count in self._patterns.items() if count > 0)
