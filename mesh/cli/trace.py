"""`mesh trace`: one request across the hosts as a waterfall, or the latest traces in a list."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from mesh.cli import hosts
from mesh.cli.hosts import names
from mesh.cli.operator import Operator, connected
from mesh.cli.scope import Scope
from mesh.cli.screen import coloured, document, moment, note, say
from mesh.cli.spans import spans_of
from mesh.cli.table import Column, fitted, table, width
from mesh.cli.waterfall import Step, Waterfall, drawn, waterfall
from mesh.errors import WIRE_ERRORS, MeshError, ProtocolError, UsageError
from mesh.tracing import Trace

SHORT = 12
SHORTEST = 4
PATIENCE = 2.0
BAR = 40
NARROW = 12

Row = dict[str, Any]


def trace(scope: Scope, wanted: str) -> None:
    """Print the trace whose id begins with `wanted`, that of an error's id, or the one in a `traceparent`."""
    fall, missing = asyncio.run(fetched(scope, wanted))
    for host, reason in missing.items():
        note(f"the spans of {host} are not shown: {reason}")
    if scope.json:
        document(_plain(fall, missing))
    else:
        _print(fall)


async def fetched(scope: Scope, wanted: str) -> tuple[Waterfall, dict[str, str]]:
    async with connected(scope) as operator:
        directory = await operator.directory()
        everyone = names(operator.config, directory)
        trace_id = await _id_of(operator, wanted, everyone)
        answers = await spans_of(operator, trace_id, everyone)
    rows = [row for answer in answers.values() if isinstance(answer, list) for row in answer]
    found = list(dict.fromkeys(row["trace_id"] for row in rows))
    if not found:
        raise MeshError(f"no host keeps a span of the trace {trace_id}: it was not sampled and nothing in it failed, "
                        "or it is too long ago; `mesh trace` lists the latest, `mesh call --trace` makes one")
    if len(found) > 1:
        raise UsageError(f"{trace_id} is the beginning of {len(found)} traces, write more of it: "
                         + ", ".join(each[:SHORT] for each in found[:5]))
    return waterfall(found[0], rows), hosts.away(directory, answers)


async def _id_of(operator: Operator, wanted: str, everyone: list[str]) -> str:
    """Return the trace id, or its beginning, that the words of the command mean."""
    host, dash, number = wanted.rpartition("-")
    if dash and number.isdigit() and host in everyone:
        record = await operator.ask("supervisor.error", {"id": wanted}, host=host)
        if record is None or not record["trace_id"]:
            raise MeshError(f"{host} keeps no error {wanted} with a trace; `mesh errors` lists what it keeps")
        return str(record["trace_id"])
    if dash:
        try:
            return Trace.from_traceparent(wanted).trace_id.hex()
        except ProtocolError as error:
            raise UsageError(error.message) from None
    if len(wanted) < SHORTEST or not set(wanted.lower()) <= set("0123456789abcdef"):
        raise UsageError(f"{wanted!r} is no trace id; it is 32 hexadecimal digits, of which the first {SHORTEST} "
                         "suffice; `mesh trace` lists the latest")
    return wanted.lower()


# --- one trace --------------------------------------------------------------------------------------------------------


def _print(fall: Waterfall) -> None:
    say(f"trace {fall.trace_id}  {moment(fall.started)}  {_ms(fall.duration)}")
    labels = ["  " * step.depth + _name(step) for step in fall.steps]
    places = [step.host or "?" for step in fall.steps]
    times = [_ms(step.duration) for step in fall.steps]
    sizes = [max(len(text) for text in column) for column in (labels, places, times)]
    limit = width()
    room = BAR if limit is None else max(NARROW, min(BAR, limit - sum(sizes) - 3 * 2))
    if limit is not None:
        sizes[0] = max(NARROW, min(sizes[0], limit - sum(sizes[1:]) - room - 3 * 2))
    for step, label, place, time in zip(fall.steps, labels, places, times, strict=True):
        bar = coloured(drawn(step, fall, room), "red" if step.error else None)
        say(f"{fitted(label, sizes[0]):<{sizes[0]}}  {place:<{sizes[1]}}  {time:>{sizes[2]}}  {bar}".rstrip())
        for remark in _remarks(step):
            say(coloured("  " * (step.depth + 1) + remark, "red" if step.error else "dim"))
    for host, ahead in fall.skew.items():
        say(coloured(f"the clock of {host} is about {_ms(abs(ahead))} {'ahead' if ahead > 0 else 'behind'}: its spans "
                     "were moved into those of their callers", "dim"))


