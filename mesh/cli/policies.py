"""The policies of a service in `mesh describe`: each rule with where it came from, and what each host makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mesh.cli.screen import coloured, say, state
from mesh.cli.table import folded

Row = dict[str, Any]

INDENT = 8


def print_policies(answers: Sequence[Row]) -> None:
    """Print what the hosts say of a service's policies; the rules as the first of them has them."""
    if not answers:
        return
    say(f"  {coloured('policies', 'bold')}")
    for row in answers[0]["rules"]:
        say(folded(f"    {_rule(row)}", indent=INDENT))
    for answer in answers:
        for text in _now(answer):
            say(folded(f"    {text}", indent=INDENT))


def _rule(row: Row) -> str:
    name = row["policy"] if row["operation"] is None else f"{row['policy']} of {row['operation']}"
    if not row["on"]:
        return f"{name}: off  ({row['origin']})"
    origins = {one["origin"] for one in row["values"]}
    if len(origins) == 1:
        return f"{name}: {', '.join(map(_value, row['values']))}  ({origins.pop()})"
    return f"{name}: " + ", ".join(f"{_value(one)} ({one['origin']})" if one["origin"] != "default" else _value(one)
                                   for one in row["values"])


def _value(one: Row) -> str:
    value = one["value"]
    told = f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)
    return f"{one['key']} {told}" if one["key"] else told


def _now(answer: Row) -> Iterator[str]:
    """Yield what the callers of one host meet: breakers that are not closed, retries if there were any, kept answers.
    """
    host, budget = answer["host"], answer["budget"]
    for one in answer["breakers"]:
        if one["state"] != "closed":
            yield f"from {host}: {breaker_words(one)}"
    if budget is not None and (budget["retries"] or budget["refused"]):
        yield (f"from {host}: {budget['retries']} retries in {budget['calls']} calls, {budget['refused']} more refused "
               f"by the budget, {budget['left']:g} left")
    for one in answer.get("cache", ()):
        yield f"on {host}: {cache_words(one)}"
    yield from (f"from {host}: {told}" for told in _held_back(answer))
    for one in answer["here"]:
        yield from (f"{one['name']} on {host}: {told}" for told in _let_in(one))


def cache_words(row: Row) -> str:
    """Return what a row of kept answers says, for people."""
    spared = row["hits"] + row["stale"] + row["shared"] + row["coalesced"]
    stale = f", {row['stale_s']:g} s more while a new one is fetched" if row["stale_s"] else ""
    ends = [*row["tags"], *row["depends_on"], *row["topics"]]
    return (f"answers of {row['operation']} are kept for {row['ttl_s']:g} s{stale}"
            + (f" or until {', '.join(ends)}" if ends else "")
            + f": {row['entries']} in {row['bytes'] / 1024:.0f} KiB; {spared} of {spared + row['misses']} calls spared")


def _held_back(answer: Row) -> Iterator[str]:
    """Yield what became of calls that were not sent, or that something else answered."""
    bulkhead, pause, fallback = answer["bulkhead"], answer["pause"], answer["fallback"]
    if bulkhead["refused"]:
        yield f"{bulkhead['outstanding']} calls outstanding, {bulkhead['refused']} refused by the bulkhead"
    if pause["refused"]:
        yield (f"{pause['refused']} calls held back because it had said when to come again, {pause['held']} callers "
               "just now")
    if fallback["answered"] or fallback["failed"]:
        yield (f"{fallback['answered']} calls answered by the fallback, {fallback['failed']} whose fallback failed as "
               "well")


def _let_in(here: Row) -> Iterator[str]:
    """Yield what the callee's host makes of calls that come."""
    inbox = here["inbox"]
    if inbox["waiting"] or inbox["full"] or inbox["refused"]:
        yield (f"{inbox['running']} calls run, {inbox['waiting']} wait; refused: {inbox['full']} for want of a place, "
               f"{inbox['refused']} that would have waited too long")
    for operation, row in here["rate"].items():
        yield (f"rate of {operation}: {row['refused']} calls refused, {row['callers']} callers have used some of their "
               "share")


def breaker_words(row: Row) -> str:
    """Return what a breaker's row says, for people."""
    place = row["host"] if row["number"] == 1 else f"{row['host']}#{row['number']}"
    operation = f" of {row['operation']}" if row["operation"] else ""
    after = f", a call may try in {row['retry_after_s']:.1f} s" if row["retry_after_s"] else ""
    last = f"; the last failure: {row['last_error']}" if row["last_error"] else ""
    return f"breaker{operation} to {place} is {state(row['state'].replace('_', '-'))} ({row['reason']}{last}){after}"
