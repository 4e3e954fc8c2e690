"""`mesh plan`: what `mesh up` would do, read from the config alone: who starts when, on which ports, how isolated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from mesh.cli.hosts import checked
from mesh.cli.scope import Scope
from mesh.cli.screen import coloured, document, say
from mesh.cli.table import folded
from mesh.config import AgentSpec, MeshConfig, start_order, waves

Row = dict[str, Any]

SOFT = "soft: true"


def plan(scope: Scope, host: str | None) -> None:
    """Print what `up` would do on every host, or on one."""
    config = scope.config()
    planned = planned_for(config, list(config.hosts) if host is None else [checked(host, list(config.hosts))])
    if scope.json:
        document(planned)
    else:
        _print(config, planned)


def planned_for(config: MeshConfig, hosts: Sequence[str]) -> Row:
    """Return the plan for `hosts`: `waves` of all of them together, since hosts do not wait for each other."""
    of_host = {name: waves(config, name) for name in hosts}
    here = {service: spec for service, spec in config.agents.items() if set(spec.hosts) & set(hosts)}
    return {
        "mesh": config.mesh, "environment": config.environment,
        "waves": [sorted({service for wave in step for service in wave})
                  for step in zip_longest(*of_host.values(), fillvalue=())],
        "soft": [edge for service in sorted(here) for edge in _soft(config, here[service], hosts)],
        "ports": {**({"registry": {"registry": config.registry.port}} if config.registry.host in hosts else {}),
                  **{name: _ports(config, name) for name in hosts}},
        "isolation": {service: here[service].isolation for service in sorted(here)},
        "instances": {service: {host: here[service].count(host) for host in here[service].hosts if host in hosts}
                      for service in sorted(here)},
        "hosts": {name: {"address": config.hosts[name].address, "registry": config.registry.host == name,
                         "waves": of_host[name]} for name in hosts},
        "restart_groups": {name: {"strategy": group.strategy, "budget": group.budget, "within_s": group.within_s,
                                  "hosts": {host: order for host in hosts
                                            if (order := start_order(config, host, group.agents))}}
                           for name, group in sorted(config.restart_groups.items())},
        "nowhere": sorted(service for service, spec in config.agents.items() if not spec.hosts),
    }


def _ports(config: MeshConfig, host: str) -> dict[str, int]:
    at = config.hosts[host]
    return {"port": at.port, "events_port": at.events_port, "metrics_port": at.metrics_port}


def _soft(config: MeshConfig, spec: AgentSpec, hosts: Sequence[str]) -> Iterator[Row]:
    """Yield the dependencies that nobody's start waits for, each with the reason."""
    for host in (name for name in spec.hosts if name in hosts):
        for edge in spec.depends_on:
            needed = config.agents.get(edge.service)
            if needed is None:
                yield {"service": spec.service, "host": host, "needs": edge.service, "why": "nobody configures it"}
            elif host not in needed.hosts:
                where = ", ".join(needed.hosts) or "no host"
                yield {"service": spec.service, "host": host, "needs": edge.service, "why": f"it runs on {where}"}
            elif edge.soft:
                yield {"service": spec.service, "host": host, "needs": edge.service, "why": SOFT}


# --- for people


def _print(config: MeshConfig, planned: Row) -> None:
    say(f"mesh {planned['mesh']}, environment {planned['environment']}, security {config.security}")
    for name, host in planned["hosts"].items():
        ports = planned["ports"][name]
        say()
        told = folded(f"{name} at {host['address']}: calls on {ports['port']}, events on {ports['events_port']}, "
                      f"metrics on {ports['metrics_port']}", indent=4)
        say(told.replace(name, coloured(name, "bold"), 1))
        if host["registry"]:
            say(f"  starts the registry on {config.registry.port} ({config.registry.store})")
        _print_waves(config, name, host["waves"])
        _print_edges([edge for edge in planned["soft"] if edge["host"] == name])
    _print_groups(planned["restart_groups"])
    if planned["nowhere"]:
        say()
        say(folded(f"on no host: {', '.join(planned['nowhere'])}", indent=2))


def _print_groups(groups: Row) -> None:
    """Print who is restarted with whom; the arrow is the order of their start."""
    if groups:
        say()
        say("these are restarted together")
    for name, group in groups.items():
        for host, order in group["hosts"].items():
            say(folded(f"  {name} on {host}, {group['strategy']}: {' → '.join(order)}; given up after more than "
                       f"{group['budget']} failures in {group['within_s']:g} s", indent=6))


def _print_waves(config: MeshConfig, host: str, steps: Sequence[Sequence[str]]) -> None:
    usual = _usual(config, steps)
    for number, services in enumerate(steps, 1):
        when = "at once" if number == 1 else f"when wave {number - 1} is ready"
        names = [service + _marks(config.agents[service], host, usual) for service in services]
        say(folded(f"  wave {number}, {when}: {', '.join(names)}", indent=6))
    if not steps:
        say("  no agents")
    elif usual:
        say(coloured(f"  isolation is {usual} where nothing else is said", "dim"))


def _usual(config: MeshConfig, steps: Sequence[Sequence[str]]) -> str | None:
    """Return the isolation that most agents share; the others are marked."""
    counts = Counter(config.agents[service].isolation for services in steps for service in services)
    return counts.most_common(1)[0][0] if counts else None


def _marks(spec: AgentSpec, host: str, usual: str | None) -> str:
    """Return what is not as usual of an agent: where it runs, and that there are several of it."""
    isolation, count = spec.isolation, spec.count(host)
    marks = [*([] if isolation == usual else [str(isolation)]), *([f"{count} instances"] if count > 1 else [])]
    return f" ({', '.join(marks)})" if marks else ""


def _print_edges(edges: Sequence[Row]) -> None:
    """Print a line per agent with those it calls and does not wait for."""
    if edges:
        say("  these start without waiting for whom they call")
    for service in dict.fromkeys(edge["service"] for edge in edges):
        called = [edge["needs"] + ("" if edge["why"] == SOFT else f" ({edge['why']})")
                  for edge in edges if edge["service"] == service]
        say(folded(f"    {service} → {', '.join(called)}", indent=8))
