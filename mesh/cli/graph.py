"""`mesh graph`: who depends on whom by config, who really calls whom by count; as text, dot or svg."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from mesh.agent.reaction import compile_subscriptions
from mesh.cli.hosts import away, names
from mesh.cli.operator import connected
from mesh.cli.picture import dot, svg, told
from mesh.cli.relations import Node, Relations, relate
from mesh.cli.scope import Scope
from mesh.cli.screen import clean, coloured, document, note, say, state
from mesh.config import MeshConfig
from mesh.errors import LoadError, MeshUnreachable, UsageError
from mesh.supervisor.cell.loader import load_agent_class

PATIENCE = 2.0
FORMATS = ("text", "dot", "svg")
SEVERITY = ("ready", "degraded", "starting", "draining", "backoff", "stopped", "failed", "quarantined")

Row = dict[str, Any]


def graph(scope: Scope, declared: bool, observed: bool, shape: str) -> None:
    """Print the graph; what is declared needs no running mesh, and without one nothing else is shown."""
    if declared and observed:
        raise UsageError("--declared and --observed exclude each other; without either both are shown")
    if shape not in FORMATS:
        raise UsageError(f"--format is {shape!r}, which is none of {', '.join(FORMATS)}")
    config = scope.config()
    related = _declared(config) if declared else _seen(scope, config, with_declared=not observed)
    title = f"mesh {config.mesh}: " + ("declared" if declared else "observed" if observed else "declared and observed")
    if scope.json:
        document({"services": [node.row() for node in related.nodes],
                  "relations": [one.row() for one in related.relations]})
    elif shape == "text":
        _print(related)
    else:
        say(dot(related) if shape == "dot" else svg(related, title))


def _declared(config: MeshConfig) -> Relations:
    return relate(config, declared=True, calls=(), hears=_subscriptions(config), states={})


def _seen(scope: Scope, config: MeshConfig, *, with_declared: bool) -> Relations:
    """Return what the hosts have seen; with no host to ask, what is declared, if that was wanted as well."""
    try:
        directory, answers = asyncio.run(_gathered(scope))
    except MeshUnreachable as error:
        if not with_declared:
            raise
        note(f"only what is declared: {error.message.splitlines()[0]}")
        return _declared(config)
    for host, reason in away(directory, answers).items():
        note(f"what {host} has seen is missing: {reason}")
    heard = [answer for answer in answers.values() if isinstance(answer, dict)]
    return relate(config, declared=with_declared, calls=(row for each in heard for row in each["calls"]),
                  hears=(row for each in heard for row in each["hears"]), states=_states(directory))


async def _gathered(scope: Scope) -> tuple[Row, Mapping[str, Any]]:
    async with connected(scope) as operator:
        directory = await operator.directory()
        return directory, await operator.ask_each("supervisor.edges", names(operator.config, directory),
                                                  limit=PATIENCE)


def _states(directory: Row) -> dict[str, str]:
    """Return the worst state of each service."""
    found: dict[str, str] = {}
    for row in directory["instances"]:
        found[row["service"]] = max(found.get(row["service"], SEVERITY[0]), row["state"], key=SEVERITY.index)
    return found


def _subscriptions(config: MeshConfig) -> Iterator[Row]:
    """Yield what the agents hear by their classes; one that does not load is left to `mesh check`."""
    for service, spec in config.agents.items():
        with contextlib.suppress(LoadError), contextlib.redirect_stdout(sys.stderr):
            for one in compile_subscriptions(load_agent_class(spec)):
                yield {"service": service, "host": None, "pattern": one.pattern, "group": one.group}


# --- for people


def _print(related: Relations) -> None:
    shown = [node for node in related.nodes if related.of(node.service) or node.heard]
    width = max((len(one.target) for one in related.relations), default=0)
    for node in shown:
        say(_head(node))
        for one in related.of(node.service):
            text = clean(f"  → {one.target:{width}}  {told(one)}")
            say(coloured(text, "red" if one.errors else None if one.calls else "dim"))
        if node.heard:
            say(clean(f"  hears {', '.join(node.heard)}"))
    called = {one.target for one in related.relations}
    alone = [node.service for node in related.nodes if node not in shown and node.service not in called]
    if alone:
        say(clean(f"without any relation: {', '.join(alone)}"))
    if not related.relations:
        say("nobody has called anybody yet")


def _head(node: Node) -> str:
    where = f"@{','.join(node.hosts)}" if node.hosts else ""
    return coloured(clean(f"{node.service}{where}"), "bold") + (f"  {state(node.state)}" if node.state else "")
