"""`mesh status`: registry, hosts, agents by state: is it well?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mesh.cli.hosts import away, names
from mesh.cli.operator import Operator, connected
from mesh.cli.scope import Scope
from mesh.cli.screen import clean, coloured, document, duration, say, state
from mesh.cli.table import Column, folded, table
from mesh.config import MeshConfig
from mesh.errors import MeshError

PATIENCE = 2.0
SERVING = ("ready", "degraded")
ABSENT = "absent"
CELL_STATES = ("stopped", "starting", "ready", "degraded", "draining", "failed", "backoff", "quarantined")
_FIGURES = ("incarnation", "pid", "uptime_s", "lease_age_s", "loop_lag_ms", "rss_mb", "contexts", "sockets", "helpers",
            "security", "version", "protocol", "revision", "metrics")
_SAME: Mapping[str, str] = {"version": "the mesh's version", "protocol": "the protocol",
                            "revision": "the project's revision (agents/ and config/agents/)"}

Row = dict[str, Any]


def status(scope: Scope) -> int:
    """Print the state of the mesh; returns 1 if an agent that is required does not serve."""
    told = asyncio.run(_gathered(scope))
    if scope.json:
        document(told)
    else:
        _print(told)
    return 1 if told["required_down"] else 0


async def _gathered(scope: Scope) -> Row:
    async with connected(scope) as operator:
        directory = await operator.directory()
        everyone = names(operator.config, directory)
        answers, registry = await asyncio.gather(
            operator.ask_each("supervisor.status", everyone, limit=PATIENCE), _registry(operator, directory)
        )
        return summary(operator.config, directory, answers, registry)


async def _registry(operator: Operator, directory: Row) -> Row:
    """Return what the registry says of itself, or what the connected host last knew of it."""
    known = {"epoch": directory["epoch"], "revision": directory["revision"], "hosts": [], **directory["registry"]}
    if known["state"] == "unreachable":
        return known
    try:
        return {**known, **await operator.ask("registry.status", limit=PATIENCE)}
    except MeshError as error:
        return {**known, "state": "unreachable", "reason": error.message}


def summary(config: MeshConfig, directory: Row, answers: Mapping[str, Any], registry: Row) -> Row:
    """Return the document of `mesh status --json`.

    `answers` holds for each host its own row or the error that took its place, `registry` the registry's status.
    """
    leases = {row["name"]: row.get("lease_age_s") for row in registry["hosts"]}
    listed = {row["name"]: row for row in directory["hosts"]}
    reasons = away(directory, answers)
    rows = [_host(name, listed.get(name), answer, leases.get(name), reasons.get(name))
            for name, answer in answers.items()]
    return {
        "mesh": config.mesh,
        "registry": {**{key: value for key, value in registry.items() if key != "hosts"},
                     "reason": registry["reason"] or None},
        "hosts": rows,
        "services": len({*config.agents, *(row["service"] for row in directory["instances"])}),
        "errors_last_5m": sum(answer["errors_last_5m"] for answer in answers.values() if isinstance(answer, dict)),
        "required_down": _required_down(config, directory, answers),
        "mismatches": mismatches(rows),
    }


def mismatches(hosts: Iterable[Row]) -> list[Row]:
    """Return what hosts that answered differ in although they should not, each with the value of every host."""
    rows = [row for row in hosts if row["uptime_s"] is not None]
    found = []
    for field, what in _SAME.items():
        values = {row["name"]: row[field] for row in rows if row.get(field) is not None}
        if len(set(values.values())) > 1:
            told = ", ".join(f"{value} on {name}" for name, value in values.items())
            found.append({"field": field, "hosts": values, "message": f"{what} differs: {told}; bring the machines to "
                                                                      "one state and restart their hosts"})
    return found


def _host(name: str, listed: Row | None, answer: Any, lease_age: float | None, reason: str | None) -> Row:
    known = ABSENT if listed is None else listed["state"]
    if isinstance(answer, MeshError):
        return {"name": name, "state": "unreachable" if known == "ok" else known, **dict.fromkeys(_FIGURES),
                **_from_directory(listed), "agents": dict.fromkeys(CELL_STATES, 0), "reason": reason}
    judged = known if known in ("busy", "stuck", "suspect") else "ok"  # what the others see of it
    return {**{key: answer[key] for key in answer if key not in ("required_down", "errors_last_5m")},
            "state": "leaving" if answer["state"] == "leaving" else judged, "lease_age_s": lease_age}


def _from_directory(listed: Row | None) -> Row:
    return {} if listed is None else {key: listed[key] for key in ("incarnation", "pid", "version")}


def _required_down(config: MeshConfig, directory: Row, answers: Mapping[str, Any]) -> list[Row]:
    serving_last = sorted(directory["instances"], key=lambda row: row["state"] in SERVING)
    instances = {(row["service"], row["host"]): row for row in serving_last}
    down = []
    for host, answer in answers.items():
        services = answer["required_down"] if isinstance(answer, dict) else _required_on(config, host)
        for service in services:
            row = instances.get((service, host), {})
            serving = row.get("state") in SERVING  # an old word of the directory; the host's own answer is newer
            down.append({"service": service, "host": host, "state": None if serving else row.get("state"),
                         "reason": row.get("reason") or (answer.message if isinstance(answer, MeshError) else None)})
    return sorted(down, key=lambda row: (row["service"], row["host"]))


def _required_on(config: MeshConfig, host: str) -> Iterable[str]:
    return (service for service, spec in config.on(host).items() if spec.required)


# --- for people


def _print(told: Row) -> None:
    for text in troubles(told):
        say(coloured(folded(clean(text), indent=4), "red"))
    for row in told["mismatches"]:
        say(coloured(folded(clean(row["message"]), indent=4), "yellow"))
    for text in closed_pages(told):
        say(coloured(folded(clean(text), indent=4), "yellow"))
    registry = told["registry"]
    text = (f"mesh {told['mesh']}   registry {registry['state']} at {registry['endpoint']} ({registry['store']}), "
            f"epoch {registry['epoch']}, revision {registry['revision']}"
            + (f": {registry['reason']}" if registry["reason"] else ""))
    say(folded(text, indent=4).replace(f"registry {registry['state']}", f"registry {state(registry['state'])}", 1))
    if registry["state"] == "unreachable":
        say(folded("    known services stay callable; hosts that come or go meanwhile are not seen", indent=4))
    _print_hosts(told["hosts"])
    count = told["errors_last_5m"]
    say(f"{told['services']} services, "
        + coloured(f"{count} error{'' if count == 1 else 's'} in the last 5 minutes", "red" if count else None)
        + (" (mesh errors)" if count else ""))


def troubles(told: Row) -> Iterator[str]:
    """Yield a line per required agent that does not serve, and one for all of a host that is away."""
    away = {row["name"] for row in told["hosts"] if row["uptime_s"] is None}
    for host in sorted(away):
        if down := [row["service"] for row in told["required_down"] if row["host"] == host]:
            yield f"required agents of {host} are down with it: {', '.join(down)}"
    for row in told["required_down"]:
        if row["host"] not in away:
            yield (f"required agent {row['service']}@{row['host']} is {row['state'] or 'down'}"
                   + (f": {row['reason']}" if row["reason"] else ""))


def closed_pages(told: Row) -> Iterator[str]:
    """Yield why the registry or a host cannot show its metrics, each that cannot."""
    for row in (told["registry"], *told["hosts"]):
        reason = (row.get("metrics") or {}).get("reason")
        if reason:
            yield reason


def _print_hosts(hosts: list[Row]) -> None:
    columns = [
        Column("host"), Column("state"), Column("agents"), Column("up", True), Column("pid", True, 1),
        Column("lease s", True, 4), Column("lag ms", True, 2), Column("MB", True), Column("contexts", True, 6),
        Column("sockets", True, 3), Column("helpers", True, 7), Column("security", False, 5),
        Column("version", False, 8), Column("revision", False, 9), Column("incarnation", True, 10),
    ]
    rows = [[
        row["name"], row["state"], _counts(row["agents"]), duration(row["uptime_s"]), row["pid"], row["lease_age_s"],
        row["loop_lag_ms"], row["rss_mb"], row["contexts"], row["sockets"], row["helpers"], row["security"],
        row["version"], row["revision"], row["incarnation"],
    ] for row in hosts]
    table(columns, rows, {at: row["reason"] for at, row in enumerate(hosts) if row.get("reason")})
    for row in hosts:
        for connection in row.get("connections") or ():
            if connection["state"] == "down":
                say(coloured(folded(f"{row['name']}: {clean(connection['reason'])}", indent=4), "red"))
    if any(row["security"] == "none" for row in hosts):
        say(coloured("security is none: nothing is encrypted and anybody may join", "red"))


def _counts(agents: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in agents.items() if count) or "none"
