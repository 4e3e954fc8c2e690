"""`mesh agents`: a line per agent of every host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from mesh.cli.hosts import away, chosen, did_you_mean, names
from mesh.cli.instance import named, ordered
from mesh.cli.operator import connected
from mesh.cli.policies import breaker_words
from mesh.cli.scope import Scope
from mesh.cli.screen import document, note, say
from mesh.cli.table import Column, table
from mesh.errors import UsageError

PATIENCE = 2.0
STATES = ("stopped", "starting", "ready", "degraded", "draining", "failed", "backoff", "quarantined")

Row = dict[str, Any]


def _most(figure: str) -> Callable[[Row], Any]:
    return lambda row: (-(row[figure] or 0), ordered(row))


SORTS: Mapping[str, Callable[[Row], Any]] = {
    "service": lambda row: (row["service"], row["host"], row.get("instance", 1)),
    "host": lambda row: (row["host"], ordered(row)),
    "state": lambda row: (-STATES.index(row["state"]), ordered(row)),
    **{figure: _most(figure) for figure in ("restarts", "inbox", "calls", "errors", "p50_ms", "p99_ms", "loop_ms")},
}


def agents(scope: Scope, host: str | None, state: str | None, sort: str) -> None:
    """Print the agents of all hosts, or of one, in one state, in an order."""
    _check("--state", state, STATES)
    _check("--sort", sort, tuple(SORTS))
    rows, missing = asyncio.run(_gathered(scope, host))
    rows = sorted((row for row in rows if state in (None, row["state"])), key=SORTS[sort])
    for name, reason in missing.items():
        note(f"the agents of {name} are not shown: {reason}")
    if scope.json:
        document(rows)
    else:
        _print(rows)


def _check(option: str, given: str | None, known: tuple[str, ...]) -> None:
    if given is not None and given not in known:
        raise UsageError(f"{option} is {given!r}, which is none of {', '.join(known)}{did_you_mean(given, known)}")


async def _gathered(scope: Scope, host: str | None) -> tuple[list[Row], dict[str, str]]:
    async with connected(scope) as operator:
        directory = await operator.directory()
        asked = chosen(operator.config, directory, host)
        answers, breakers = await asyncio.gather(
            operator.ask_each("supervisor.agents", asked, limit=PATIENCE),
            operator.ask_each("supervisor.breakers", names(operator.config, directory), limit=PATIENCE),
        )
    rows = [row for answer in answers.values() if isinstance(answer, list) for row in answer]
    for row in rows:
        row["breakers"] = [{**each, "from": host} for host, told in breakers.items() if isinstance(told, list)
                           for each in told if _stands_before(each, row)]
    return rows, away(directory, answers)


def _stands_before(breaker: Row, row: Row) -> bool:
    """Tell whether a breaker is in front of the instance of a row."""
    return all(breaker[key] == row.get(name, 1) for key, name in (("service", "service"), ("host", "host"),
                                                                  ("number", "instance")))


def _print(rows: list[Row]) -> None:
    if not rows:
        say("no agents")
        return
    columns = [
        Column("service"), Column("host"), Column("state"), Column("isolation", False, 7), Column("pid", True, 8),
        Column("restarts", True, 4), Column("inbox", True, 5), Column("calls", True), Column("errors", True),
        Column("p50 ms", True, 2), Column("p99 ms", True, 1), Column("loop ms", True, 3),
        Column("incarnation", True, 9),
    ]
    shown = [[named(row), row["host"], row["state"], isolation(row), row["pid"], row["restarts"], row["inbox"],
              row["calls"], row["errors"], _ms(row["p50_ms"]), _ms(row["p99_ms"]), row["loop_ms"], row["incarnation"]]
             for row in rows]
    table(columns, shown, {at: text for at, row in enumerate(rows) if (text := _note(row))})


def isolation(row: Row) -> str:
    """Return where an agent runs, and that it is there by itself, not by its config."""
    return f"auto → {row['isolation']}" if row.get("isolation_set") == "auto" else str(row["isolation"])


def _ms(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _note(row: Row) -> str:
    reason, last = row["reason"] or "", row["last_error"]
    told = [reason, f"last error: {last}" if last and last not in reason else "",
            *(f"from {one['from']}: {breaker_words(one)}" for one in row["breakers"])]
    return "; ".join(text for text in told if text)
