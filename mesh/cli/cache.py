"""`mesh cache`: the answers that hosts keep, and letting them go."""

from __future__ import annotations

import asyncio
from typing import Any

from mesh.cli.hosts import away, chosen
from mesh.cli.operator import connected
from mesh.cli.scope import Scope
from mesh.cli.screen import document, note, say
from mesh.cli.table import Column, folded, table
from mesh.errors import UsageError

Row = dict[str, Any]
COLUMNS = (
    Column("OPERATION"), Column("HOST"), Column("TTL", number=True), Column("STALE", number=True, dispensable=3),
    Column("ENTRIES", number=True), Column("KIB", number=True, dispensable=4), Column("HITS", number=True),
    Column("MISSES", number=True), Column("SHARE", number=True), Column("JOINED", number=True, dispensable=2),
    Column("LET GO", number=True, dispensable=1),
)


def show(scope: Scope, service: str | None, host: str | None) -> None:
    """Print what each host keeps, and what that has spared."""
    rows, silent = asyncio.run(_asked(scope, service, host))
    if scope.json:
        document({"rows": rows, "away": silent})
        return
    for name, reason in silent.items():
        note(f"{name} does not answer: {reason}")
    if rows:
        table(COLUMNS, [_cells(row) for row in rows])
    else:
        told = (f"nobody keeps answers{f' of {service}' if service else ''} yet: an operation says so with "
                "cache=60, and a host begins with the first call to it")
        say(folded(told, indent=2))


async def _asked(scope: Scope, service: str | None, host: str | None) -> tuple[list[Row], dict[str, str]]:
    async with connected(scope) as operator:
        directory = await operator.directory()
        answers = await operator.ask_each("supervisor.cache", chosen(operator.config, directory, host),
                                          {"service": service})
        silent = away(directory, answers)
        rows = [{**row, "host": name} for name, told in answers.items() if name not in silent for row in told]
        return sorted(rows, key=lambda row: (row["service"], row["operation"], row["host"])), silent


def _cells(row: Row) -> tuple[Any, ...]:
    spared = row["hits"] + row["stale"] + row["shared"]
    asked = spared + row["coalesced"] + row["misses"]
    return (f"{row['service']}.{row['operation']}", row["host"], f"{row['ttl_s']:g} s", f"{row['stale_s']:g} s",
            row["entries"], f"{row['bytes'] / 1024:.0f}", spared, row["misses"],
            f"{100 * (spared + row['coalesced']) / asked:.0f} %" if asked else "-", row["coalesced"],
            row["invalidated"])


def clear(scope: Scope, service: str | None, tags: list[str], everything: bool) -> None:
    """Have every host let go of the answers of a service, under tags, or of all."""
    wanted = ["*"] if everything else [*([service] if service else ()), *tags]
    if not wanted:
        raise UsageError("name a service or `service.operation`, a tag with --tag, or --all for everything")
    told = asyncio.run(_cleared(scope, wanted))
    if scope.json:
        document({"tags": wanted, **told})
        return
    say(folded(f"let go of {told['entries']} answers in the memory of {told['host']}; every other host is told as well",
               indent=2))


async def _cleared(scope: Scope, tags: list[str]) -> Row:
    async with connected(scope) as operator:
        count = await operator.ask("supervisor.cache_clear", {"tags": tags})
        return {"host": operator.host, "entries": count}
