"""What a mesh does per second: the difference of two readings of what its hosts have counted.

A host that was started anew between them counts from nothing, so it has no rates yet. Latencies are those of the time
between the readings, which may lie further apart than the two that the rates are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.cli.instance import ordered
from mesh.metrics import Latency

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found at one moment: `hosts` holds the answer of each that gave one, `away` why another did not.

    `registry` is its row as the connected host `via` sees it.
    """

    time: float
    via: str
    registry: Row
    states: Mapping[str, str]
    hosts: Mapping[str, Row]
    away: Mapping[str, str]


def rates(since: Reading | None, before: Reading | None, now: Reading) -> Row:
    """Return the document of `mesh top --json`.

    Rates are those from `before` to `now`, latencies those of the calls answered from `since` to `now`; without an
    earlier reading there are no rates, and latencies are those of all calls so far.
    """
    agents: list[Row] = []
    operations: list[Row] = []
    for host, answer in now.hosts.items():
        early, last = _same(since, host, answer), _same(before, host, answer)
        for row in answer["agents"]:
            agents.append(_agent(host, row, _find(early, row), _find(last, row), _seconds(last, answer)))
            operations += _operations(host, row, _find(early, row), _find(last, row), _seconds(last, answer))
    return {
        "time": now.time, "via": now.via, "registry": now.registry,
        "hosts": [*(_host(host, answer, _same(before, host, answer), now) for host, answer in now.hosts.items()),
                  *(_absent(host, reason, now) for host, reason in now.away.items())],
        "agents": sorted(agents, key=lambda row: (-(row["loop_ms_per_s"] or 0), -(row["calls_per_s"] or 0),
                                                  -row["inbox"], -row["calls"], ordered(row))),
        "operations": sorted(operations, key=lambda row: (-row["p99_ms"], row["service"], row["operation"])),
        "errors": _errors(now),
    }


def _same(reading: Reading | None, host: str, answer: Row) -> Row | None:
    """Return what a host said in an earlier reading, if it is the same process."""
    earlier = None if reading is None else reading.hosts.get(host)
    return earlier if earlier and earlier["host"]["incarnation"] == answer["host"]["incarnation"] else None


def _find(answer: Row | None, row: Row) -> Row | None:
    agents = answer["agents"] if answer else ()
    return next((each for each in agents if ordered(each) == ordered(row)), None)


def _seconds(before: Row | None, now: Row) -> float | None:
    return now["at"] - before["at"] if before is not None and now["at"] > before["at"] else None


def _host(name: str, answer: Row, before: Row | None, now: Reading) -> Row:
    row, seconds = answer["host"], _seconds(before, answer)
    seen = now.states.get(name)
    return {
        "name": name, "state": seen if row["state"] == "ok" and seen in ("busy", "stuck", "suspect") else row["state"],
        "cpu_percent": _rate(lambda told: told["cpu_s"], before, answer, seconds, 100),
        "loop_lag_ms": row["loop_lag_ms"], "rss_mb": row["rss_mb"], "uptime_s": row["uptime_s"],
        "agents": row["agents"], "required_down": row["required_down"], "errors_last_5m": row["errors_last_5m"],
        "reason": None,
    }


def _absent(name: str, reason: str, now: Reading) -> Row:
    state = now.states.get(name, "absent")
    return {
        "name": name, "state": "unreachable" if state == "ok" else state, "cpu_percent": None, "loop_lag_ms": None,
        "rss_mb": None, "uptime_s": None, "agents": {}, "required_down": [], "errors_last_5m": 0, "reason": reason,
    }


def _agent(host: str, row: Row, early: Row | None, last: Row | None, seconds: float | None) -> Row:
    latency = Latency.merged(_latency(one, _operation(early, one)) for one in row["operations"])
    return {
        "service": row["service"], "host": host, "instance": row.get("instance", 1), "state": row["state"],
        "isolation": row["isolation"],
        "calls": _calls(row), "calls_per_s": _rate(_calls, last, row, seconds),
        "errors_per_s": _rate(_failed, last, row, seconds),
        "loop_ms_per_s": _rate(lambda told: told["loop_s"], last, row, seconds, 1000),
        "inbox": row["inbox"], "p50_ms": _ms(latency.quantile(0.5)), "p99_ms": _ms(latency.quantile(0.99)),
        "reason": row["reason"],
    }


def _operations(
    host: str, row: Row, early: Row | None, last: Row | None, seconds: float | None
) -> Iterator[Row]:
    for one in row["operations"]:
        latency = _latency(one, _operation(early, one))
        before = None if last is None else _operation(last, one) or {"buckets": []}  # its first call came meanwhile
        if latency.count:
            yield {
                "service": row["service"], "operation": one["operation"], "host": host,
                "instance": row.get("instance", 1), "calls": latency.count,
                "calls_per_s": _rate(_count, before, one, seconds),
                "p50_ms": _ms(latency.quantile(0.5)), "p99_ms": _ms(latency.quantile(0.99)),
            }


def _operation(row: Row | None, wanted: Row) -> Row | None:
    return next((one for one in row["operations"] if one["operation"] == wanted["operation"]), None) if row else None


def _latency(now: Row, before: Row | None) -> Latency:
    """Return the durations counted between two readings of one operation."""
    latency = Latency()
    for at, count in now["buckets"]:
        latency.counts[at] += count
    for at, count in before["buckets"] if before else ():
        latency.counts[at] -= count
    latency.sum = now["seconds"] - (before["seconds"] if before else 0.0)
    return latency


def _count(operation: Row) -> int:
    return sum(count for _, count in operation["buckets"])


def _calls(row: Row) -> int:
    return sum(_count(one) for one in row["operations"])


def _failed(row: Row) -> int:
    return sum(one["errors"] for one in row["operations"])


def _rate(
    figure: Callable[[Row], float], before: Row | None, now: Row, seconds: float | None, factor: float = 1.0
) -> float | None:
    if before is None or seconds is None:
        return None
    return round(max(0.0, (figure(now) - figure(before)) / seconds * factor), 2)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _errors(now: Reading) -> list[Row]:
    """Return the latest errors of all hosts, each once with how often it occurs among them, the latest first."""
    found: dict[tuple[str, str], Row] = {}
    records = [record for answer in now.hosts.values() for record in answer["errors"]]
    for record in sorted(records, key=lambda record: -record["time"]):
        row = found.setdefault((record["host"], record["fingerprint"]), {**record, "count": 0})
        row["count"] += 1
    return list(found.values())
