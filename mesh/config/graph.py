"""Who must start before whom: hard edges between agents of one host, their waves and their circles.

Only a hard edge between two agents of the same host orders a start. An edge to an agent elsewhere is soft, whatever
the file says: a host starts without waiting for another one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from mesh.config.model import AgentSpec, MeshConfig
from mesh.errors import ConfigError

Edges = Mapping[str, Collection[str]]


def hard_edges(agents: Mapping[str, AgentSpec], host: str) -> dict[str, tuple[str, ...]]:
    """Return for every service on `host` the services on `host` that must run before it."""
    here = {service for service, spec in agents.items() if host in spec.hosts}
    return {
        service: tuple(edge.service for edge in agents[service].depends_on if not edge.soft and edge.service in here)
        for service in sorted(here)
    }


def waves(config: MeshConfig, host: str) -> list[list[str]]:
    """Return the services of `host` in the order of their start: each wave needs only waves before it.

    Stop in the reverse order. Raises ConfigError for a circle, which `load` has refused already.
    """
    waiting = {service: set(needs) for service, needs in hard_edges(config.agents, host).items()}
    found: list[list[str]] = []
    while waiting:
        wave = sorted(service for service, needs in waiting.items() if not needs & waiting.keys())
        if not wave:
            path = " -> ".join(cycles(waiting)[0])
            raise ConfigError(f"agents on {host} wait for each other: {path}; mark one edge `soft: true`")
        found.append(wave)
        for service in wave:
            del waiting[service]
    return found


def start_order(config: MeshConfig, host: str, services: Iterable[str]) -> list[str]:
    """Return those of `services` that run on `host` in the order of their start; as they are listed within a wave."""
    wave_of = {service: number for number, wave in enumerate(waves(config, host)) for service in wave}
    return sorted((service for service in services if service in wave_of), key=wave_of.__getitem__)


def cycles(edges: Edges) -> list[tuple[str, ...]]:
    """Return a path for every edge that closes a circle, such as (a, b, a); none twice."""
    done: set[str] = set()
    found: dict[tuple[str, ...], None] = {}
    for start in sorted(edges):
        if start not in done:
            for circle in _circles_from(start, edges, done):
                found.setdefault(_from_smallest(circle))
    return list(found)


def _circles_from(start: str, edges: Edges, done: set[str]) -> Iterable[tuple[str, ...]]:
    """Walk depth first with a stack of its own: a long chain must not end in a RecursionError."""
    path: dict[str, None] = {start: None}
    stack = [(start, iter(sorted(edges[start])))]
    while stack:
        service, following = stack[-1]
        step = next(following, None)
        if step is None:
            stack.pop()
            del path[service]
            done.add(service)
        elif step in path:
            way = list(path)
            yield tuple(way[way.index(step) :])
        elif step not in done and step in edges:
            path[step] = None
            stack.append((step, iter(sorted(edges[step]))))


def _from_smallest(circle: tuple[str, ...]) -> tuple[str, ...]:
    """Return the circle begun at its first name by the alphabet, and closed."""
    start = circle.index(min(circle))
    return (*circle[start:], *circle[:start], circle[start])
