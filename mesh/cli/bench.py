"""`mesh bench`: calls per second of this mesh and how long one takes, against pyzmq alone on this machine."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from mesh.cli import baseline
from mesh.cli.hosts import checked
from mesh.cli.operator import Operator, connected
from mesh.cli.scope import Scope
from mesh.cli.screen import document, note, say
from mesh.cli.table import Column, folded, table
from mesh.errors import MeshError

ROUNDS = 3
OUTSTANDING = 64
SHARE_ALONE = 0.4
LENT = 60.0
RAW_CALLS = 60_000
RAW_ALONE = 5_000
"""Calls of the baseline per second of its part, as many as a slow machine makes."""
MARGIN = 10.0

Row = dict[str, Any]


def bench(scope: Scope, origin: str | None, to: str | None, seconds: float) -> None:
    """Measure for about so many seconds, and print."""
    found = asyncio.run(_measured(scope, origin, to, seconds))
    if scope.json:
        document(found)
    else:
        _print(found)


async def _measured(scope: Scope, origin: str | None, to: str | None, seconds: float) -> Row:
    """Return the document of `mesh bench --json`."""
    async with connected(scope) as operator:
        directory = await operator.directory()
        running = [row["name"] for row in directory["hosts"] if row["state"] in ("ok", "busy")]
        here = checked(origin, running) if origin else operator.host
        there = checked(to, running) if to else next((name for name in running if name != here), None)
        status = await operator.ask("supervisor.status", host=here)
        ways = list(dict.fromkeys([(here, here), *([(here, there)] if there else [])]))
        note(f"for about {seconds:g} s {' and '.join(dict.fromkeys(host for way in ways for host in way))} "
             "will be busy with calls")
        rounds: dict[tuple[str, str] | None, list[Row]] = {None: [], **{way: [] for way in ways}}
        part = seconds / ROUNDS / (len(ways) + 1)
        async with _lent(operator, [callee for _, callee in ways]):
            with baseline.running() as raw:
                for _ in range(ROUNDS):
                    rounds[None].append(await asyncio.to_thread(_raw, raw, part))
                    for way in ways:
                        rounds[way].append(await _called(operator, way, part))
    base = _median(rounds[None])
    return {"security": status["security"], "outstanding": OUTSTANDING, "raw": base, "rows": [
        {"from": way[0], "to": way[1], **(told := _median(rounds[way])),
         "share_of_raw": told["calls_per_s"] / base["calls_per_s"],
         "times_raw": told["alone_p50_ms"] / base["alone_p50_ms"]} for way in ways
    ]}


@asynccontextmanager
async def _lent(operator: Operator, hosts: list[str]) -> AsyncIterator[None]:
    """Have an agent that echoes on each host, for as long as the block lasts."""
    begun: list[str] = []
    try:
        for host in hosts:
            await operator.ask("supervisor.bench_begin", {"seconds": LENT}, host=host, limit=MARGIN)
            begun.append(host)
        yield
    finally:
        for host, answer in (await operator.ask_each("supervisor.bench_end", begun, limit=MARGIN)).items():
            if isinstance(answer, MeshError):
                note(f"{host} keeps the agent that was measured for {LENT:g} s: {answer.message}")


async def _called(operator: Operator, way: tuple[str, str], seconds: float) -> Row:
    """Return the figures of calls from one host to another: many at a time, then one."""
    origin, to = way

    async def told(outstanding: int, seconds: float) -> Row:
        answer: Row = await operator.ask(
            "supervisor.bench", {"to": to, "outstanding": outstanding, "seconds": seconds}, host=origin,
            limit=seconds + MARGIN)
        return answer

    many = await told(OUTSTANDING, seconds * (1 - SHARE_ALONE))
    alone = await told(1, seconds * SHARE_ALONE)
    return {"calls_per_s": many["calls_per_s"], "p50_ms": many["p50_ms"], "p99_ms": many["p99_ms"],
            "alone_p50_ms": alone["p50_ms"], "alone_p99_ms": alone["p99_ms"]}


def _raw(raw: baseline.Raw, seconds: float) -> Row:
    rate = raw.calls_per_second(max(OUTSTANDING, int(RAW_CALLS * seconds)), OUTSTANDING)
    alone = raw.latencies(max(100, int(RAW_ALONE * seconds)))
    return {"calls_per_s": rate, "alone_p50_ms": alone[len(alone) // 2] * 1e3,
            "alone_p99_ms": alone[len(alone) * 99 // 100] * 1e3}


def _median(rounds: list[Row]) -> Row:
    return {key: round(statistics.median(one[key] for one in rounds), 4) for key in rounds[0]}


def _print(found: Row) -> None:
    columns = [Column("calls"), Column("calls/s", True), Column("of raw", True), Column("p50 ms", True, 2),
               Column("p99 ms", True, 1), Column("alone p50 ms", True), Column("x raw", True),
               Column("alone p99 ms", True, 3)]
    table(columns, list(_rows(found)))
    say(folded(f"{found['outstanding']} calls under way at a time, then alone; raw is pyzmq without a "
               "mesh, between two processes of this machine", indent=2))


def _rows(found: Row) -> Iterator[list[Any]]:
    raw = found["raw"]
    yield ["raw", f"{raw['calls_per_s']:,.0f}", "1.00", "", "", f"{raw['alone_p50_ms']:.3f}", "1.00",
           f"{raw['alone_p99_ms']:.3f}"]
    for row in found["rows"]:
        what = f"inside {row['from']}" if row["from"] == row["to"] else f"{row['from']} to {row['to']}"
        yield [what, f"{row['calls_per_s']:,.0f}", f"{row['share_of_raw']:.2f}", f"{row['p50_ms']:.2f}",
               f"{row['p99_ms']:.2f}", f"{row['alone_p50_ms']:.3f}", f"{row['times_raw']:.2f}",
               f"{row['alone_p99_ms']:.3f}"]
