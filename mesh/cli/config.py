"""`mesh config get|set|unset|diff`: the values in force, where each came from, and changes while the mesh runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mesh.cli.arguments import is_text
from mesh.cli.hosts import away, checked, did_you_mean, homes, names
from mesh.cli.operator import Operator, connected
from mesh.cli.scope import Scope
from mesh.cli.screen import clean, coloured, document, note, readable, say
from mesh.cli.spread import spread
from mesh.cli.table import Column, folded, table
from mesh.config import override_key
from mesh.config.variables import value_of
from mesh.errors import InvalidArgument, MeshError, UsageError

Row = dict[str, Any]

WELL = ("ready", "degraded")

DONE: Mapping[str, str] = {
    "unchanged": "it was so already",
    "live": "taken over without a restart",
    "restarted": "started anew with it, no call lost",
    "later": "taken at its next start",
}


def get(scope: Scope, service: str, key: str | None, host: str | None) -> None:
    """Print every value in force of a service with where it came from, or the one of `key` alone."""
    told = asyncio.run(_told(scope, service, host))
    rows = told["values"] if key is None else _chosen(service, told["values"], key)
    if key is not None and len(rows) == 1 and rows[0]["key"] == override_key(key):
        document(rows[0]) if scope.json else say(readable(rows[0]["value"]))
    elif scope.json:
        document(rows)
    else:
        columns = [Column("key"), Column("value"), Column("from"), Column("file says", False, 2),
                   Column("default", False, 1)]
        table(columns, [_cells(row) for row in rows])


def _cells(row: Row) -> list[str | None]:
    file = row["file"]
    other = f"{_short(file['value'])}  ({file['origin']})" if file and row["override"] else None
    return [row["key"], _short(row["value"]), row["origin"], other, _short(row["default"])]


def _short(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _chosen(service: str, rows: Sequence[Row], key: str) -> list[Row]:
    """Return the row of a key, or those inside it; raises `UsageError` with the nearest."""
    wanted = override_key(key)
    found = [row for row in rows if row["key"] == wanted or row["key"].startswith(f"{wanted}.")]
    if not found:
        known = [row["key"] for row in rows]
        hint = did_you_mean(key, known) or f"; it has {', '.join(known)}"
        raise UsageError(f"{service} has no setting {key!r}{hint}")
    return found


def diff(scope: Scope, service: str | None) -> None:
    """Print what operators changed and what files say, against what the agents declare."""
    told, missing = asyncio.run(_everything(scope, service))
    rows = [{"service": each["service"], "host": each["host"], **row} for each in told for row in each["values"]
            if row["override"] or row["file"] is not None]
    for name, reason in missing.items():
        note(f"what {name} has is not shown: {reason}")
    if scope.json:
        document(rows)
    elif not rows:
        say("everything is as the agents declare it")
    else:
        columns = [Column("service"), Column("host", False, 3), Column("key"), Column("override"), Column("file"),
                   Column("default", False, 1), Column("from", False, 2)]
        table(columns, [[row["service"], row["host"], row["key"], _short(row["value"]) if row["override"] else None,
                         _short(row["file"]["value"]) if row["file"] else None, _short(row["default"]),
                         row["file"]["origin"] if row["file"] else None] for row in rows])


def change(scope: Scope, service: str, key: str, text: str | None) -> int:
    """Set a key to what `text` stands for, or unset it for None; returns 1 if the agent refused it or does not run."""
    done = asyncio.run(_changed(scope, service, key, text))
    if scope.json:
        document(done)
    else:
        _print_outcome(done)
    down = any(row["how"] == "restarted" and row["state"] not in WELL for row in done["hosts"])
    return 1 if down or not done["ok"] else 0


def _print_outcome(done: Row) -> None:
    what = f"{done['key']} of {done['service']}"
    said = f"{what} is {_short(done['now']['value'])}  ({done['now']['origin']})"
    if not done["ok"]:
        for row in done["hosts"]:
            if row["how"] == "refused":
                told = clean(f"{row['service']} on {row['host']} refused it: {row['reason']}")
                say(coloured(folded(told, indent=4), "red"))
        say(folded(clean(f"rolled back: {said}"), indent=4))
        return
    say(folded(clean(said), indent=4))
    for row in done["hosts"]:
        say(folded(clean(f"    on {row['host']}: {row['reason'] or DONE[row['how']]}"), indent=8))


async def _told(scope: Scope, service: str, host: str | None) -> Row:
    """Return what the first host that answers has of a service."""
    async with connected(scope) as operator:
        return await _of(operator, service, host)


async def _of(operator: Operator, service: str, host: str | None = None) -> Row:
    directory = await operator.directory()
    found = homes(operator.config, directory, service)
    wanted = found if host is None else [checked(host, names(operator.config, directory))]
    answers = await operator.ask_each("supervisor.config", wanted, {"service": service})
    for answer in answers.values():
        if not isinstance(answer, MeshError):
            told: Row = answer[0]
            return told
    raise next(iter(answers.values()))


async def _everything(scope: Scope, service: str | None) -> tuple[list[Row], dict[str, str]]:
    async with connected(scope) as operator:
        directory = await operator.directory()
        asked = names(operator.config, directory) if service is None else homes(operator.config, directory, service)
        answers = await operator.ask_each("supervisor.config", asked, {"service": service})
    told = [row for answer in answers.values() if not isinstance(answer, MeshError) for row in answer]
    return sorted(told, key=lambda row: (row["service"], row["host"])), away(directory, answers)


async def _changed(scope: Scope, service: str, key: str, text: str | None) -> Row:
    async with connected(scope) as operator:
        told = await _of(operator, service)
        asked = {"service": service, "key": override_key(key)}
        if text is not None:
            asked["value"] = _meant(told["schema"], key, text)
        elif not any(f"{asked['key']}.".startswith(f"{row['key']}.") for row in told["values"]):
            _chosen(service, told["values"], key)  # says what there is
        try:
            done: Row = await operator.ask(f"supervisor.config_{'unset' if text is None else 'set'}", asked,
                                           host=told["host"])
        except InvalidArgument as error:
            raise UsageError(error.message) from None
        for row in done["hosts"]:
            if row["how"] in ("live", "restarted"):
                await spread(operator, service, row["host"])
        now = (await _of(operator, service, told["host"]))["values"]
    return {**done, "now": next((row for row in now if row["key"] == done["key"]), _as_given(done, now))}


def _as_given(done: Row, rows: list[Row]) -> Row:
    """Return a row for a key that has none of its own: one inside a value, such as `examples.weather`, or a section."""
    inside = [row for row in rows if row["key"].startswith(f"{done['key']}.")]
    if done["unset"] and inside:
        origins = {row["origin"] for row in inside}
        values = {row["key"].removeprefix(f"{done['key']}."): row["value"] for row in inside}
        return {"key": done["key"], "value": values,
                "origin": origins.pop() if len(origins) == 1 else "files and defaults"}
    return {"key": done["key"], "value": done["value"], "origin": "file" if done["unset"] else "override"}


def _meant(schema: Mapping[str, Any], key: str, text: str) -> Any:
    """Return the value of `text`: a text where the agent's `Config` takes nothing else, a YAML value elsewhere."""
    if is_text(schema, override_key(key).removeprefix("settings.").split(".")) or override_key(key) == "isolation":
        return text
    try:
        return value_of(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no value: {error}; put a text in quotes") from None
