"""Which rules are in force for the calls of an operation: what the configuration says, and operators over it."""

from __future__ import annotations

from collections.abc import Callable

from mesh.address import split_version
from mesh.config import Policies, Rules, rules_of

OPERATIONS = 512
"""Operations of one service that something is kept for; names that a caller makes up must not fill the memory."""


class RuleBook:
    """The rules of every operation of the mesh, resolved once and kept until they change.

    `mesh_wide` is what `hosts.yaml` says; `of_service` returns what is in force of a service, None for one that this
    host has no configuration of. `changes` counts: whoever keeps what it made of rules looks whether it grew.
    """

    def __init__(self, mesh_wide: Policies, of_service: Callable[[str], Policies | None]) -> None:
        self.changes = 0
        self._mesh_wide = mesh_wide
        self._of_service = of_service
        self._rules: dict[str, dict[str, Rules]] = {}

    def of(self, service: str, operation: str) -> Rules:
        """Return the rules in force for one operation."""
        known = self._rules.get(service)
        if known is not None and operation in known:
            return known[operation]
        policies = self._of_service(service)
        rules = rules_of(operation, self._mesh_wide, policies or Policies())
        if policies is not None:
            known = self._rules.setdefault(service, {})
            if len(known) < OPERATIONS:
                known[operation] = rules
        return rules

    def forget(self, service: str | None = None) -> None:
        """Read the rules of a service anew, or of all, since the configuration has changed."""
        if service is None:
            self._rules.clear()
        else:
            for known in [name for name in self._rules if split_version(name)[0] == service]:
                del self._rules[known]
        self.changes += 1
