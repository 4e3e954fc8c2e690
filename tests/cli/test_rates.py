"""Rates are differences of two readings; who was started anew between them has none."""

from __future__ import annotations

from typing import Any

from mesh.cli.rates import Reading, Row, rates
from mesh.metrics import Latency


def operation(name: str, *milliseconds: float, errors: int = 0) -> Row:
    latency = Latency()
    for each in milliseconds:
        latency.observe(each / 1000)
    return {"operation": name, "errors": errors, "seconds": latency.sum,
            "buckets": [[at, count] for at, count in enumerate(latency.counts) if count]}


def agent(service: str, *operations: Row, loop_s: float = 0.0, inbox: int = 0) -> Row:
    return {"service": service, "state": "ready", "reason": None, "isolation": "coroutine", "inbox": inbox,
            "loop_s": loop_s, "operations": list(operations)}


def error(fingerprint: str, seconds: float, host: str = "mainpc") -> Row:
    return {"host": host, "fingerprint": fingerprint, "time": seconds, "severity": "error", "service": "lamp",
            "message": f"at {seconds}"}


def answer(at: float, *agents: Row, incarnation: int = 1, cpu_s: float = 0.0, state: str = "ok",
           errors: tuple[Row, ...] = ()) -> Row:
    row = {"name": "mainpc", "state": state, "incarnation": incarnation, "loop_lag_ms": 0.5, "rss_mb": 50.0,
           "uptime_s": 9.0, "agents": {"ready": len(agents)}, "required_down": [], "errors_last_5m": 0}
    return {"at": at, "cpu_s": cpu_s, "host": row, "agents": list(agents), "errors": list(errors)}


def reading(states: dict[str, str] | None = None, away: dict[str, str] | None = None, **hosts: Row) -> Reading:
    return Reading(1000.0, "mainpc", {"state": "ok", "reason": ""}, states or dict.fromkeys(hosts, "ok"), hosts,
                   away or {})


def row(rows: list[dict[str, Any]], name: str, key: str = "service") -> dict[str, Any]:
    return next(each for each in rows if each[key] == name)


def test_a_rate_is_the_difference_by_the_clock_of_the_host() -> None:
    before = reading(mainpc=answer(10.0, agent("lamp", operation("shine", 1, 1), loop_s=1.0), cpu_s=5.0))
    now = reading(mainpc=answer(12.0, agent("lamp", operation("shine", 1, 1, 1, 1, 1, 1, errors=1), loop_s=1.5),
                                cpu_s=5.5))
    told = rates(before, before, now)
    lamp = row(told["agents"], "lamp")
    assert (lamp["calls"], lamp["calls_per_s"], lamp["errors_per_s"], lamp["loop_ms_per_s"]) == (6, 2.0, 0.5, 250.0)
    assert row(told["hosts"], "mainpc", "name")["cpu_percent"] == 25.0
    assert row(told["operations"], "shine", "operation")["calls_per_s"] == 2.0


def test_latencies_are_those_of_the_calls_between_two_readings() -> None:
    early = reading(mainpc=answer(0.0, agent("lamp", operation("shine", *[100] * 10))))
    before = reading(mainpc=answer(9.0, agent("lamp", operation("shine", *[100] * 10, 1))))
    now = reading(mainpc=answer(10.0, agent("lamp", operation("shine", *[100] * 10, 1, 2))))
    told = rates(early, before, now)
    shine = row(told["operations"], "shine", "operation")
    assert shine["calls"] == 2 and 0.9 < shine["p50_ms"] < 1.1 and 1.9 < shine["p99_ms"] < 2.1
    everything = row(rates(None, before, now)["operations"], "shine", "operation")
    assert everything["calls"] == 12 and 95 < everything["p99_ms"] < 105


def test_without_an_earlier_reading_there_are_counts_but_no_rates() -> None:
    told = rates(None, None, reading(mainpc=answer(1.0, agent("lamp", operation("shine", 1)))))
    lamp = row(told["agents"], "lamp")
    assert (lamp["calls"], lamp["calls_per_s"], lamp["loop_ms_per_s"]) == (1, None, None)


def test_a_host_that_was_started_anew_begins_from_nothing() -> None:
    before = reading(mainpc=answer(100.0, agent("lamp", operation("shine", 1, 1, 1)), cpu_s=50.0))
    now = reading(mainpc=answer(1.0, agent("lamp", operation("shine", 1)), incarnation=2, cpu_s=0.5))
    told = rates(before, before, now)
    assert row(told["agents"], "lamp")["calls_per_s"] is None
    assert row(told["operations"], "shine", "operation")["calls"] == 1
    assert row(told["hosts"], "mainpc", "name")["cpu_percent"] is None


def test_an_operation_that_was_never_called_before_counts_from_nothing() -> None:
    before = reading(mainpc=answer(1.0, agent("lamp")))
    told = rates(before, before, reading(mainpc=answer(2.0, agent("lamp", operation("shine", 1, 1)))))
    assert row(told["operations"], "shine", "operation")["calls_per_s"] == 2.0


def test_the_busiest_agent_and_the_slowest_operation_come_first() -> None:
    before = reading(mainpc=answer(0.0, agent("idle"), agent("called"), agent("busy")))
    now = reading(mainpc=answer(1.0, agent("idle"), agent("called", operation("quick", 1)),
                                agent("busy", operation("slow", 50), loop_s=0.5)))
    told = rates(before, before, now)
    assert [each["service"] for each in told["agents"]] == ["busy", "called", "idle"]
    assert [each["operation"] for each in told["operations"]] == ["slow", "quick"]


def test_hosts_that_are_away_are_told_with_the_reason() -> None:
    told = rates(None, None, reading({"mainpc": "busy", "pc2": "dead", "pc3": "ok"},
                                     {"pc2": "it is dead", "pc3": "no answer", "pc4": "it is not running"},
                                     mainpc=answer(1.0)))
    assert [(each["name"], each["state"], each["reason"]) for each in told["hosts"]] == [
        ("mainpc", "busy", None), ("pc2", "dead", "it is dead"), ("pc3", "unreachable", "no answer"),
        ("pc4", "absent", "it is not running")]


def test_errors_are_shown_once_with_a_count_the_latest_first() -> None:
    now = reading(mainpc=answer(1.0, errors=(error("a", 1.0), error("b", 2.0), error("a", 3.0))),
                  pc2=answer(1.0, errors=(error("a", 2.5, "pc2"),)))
    assert [(each["host"], each["message"], each["count"]) for each in rates(None, None, now)["errors"]] == [
        ("mainpc", "at 3.0", 2), ("pc2", "at 2.5", 1), ("mainpc", "at 2.0", 1)]
