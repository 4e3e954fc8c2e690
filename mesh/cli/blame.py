"""`mesh blame`: who used the hosts' event loops, who held them, and where."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from mesh.cli.hosts import away, chosen
from mesh.cli.instance import named, ordered
from mesh.cli.operator import connected
from mesh.cli.scope import Scope
from mesh.cli.screen import document, duration, note, say
from mesh.cli.table import Column, folded, table

PATIENCE = 2.0

Row = dict[str, Any]


def blame(scope: Scope, host: str | None) -> None:
    """Print the agents of all hosts, or of one, by what they stole of the loop and then by what they used."""
    found, missing = asyncio.run(_gathered(scope, host))
    for name, reason in missing.items():
        note(f"the loop of {name} is not shown: {reason}")
    if scope.json:
        document(found)
    else:
        _print(found)


async def _gathered(scope: Scope, host: str | None) -> tuple[Row, dict[str, str]]:
    async with connected(scope) as operator:
        directory = await operator.directory()
        asked = chosen(operator.config, directory, host)
        answers = await operator.ask_each("supervisor.blame", asked, limit=PATIENCE)
    return ranked(answers), away(directory, answers)


def ranked(answers: Mapping[str, Any]) -> Row:
    """Return the document of `mesh blame --json` from what each host answered."""
    told = [answer for answer in answers.values() if isinstance(answer, dict)]
    agents = [row for answer in told for row in answer["agents"]]
    return {
        "hosts": [{key: value for key, value in answer.items() if key != "agents"} for answer in told],
        "agents": sorted(agents, key=lambda row: (-row["stolen_ms"], -row["used_ms"], ordered(row))),
    }


def _print(found: Row) -> None:
    columns = [
        Column("service"), Column("host"), Column("isolation", False, 5), Column("stolen ms", True),
        Column("last min", True, 3), Column("times", True, 2), Column("longest", True, 1), Column("used ms", True),
        Column("share", True), Column("last min", True, 4),
    ]
    rows = [[named(row), row["host"], row["isolation"], row["stolen_ms"], row["stolen_1m_ms"], row["holds"],
             _longest(row), row["used_ms"], _percent(row["share"]), _percent(row["share_1m"])]
            for row in found["agents"]]
    table(columns, rows, {at: _where(row["places"]) for at, row in enumerate(found["agents"]) if row["places"]})
    for host in found["hosts"]:
        told = (f"{host['host']}: in {duration(host['window_s'])} its loop computed {host['loop_cpu_ms'] / 1000:.1f} "
                f"s, the steps of agents on it took {host['agents_ms'] / 1000:.1f} s; stolen is what one of them took "
                f"over {host['limit_ms']:g} ms")
        say(folded(told, indent=4))


def _longest(row: Row) -> float | None:
    return max((place["worst_ms"] for place in row["places"]), default=None)


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _where(places: list[Row]) -> str:
    return "; ".join(
        f"{place['count']} x {place['kind']} in {place['operation'] or place['function']}"
        f" at {place['file']}:{place['line']}" + (f" ({place['inside']})" if place["inside"] else "")
        for place in places
    )
