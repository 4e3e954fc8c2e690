"""What stands around the calls of a service as one host sees it: the rules with where each came from, and what breakers
and budgets make of them just now; a breaker that changes is told to whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from mesh.config import Rules
from mesh.policy.breakers import Change
from mesh.policy.rules import RuleBook
from mesh.policy.stack import Outgoing
from mesh.supervisor.errors.reporter import Reporter

SECTION = "policies"
OPERATIONS = f"{SECTION}.operations."
TOPICS = {"open": "breaker.opened", "half_open": "breaker.half_open", "closed": "breaker.closed"}

Row = dict[str, Any]
Origins = Mapping[str, str]


class PolicyBoard:
    """The policies of one host's calls. `filed` returns the origins of a service's configuration in force, by key, and
    `mesh_wide` are those of `hosts.yaml`."""

    def __init__(
        self, host: str, outgoing: Outgoing, rules: RuleBook, mesh_wide: Origins, filed: Callable[[str], Origins],
        report: Reporter, publish: Callable[[str, Any, str], None],
    ) -> None:
        self._host = host
        self._outgoing = outgoing
        self._rules = rules
        self._mesh_wide = mesh_wide
        self._filed = filed
        self._report = report
        self._publish = publish
        self._troubled: set[str] = set()

    def of(self, service: str) -> Row:
        """Return rules, breakers, budget and kept answers of a service, and what bounds its calls at their callers."""
        out = self._outgoing
        return {"host": self._host, "rules": list(self._rows(service)), **self.state(service),
                "cache": [] if out.cache is None else out.cache.rows(service), "bulkhead": out.bulkheads.row(service),
                "pause": out.pauses.row(service), "fallback": out.fallbacks.row(service)}

    def state(self, service: str) -> Row:
        """Return what breakers and budget of a service do now."""
        return {"breakers": self._outgoing.breakers.rows(service), "budget": self._outgoing.budgets.row(service)}

    def tripped(self) -> list[Row]:
        """Return the breakers of this host that are not closed, of every service, each with its service."""
        rows = [{"service": service, **row} for service in sorted(self._troubled)
                for row in self._outgoing.breakers.rows(service) if row["state"] != "closed"]
        self._troubled = {row["service"] for row in rows}
        return rows

    def _rows(self, service: str) -> Iterator[Row]:
        """Yield a row for each policy of the service, then for those that differ for an operation."""
        filed = self._filed(service)
        whole = self._rules.of(service, "")
        yield from (_row(whole, name, None, filed, self._mesh_wide) for name in Rules.model_fields)
        own = sorted({key.removeprefix(OPERATIONS).split(".")[0] for key in (*filed, *self._mesh_wide)
                      if key.startswith(OPERATIONS)})
        for operation in own:
            rules = self._rules.of(service, operation)
            yield from (_row(rules, name, operation, filed, self._mesh_wide) for name in Rules.model_fields
                        if getattr(rules, name) != getattr(whole, name))

    # -- changes

    def tell(self, change: Change) -> None:
        """Publish that a breaker changed, and put it on the error bus."""
        row = change.row
        self._troubled.add(row.service)
        self._publish(TOPICS[change.state], {
            "service": row.service, "host": row.host, "number": row.number, "operation": change.operation or None,
            "state": change.state, "reason": change.reason, "seen_by": self._host,
        }, f"supervisor@{self._host}")
        self._report.trouble(
            f"breaker:{change.name}:{change.state}", f"{change.name}: the breaker of {self._host} is {_words(change)}",
            severity="warning" if change.state == "open" else "info", service=row.service,
        )


def _words(change: Change) -> str:
    last = f"; the last: {change.last}" if change.state == "open" and change.last else ""
    return f"{change.state.replace('_', '-')}: {change.reason}{last}"


def _row(rules: Rules, policy: str, operation: str | None, filed: Origins, mesh_wide: Origins) -> Row:
    """Return one policy in force: its values with where each came from; none where it is off."""
    rule = getattr(rules, policy)
    values: dict[str, Any] = dict(rule) if isinstance(rule, BaseModel) else {"": rule} if rule is not None else {}

    def origin(key: str) -> str:
        return _origin(f"{policy}.{key}" if key else policy, operation, filed, mesh_wide)

    return {"policy": policy, "operation": operation, "on": rule is not None, "origin": None if values else origin(""),
            "values": [{"key": key, "value": value, "origin": origin(key)} for key, value in values.items()]}


def _origin(key: str, operation: str | None, filed: Origins, mesh_wide: Origins) -> str:
    """Return where the value of a policy's key came from: the place that lies over all others which say it."""
    prefixes = [OPERATIONS + f"{operation}."] if operation is not None else []
    for prefix in [*prefixes, f"{SECTION}."]:
        for origins in (filed, mesh_wide):
            found = origins.get(prefix + key) or origins.get(prefix + key.partition(".")[0])
            if found is not None:
                return found
    return "default"
