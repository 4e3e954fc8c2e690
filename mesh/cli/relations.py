"""Who depends on whom and who calls whom: one model of both, for text, dot and svg alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh.config import MeshConfig

Row = dict[str, Any]


@dataclass(slots=True)
class Relation:
    """One service to another: `declared` is hard, soft or None; the calls are those seen since the hosts started."""

    source: str
    target: str
    declared: str | None = None
    calls: int = 0
    errors: int = 0
    last_error: str | None = None
    operations: list[str] = field(default_factory=list)

    def row(self) -> Row:
        """Return it as `--json` has it."""
        return {"from": self.source, "to": self.target, "declared": self.declared, "calls": self.calls,
                "errors": self.errors, "last_error": self.last_error, "operations": sorted(self.operations)}


@dataclass(frozen=True, slots=True)
class Node:
    """A service, the hosts it is for, its state as far as known, and the topics it hears, by group those that it shares
    with other members; `known` is False for a name that nobody configures."""

    service: str
    hosts: tuple[str, ...] = ()
    state: str | None = None
    hears: tuple[str, ...] = ()
    known: bool = True
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def heard(self) -> list[str]:
        """Every topic it hears, in words."""
        shared = [f"{topic} in group {group}" for group, topics in self.groups.items() for topic in topics]
        return [*self.hears, *shared]

    def row(self) -> Row:
        """Return it as `--json` has it."""
        return {"service": self.service, "hosts": list(self.hosts), "state": self.state, "hears": list(self.hears),
                "known": self.known, "groups": {group: list(topics) for group, topics in self.groups.items()}}


@dataclass(frozen=True, slots=True)
class Relations:
    """The whole graph, nodes and relations in order of name."""

    nodes: tuple[Node, ...]
    relations: tuple[Relation, ...]

    def of(self, service: str) -> list[Relation]:
        """Return what starts at `service`."""
        return [each for each in self.relations if each.source == service]


def relate(
    config: MeshConfig, *, declared: bool, calls: Iterable[Row], hears: Iterable[Row], states: Mapping[str, str],
) -> Relations:
    """Put together what config declares and what hosts have seen; without `declared` only what was really called.

    `calls` and `hears` are the rows of `supervisor.edges`; `states` is the worst state of each service.
    """
    found: dict[tuple[str, str], Relation] = {}
    for service, spec in config.agents.items():
        for needed in spec.depends_on:
            found[service, needed.service] = Relation(service, needed.service, "soft" if needed.soft else "hard")
    for row in calls:
        _count(found.setdefault((row["caller"], row["service"]), Relation(row["caller"], row["service"])), row)
    if not declared:
        found = {pair: relation for pair, relation in found.items() if relation.calls}
    topics: dict[str, set[tuple[str, str]]] = {}
    for row in hears:
        topics.setdefault(row["service"], set()).add((row["group"] or "", row["pattern"]))
    names = {*config.agents, *states, *(name for pair in found for name in pair)}
    nodes = (_node(config, name, states, topics) for name in sorted(names))
    return Relations(tuple(nodes), tuple(found[pair] for pair in sorted(found)))


def _count(relation: Relation, row: Row) -> None:
    relation.calls += row["calls"]
    relation.errors += row["errors"]
    relation.last_error = row["last_error"] or relation.last_error
    if row["operation"] not in relation.operations:
        relation.operations.append(row["operation"])


def _node(config: MeshConfig, name: str, states: Mapping[str, str], topics: Mapping[str, set[tuple[str, str]]]) -> Node:
    spec = config.agents.get(name)
    by_group: dict[str, tuple[str, ...]] = {}
    for group, topic in sorted(topics.get(name, ())):
        by_group[group] = (*by_group.get(group, ()), topic)
    return Node(name, spec.hosts if spec else (), states.get(name), by_group.pop("", ()),
                spec is not None or name in states or name in ("supervisor", "registry"), by_group)
