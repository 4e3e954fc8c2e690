"""What kept answers depend on, as services announce it: operations that change them, events that tell so.

Every host knows it of every service, whether it has such answers or not: who runs the operation tells all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh.cache.terms import Terms, terms_of


class Dependencies:
    """`operations` by service are those after which somebody's answers no longer hold; `topics` the patterns."""

    def __init__(self) -> None:
        self.operations: dict[str, frozenset[str]] = {}
        self.topics: frozenset[str] = frozenset()
        self._terms: dict[str, list[Terms]] = {}

    def take(self, service: str, traits: Mapping[str, Mapping[str, Any]]) -> None:
        """Take what a service announces of its operations, in place of what it did before."""
        found = [terms_of(service, operation, trait.get("cache")) for operation, trait in traits.items()]
        needy = [terms for terms in found if terms is not None and (terms.depends_on or terms.topics)]
        if needy:
            self._terms[service] = needy
        elif self._terms.pop(service, None) is None:
            return
        operations: dict[str, set[str]] = {}
        every = [terms for known in self._terms.values() for terms in known]
        for target in {target for terms in every for target in terms.depends_on}:
            name, _, operation = target.partition(".")
            operations.setdefault(name, set()).add(operation)
        self.operations = {name: frozenset(one) for name, one in operations.items()}
        self.topics = frozenset(pattern for terms in every for pattern in terms.topics)
