"""`mesh agent reload` and `mesh agent restart --rolling`: new agents in the place of old ones, one after the other.

Agents come in the order in which they depend on each other, and of one agent host after host; the first that does not
come up ends it, so that the others go on as they were.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from mesh.address import split_instance, split_version
from mesh.cli.hosts import checked, homes, names
from mesh.cli.operator import Operator, connected
from mesh.cli.scope import Scope
from mesh.cli.screen import clean, document, say, state
from mesh.cli.spread import spread
from mesh.config import MeshConfig
from mesh.config.graph import waves
from mesh.errors import UsageError

LIMIT = 60.0
PATIENCE = 2.0
WELL = ("ready", "degraded")

Row = dict[str, Any]


def reload(scope: Scope, services: Sequence[str], every: bool, host: str | None, force: bool) -> int:
    """Have agents run the code on disk; returns 1 if one does not."""
    if bool(services) == every:
        raise UsageError("name the agents to reload, or --all")
    outcomes = asyncio.run(_rolled(scope, services, host, "supervisor.agent_reload", {"force": force}))
    return _told(scope, outcomes, _reloaded)


def begin(scope: Scope, services: Sequence[str], version: str, host: str | None) -> int:
    """Have the code on disk run beside an agent under a name of its own; returns 1 if it does not come up."""
    if len(services) != 1:
        raise UsageError("name the one agent whose code is to run beside it")
    outcomes = asyncio.run(_rolled(scope, services, host, "supervisor.agent_begin_version", {"version": version}))
    return _told(scope, outcomes, _begun)


def promote(scope: Scope, name: str, host: str | None, force: bool) -> int:
    """Put a version in the place of its service; returns 1 if it does not take it."""
    outcomes = asyncio.run(_rolled(scope, [name], host, "supervisor.agent_promote", {"force": force}))
    return _told(scope, outcomes, _reloaded)


def roll(scope: Scope, service: str, host: str | None) -> int:
    """Restart an agent on one host after the other, each new one beside the old; returns 1 if one is not well."""
    outcomes = asyncio.run(_rolled(scope, [service], host, "supervisor.agent_restart", {"rolling": True}))
    return _told(scope, outcomes, _restarted)


async def _rolled(
    scope: Scope, services: Sequence[str], host: str | None, operation: str, arguments: Row
) -> list[Row]:
    outcomes: list[Row] = []
    async with connected(scope) as operator:
        directory = await operator.directory()
        if host is not None:
            checked(host, names(operator.config, directory))
        for service in _ordered(operator.config, services or {row["service"] for row in directory["instances"]}):
            whole, _ = split_instance(service)
            for home in homes(operator.config, directory, whole):
                if host not in (None, home):
                    continue
                outcome: Row = await operator.ask(operation, {"service": service, **arguments}, host=home, limit=LIMIT)
                outcomes.append(outcome)
                if outcome.get("breaks"):
                    await _find_callers(operator, directory, outcome)
                if not _well(outcome):
                    return outcomes
                await spread(operator, split_instance(outcome["service"])[0], home)
    if not outcomes:
        raise UsageError(f"none of {', '.join(services) or 'the agents'} runs on {host}")
    return outcomes


def _ordered(config: MeshConfig, services: Iterable[str]) -> list[str]:
    """Return services so that none comes before one it depends on; those nobody configures come last."""
    order = [service for host in config.hosts for wave in waves(config, host) for service in wave]
    place = {name: order.index(name) for name in order}
    return sorted(dict.fromkeys(services), key=lambda name: place.get(split_instance(name)[0], len(order)))


async def _find_callers(operator: Operator, directory: Row, outcome: Row) -> None:
    """Note at each break who has called that operation, as the hosts have seen it."""
    answers = await operator.ask_each("supervisor.edges", names(operator.config, directory), limit=PATIENCE)
    calls = [edge for answer in answers.values() if isinstance(answer, dict) for edge in answer["calls"]
             if edge["service"] == split_instance(outcome["service"])[0]]
    for one in outcome["breaks"]:
        one["callers"] = [{name: edge[name] for name in ("caller", "host", "calls")} for edge in calls
                          if edge["operation"] == one["operation"]]


def _well(outcome: Row) -> bool:
    return bool(outcome.get("taken", True)) and outcome["state"] in (*WELL, "stopped")


def _told(scope: Scope, outcomes: list[Row], words: Any) -> int:
    done = all(map(_well, outcomes))
    if scope.json:
        document({"ok": done, "agents": outcomes})
        return 0 if done else 1
    for outcome in outcomes:
        say(words(outcome))
        for one in outcome.get("breaks", ()):
            callers = ", ".join(f"{each['caller']}@{each['host']} ({each['calls']} calls)" for each in one["callers"])
            say(clean(f"  {outcome['service']}.{one['operation']}: {one['message']}; "
                      f"{f'called by {callers}' if callers else 'nobody has called it yet'}"))
        if outcome.get("breaks") and not outcome["taken"]:
            say("  change the callers first, or reload all the same with --force")
    return 0 if done else 1


def _reloaded(outcome: Row) -> str:
    who = f"{outcome['service']} on {outcome['host']}"
    if not outcome["taken"]:
        goes_on = "goes on with its old code" if outcome["state"] in WELL else f"is {outcome['state']}"
        return clean(f"{who} {goes_on}: {outcome['failure']}")
    if outcome["state"] not in WELL:
        return clean(f"{who} is ") + state(outcome["state"]) + clean(": it takes its new code when it is started")
    how = f", set up {outcome['how']} the old" if outcome["how"] else ""
    cut = f"; {outcome['cut']} calls did not end in time and were cancelled" if outcome["cut"] else ""
    return clean(f"{who} is ") + state(outcome["state"]) + clean(f" with new code{how}{cut}")


def _begun(outcome: Row) -> str:
    name, service = outcome["service"], split_version(outcome["service"])[0]
    return clean(f"{name} on {outcome['host']} is ") + state(outcome["state"]) + (
        f" beside {service}\n  `mesh agent promote {name}` puts it in its place\n  `mesh agent stop {name}` ends it")


def _restarted(outcome: Row) -> str:
    return clean(f"{outcome['service']} on {outcome['host']} is ") + state(outcome["state"])
