"""Which rules are in force for the calls of an operation: what the configuration says, and operators over it."""

from __future__ import annotations

from collections.abc import Callable

from mesh.config import Policies, Rules, rules_of

OPERATIONS = 512
"""Operations of one service whose rules are kept; names that a caller makes up must not fill the memory."""


class RuleBook:
    """The rules of every operation of the mesh, resolved once and kept until they change.

    `mesh_wide` is what `hosts.yaml` says, `of_service` returns what is in force of a service, None for one that this
    host has no configuration of.
    """

    def __init__(self, mesh_wide: Policies, of_service: Callable[[str], Policies | None]) -> None:
        self._mesh_wide = mesh_wide
        self._of_service = of_service
        self._rules: dict[str, dict[str, Rules]] = {}
        self._listeners: list[Callable[[str], None]] = []

    def of(self, service: str, operation: str) -> Rules:
        """Return the rules in force for one operation."""
        known = self._rules.setdefault(service, {}) if self._of_service(service) is not None else {}
        rules = known.get(operation)
        if rules is None:
            rules = rules_of(operation, self._mesh_wide, self._of_service(service) or Policies())
            if len(known) < OPERATIONS:
                known[operation] = rules
        return rules

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with each service whose rules have changed."""
        self._listeners.append(listener)

    def forget(self, service: str) -> None:
        """Read the rules of a service anew, since its configuration has changed."""
        self._rules.pop(service, None)
        for listener in self._listeners:
            listener(service)