def _name(step: Step) -> str:
    name = f"{step.service}.{step.operation}" if step.service != "?" else "?"
    return name if step.kind in ("answer", "call") else f"{name} ({step.kind})"


def _remarks(step: Step) -> Iterable[str]:
    if step.error is not None:
        meaning = WIRE_ERRORS.get(step.error)
        told = (meaning.__doc__ or "").strip().partition("\n")[0] if meaning else "raised by the agent's code"
        yield f"{step.error}: {told}"
    if step.hole is not None:
        yield step.hole
    if step.attempts > 1:
        yield f"{step.attempts} attempts"
    if step.fallback:
        yield f"it failed; its fallback answered: {step.fallback}"
    if step.waited > 0.0:
        yield f"waited {_ms(step.waited)} for its turn"


def _ms(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def _plain(fall: Waterfall, missing: Mapping[str, str]) -> Row:
    def after(moment: float | None) -> float | None:
        return None if moment is None else round((moment - fall.started) * 1000, 3)

    def ms(seconds: float | None) -> float | None:
        return None if seconds is None else round(seconds * 1000, 3)

    return {
        "trace_id": fall.trace_id, "started": fall.started, "duration_ms": ms(fall.duration),
        "hosts": list(dict.fromkeys(step.host for step in fall.steps if step.host)), "missing": dict(missing),
        "skew_ms": {host: ms(ahead) for host, ahead in fall.skew.items()},
        "spans": [{
            "span_id": step.span_id, "parent_id": step.parent_id, "depth": step.depth, "service": step.service,
            "operation": step.operation, "host": step.host, "kind": step.kind, "start_ms": after(step.started),
            "duration_ms": ms(step.duration), "work_start_ms": after(step.work_started), "work_ms": ms(step.work),
            "waited_ms": ms(step.waited), "attempts": step.attempts,
            "fallback": step.fallback or None, "error": step.error, "hole": step.hole,
        } for step in fall.steps],
    }


# --- the latest traces ------------------------------------------------------------------------------------------------


def latest(scope: Scope, *, failed: bool, slowest: bool, limit: int) -> None:
    """Print the traces the hosts keep: the latest, or the slowest of them, or those in which something failed."""
    found, missing = asyncio.run(_listed(scope, failed, limit if not slowest else 1_000))
    if slowest:
        found.sort(key=lambda row: -row["duration_ms"])
    for host, reason in missing.items():
        note(f"the traces of {host} are not shown: {reason}")
    if scope.json:
        document(found[:limit])
    else:
        _print_list(found[:limit], failed)


async def _listed(scope: Scope, failed: bool, limit: int) -> tuple[list[Row], dict[str, str]]:
    async with connected(scope) as operator:
        directory = await operator.directory()
        answers = await operator.ask_each("supervisor.traces", names(operator.config, directory),
                                          {"limit": limit, "failed": failed}, limit=PATIENCE)
    traces: dict[str, list[Row]] = {}
    for answer in answers.values():
        for row in answer if isinstance(answer, list) else ():
            traces.setdefault(row["trace_id"], []).append(row)
    found = [_merged(rows) for rows in traces.values()]
    return sorted(found, key=lambda row: -row["started"]), hosts.away(directory, answers)


def _merged(rows: list[Row]) -> Row:
    """Return one row of what several hosts tell of a trace; the first of them is who knows its root."""
    first = min(rows, key=lambda row: (any(character != "0" for character in row["parent_id"]), row["started"]))
    return {
        "trace_id": first["trace_id"], "started": first["started"],
        "duration_ms": round(max(row["duration"] for row in rows) * 1000, 3), "service": first["service"],
        "operation": first["operation"], "caller": first["caller"], "hosts": sorted({row["host"] for row in rows}),
        "spans": sum(row["spans"] for row in rows),
        "error": first["error"] or next((row["error"] for row in rows if row["error"]), None),
    }


def _print_list(found: list[Row], failed: bool) -> None:
    if not found:
        say("no trace with an error is kept" if failed else
            "no traces are kept yet: `tracing: sample:` of config/hosts.yaml says which share of calls leaves one, "
            "`mesh call --trace` makes one")
        return
    columns = [Column("trace"), Column("began"), Column("ms", True), Column("spans", True, 3), Column("begins with"),
               Column("hosts", False, 4), Column("caller", False, 5), Column("error")]
    table(columns, [[row["trace_id"][:SHORT], moment(row["started"]), row["duration_ms"], row["spans"],
                     f"{row['service']}.{row['operation']}", ", ".join(row["hosts"]), row["caller"] or None,
                     row["error"]] for row in found])
    say(f"mesh trace {found[0]['trace_id'][:SHORT]} shows the first")
