"""How `mesh top` looks: lines of text that fit a width and a height, for a terminal or for a page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.cli.instance import named
from mesh.cli.screen import COLOURS, OF_STATE, duration
from mesh.cli.table import Column, fitted, lines

Row = dict[str, Any]
Ink = Callable[[str, str | None], str]

SHOWN = (20, 10, 10)
"""Agents, operations and errors on a page that may be as long as it likes."""
WEIGHTS = (3, 2, 2)
WIDE = 110
BESIDES = 70
"""Columns that the rest of an error's row takes on a wide screen; a text that is longer would cost some of them."""

_HOSTS = (
    Column("host"), Column("state"), Column("cpu %", True, 2), Column("lag ms", True, 1), Column("MB", True, 4),
    Column("up", True, 6), Column("errors 5m", True, 5), Column("agents", False, 3),
)
_AGENTS = (
    Column("busiest agents"), Column("host", False, 3), Column("state", False, 6), Column("isolation", False, 8),
    Column("calls/s", True), Column("errors/s", True, 5), Column("loop ms/s", True, 1), Column("p50 ms", True, 7),
    Column("p99 ms", True, 2), Column("inbox", True, 4),
)
_OPERATIONS = (
    Column("slowest operations"), Column("host", False, 1), Column("calls", True, 2), Column("calls/s", True, 3),
    Column("p50 ms", True, 4), Column("p99 ms", True),
)
_ERRORS = (
    Column("latest errors"), Column("severity", False, 4), Column("service", False, 1), Column("host", False, 2),
    Column("count", True, 3), Column("what"),
)


def no_ink(text: str, colour: str | None) -> str:
    """Return text as it is, for what is no terminal."""
    return text


def ansi(text: str, colour: str | None) -> str:
    """Return text in a colour of a terminal."""
    code = COLOURS.get(colour or "")
    return text if code is None else f"\x1b[{code}m{text}\x1b[0m"


@dataclass(frozen=True, slots=True)
class Shown:
    """What the screen shows besides the rates: trouble with the connection, the window of the latencies in seconds."""

    mesh: str
    trouble: str | None = None
    window: float | None = None
    keys: str | None = None


def page(told: Row, shown: Shown, *, width: int | None, height: int | None, ink: Ink = no_ink) -> list[str]:
    """Return the lines of the view; at most `height` of at most `width` characters, where these are given."""
    head = [*_head(told, shown, width, ink), *_table(_HOSTS, [_host(row) for row in told["hosts"]], width, ink, {
        at: row["reason"] for at, row in enumerate(told["hosts"]) if row["reason"]})]
    parts = [_agents(told, shown), _operations(told, shown), _errors(told, width)]
    foot = [] if shown.keys is None else [ink(fitted(shown.keys, width), "dim")]
    room = None if height is None else height - len(head) - len(foot)
    for (columns, rows), most in zip(parts, _shares([len(rows) for _, rows in parts], room), strict=True):
        if most is not None and most < 1:
            continue
        head += ["", *_table(columns, rows[:most], width, ink)] if rows else []
    body = head if height is None else head[: height - len(foot)]
    return [*body, *([""] * (0 if height is None else height - len(foot) - len(body))), *foot]


def _shares(wanted: Sequence[int], room: int | None) -> list[int | None]:
    """Divide lines among the tables by weight; what one does not need the others get. Each costs two lines more."""
    if room is None:
        return list(SHOWN)
    left = room - sum(2 for count in wanted if count)
    shares = [0] * len(wanted)
    while left > 0 and any(share < count for share, count in zip(shares, wanted, strict=True)):
        hungry = [at for at, count in enumerate(wanted) if shares[at] < count]
        shares[min(hungry, key=lambda at: (shares[at] + 1) / WEIGHTS[at])] += 1
        left -= 1
    return list(shares)


def _head(told: Row, shown: Shown, width: int | None, ink: Ink) -> Iterator[str]:
    registry = told["registry"]
    lost = registry["state"] == "unreachable"
    when = time.strftime("%H:%M:%S", time.localtime(told["time"]))
    yield ink(fitted(f"mesh {shown.mesh}  {when}  through {told['via']}  registry {registry['state']}"
                     + (f": {registry['reason']}; known services stay callable" if lost else ""), width),
              "red" if lost else "bold")
    if shown.trouble is not None:
        yield ink(fitted(shown.trouble, width), "red")


def _table(
    columns: Sequence[Column], rows: Sequence[Sequence[Any]], width: int | None, ink: Ink,
    notes: Mapping[int, str] | None = None,
) -> Iterator[str]:
    return lines(columns, rows, notes or {}, limit=width, paint=lambda text: ink(text, OF_STATE.get(text.strip())),
                 dim=lambda text: ink(text, "dim"))


def _host(row: Row) -> list[Any]:
    counts = ", ".join(f"{count} {state}" for state, count in row["agents"].items() if count)
    return [row["name"], row["state"], row["cpu_percent"], row["loop_lag_ms"], row["rss_mb"],
            duration(row["uptime_s"]), row["errors_last_5m"], counts or "-"]


def _agents(told: Row, shown: Shown) -> tuple[Sequence[Column], list[list[Any]]]:
    return _AGENTS, [
        [named(row), row["host"], row["state"], row["isolation"], row["calls_per_s"], row["errors_per_s"],
         row["loop_ms_per_s"], _figure(row["p50_ms"]), _figure(row["p99_ms"]), row["inbox"]]
        for row in told["agents"]
    ]


def _operations(told: Row, shown: Shown) -> tuple[Sequence[Column], list[list[Any]]]:
    window = "so far" if shown.window is None else f"of the last {shown.window:.0f} s"
    columns = (Column(f"slowest operations {window}"), *_OPERATIONS[1:])
    return columns, [
        [f"{named(row)}.{row['operation']}", row["host"], row["calls"], row["calls_per_s"],
         _figure(row["p50_ms"]), _figure(row["p99_ms"])]
        for row in told["operations"]
    ]


def _errors(told: Row, width: int | None) -> tuple[Sequence[Column], list[list[Any]]]:
    return _ERRORS, [
        [time.strftime("%H:%M:%S", time.localtime(row["time"])), row["severity"], row["service"], row["host"],
         row["count"], fitted(row["message"], None if width is None or width < WIDE else width - BESIDES)]
        for row in told["errors"]
    ]


def _figure(value: float | None) -> str | None:
    """Return milliseconds with as many digits as matter."""
    return None if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"
