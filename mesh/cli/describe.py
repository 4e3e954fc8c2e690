"""`mesh describe`: where a service runs, what it can be asked, what it listens to, and the config in force."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from mesh.address import split_instance
from mesh.cli.agents import isolation
from mesh.cli.hosts import checked, homes, names
from mesh.cli.operator import connected
from mesh.cli.policies import print_policies
from mesh.cli.scope import Scope
from mesh.cli.screen import coloured, document, readable, say, state
from mesh.cli.table import folded
from mesh.errors import MeshError

Row = dict[str, Any]


def describe(scope: Scope, service: str, host: str | None) -> None:
    """Print everything about one service, as its first host that answers tells it."""
    told = asyncio.run(_asked(scope, service, host))
    if scope.json:
        document(told)
    else:
        _print(told)


async def _asked(scope: Scope, service: str, host: str | None) -> Row:
    async with connected(scope) as operator:
        directory = await operator.directory()
        found = homes(operator.config, directory, split_instance(service)[0])
        wanted = found if host is None else [checked(host, names(operator.config, directory))]
        answers = await operator.ask_each("supervisor.describe", wanted, {"service": service})
        told = [answer for answer in answers.values() if isinstance(answer, dict)]
        if not told:
            first = next(iter(answers.values()))
            assert isinstance(first, MeshError)
            raise first
        asked = await operator.ask_each("supervisor.policies", names(operator.config, directory), {"service": service})
        policies = [answer for answer in asked.values() if isinstance(answer, dict)]
        return {**told[0], "configured_on": found, "policies": policies}


def _print(told: Row) -> None:
    say(f"{coloured(told['service'], 'bold')}: {told['purpose'] or 'no purpose told'}")
    say(f"  {told['class']}, {isolation(told)}{_place(told)}" + (", required" if told["required"] else ""))
    for row in told["instances"]:
        number = f"#{row['number']}" if row["number"] > 1 else ""
        say(f"  on {row['host']}{number}: {state(row['state'])}" + (f", {row['reason']}" if row["reason"] else ""))
    for name in sorted({*told["configured_on"]} - {row["host"] for row in told["instances"]}):
        say(f"  on {name}: configured, not there now")
    _print_operations(told["operations"])
    _print_rows("listens to", [
        f"{row['pattern']} → {row['method']}" + (f", one of group {row['group']}" if row["group"] else "")
        for row in told["subscriptions"]
    ])
    _print_rows("by the clock", [f"{row['method']} every {row['seconds']:g} s" for row in told["timers"]])
    _print_rows("depends on", [row["service"] + (" (soft)" if row["soft"] else "") for row in told["depends_on"]])
    _print_rows("connections", [f"{row['name']} at {row['address']}: {state(row['state'])}"
                                + (f", {row['reason']}" if row["reason"] else "")
                                for row in told.get("connections", ())])
    _print_rows("models", [f"{row['name']} on {row['device']}: {row['memory_mb']} MiB"
                           + (" measured" if row["measured"] else "") + ("" if row["loaded"] else ", loading")
                           + (f", shared by {', '.join(row['owners'])}" if row["shared"] else "")
                           for row in told.get("models", ())])
    _print_rows("cancelled, and goes on", [f"{row['operation'] or 'a step'} in {row['place']}, for {row['seconds']:g} s"
                                           for row in told.get("goes_on", ())])
    _print_rows("settings", [f"{row['key']} = {_value(row['value'])}  ({row['origin']})" for row in told["settings"]])
    origin = told["origin"]
    _print_rows("supervision", list(_supervision(told, origin)))
    print_policies(told["policies"])
    _print_rows("limits", [f"{key} = {value}  ({origin.get(f'limits.{key}', 'default')})"
                           for key, value in told["limits"].items()])


def _supervision(told: Row, origin: Row) -> Iterator[str]:
    """Yield when, how often and how soon it is started again, and how much of that is used up."""
    said = dict(told["supervision"])
    yield f"restart = {said.pop('restart')}  ({origin.get('restart', 'default')})"
    for key, value in said.items():
        yield f"restarts.{key} = {value}  ({origin.get(f'restarts.{key}', 'default')})"
    soon = "" if told["next_start_s"] is None else f", the next start in {told['next_start_s']:g} s"
    group = told["restart_group"]
    if group is not None:
        yield (f"restart group {group['name']}, {group['strategy']}: {' → '.join(group['members'])}; failed "
               f"{group['failures']} of {group['budget']} times in the last {group['within_s']:g} s")
    yield f"failed {told['failures']} of {told['budget']} times in the last {told['window_s']:g} s{soon}"


def _place(told: Row) -> str:
    """Return where an agent runs that its file does not place there, and its process if that is its own."""
    words = [] if told["memory_mb"] is None else [f"pid {told['pid']}", f"{told['memory_mb']:.0f} MiB"]
    origin = told["isolation_origin"]
    moved = origin.startswith("auto:") or (":" not in origin and origin != "default")
    return f" ({', '.join([*words, origin] if moved else words)})" if words or moved else ""


def _print_operations(operations: list[Row]) -> None:
    _print_rows("operations", [])
    for row in operations:
        returns = f"{row['returns']}, one by one" if row["stream"] else row["returns"]
        mark = "  idempotent" if row["idempotent"] else ""
        told = folded(f"    {row['signature']} -> {returns}{mark}", indent=8)
        say(told.removesuffix(mark) + coloured(mark, "dim") if mark and told.endswith(mark) else told)
        for text in row["doc"].splitlines()[:1]:
            say(coloured(folded(f"        {text}", indent=8), "dim"))
    models = {name: model for row in operations for schema in (row["arguments"], row["result"])
              for name, model in {**schema.get("$defs", {}), **_own(schema)}.items()}
    _print_rows("types", [f"{name} = {_shape(model)}" for name, model in models.items()])


def _own(schema: Row) -> Row:
    return {schema["title"]: schema} if _is_model(schema) else {}


def _is_model(schema: Row) -> bool:
    return "title" in schema and "properties" in schema


def _shape(model: Row) -> str:
    """Return what a named type is: its fields with their types, or its values."""
    if "properties" in model:
        return f"{{{', '.join(f'{name}: {_type(item)}' for name, item in model['properties'].items())}}}"
    return " | ".join(map(repr, model["enum"])) if "enum" in model else _type(model)


def _type(schema: Row) -> str:
    if _is_model(schema):
        return str(schema["title"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " | ".join(_type(item) for item in schema["anyOf"])
    if schema.get("type") == "array":
        return f"[{_type(schema.get('items', {}))}]"
    return str(schema.get("format") or schema.get("type") or "any")


def _print_rows(title: str, rows: list[str]) -> None:
    if rows or title == "operations":
        say(f"  {coloured(title, 'bold')}")
    for text in rows:
        say(folded(f"    {text}", indent=8))


def _value(value: Any) -> str:
    text = readable(value)
    return text if "\n" not in text else " ".join(text.split())
