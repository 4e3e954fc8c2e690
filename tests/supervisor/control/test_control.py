"""What operators may ask of a host, and how it answers what it cannot do."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mesh import InvalidArgument, MeshError, RemoteFailure, UnknownOperation
from mesh.errors import StoreError
from mesh.logs import log_file
from mesh.message import Request, encode
from mesh.supervisor.control.control import Control
from mesh.tracing import Trace
from tests.supervisor.plain import Failing, Plain, becomes, fresh
from tests.supervisor.ruled import RuledHost, ruled_host


class Desk:
    """A control plane and an operator who asks it."""

    def __init__(self, host: RuledHost) -> None:
        self.host = host
        self.mesh = host.mesh
        self.control = Control(host)

    async def ask(self, operation: str, **arguments: Any) -> Any:
        return await self.send(operation, encode(arguments))

    async def send(self, operation: str, body: bytes) -> Any:
        deadline = self.mesh.clock.monotonic() + 30
        request = Request("supervisor", operation, body, deadline, Trace.new(), "operator", via="operator")
        reply = await self.control.handle(request)
        assert reply.host == "mainpc"
        return reply.value()


def run(folder: Path, scenario: Callable[[Desk], Awaitable[None]]) -> None:
    async def scene() -> None:
        async with ruled_host(folder) as host:
            await scenario(Desk(host))

    asyncio.run(scene())


async def refused(desk: Desk, kind: type[MeshError], operation: str, **arguments: Any) -> MeshError:
    with pytest.raises(kind) as caught:
        await desk.ask(operation, **arguments)
    return caught.value


# -- looking


def test_what_a_host_shows_of_itself_is_what_it_answers(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.mesh.add("plain", Plain)
        desk.host.announces("plain")
        assert (await desk.ask("status"))["agents"]["ready"] == 1
        assert [row["service"] for row in await desk.ask("agents")] == ["plain"]
        assert await desk.ask("directory") == desk.host.table()
        described = await desk.ask("describe", service="plain")
        assert described["purpose"] == "Answers." and described["class"] == "plain.py:Plain"

    run(tmp_path, scenario)


def test_a_service_is_explained_whether_it_runs_here_or_not(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.mesh.add("plain", Plain)
        desk.host.announces("plain")
        told = await desk.ask("explain", service="plain")
        assert (told["goes_to"], told["refusal"], told["known"]) == ("mainpc", None, True)
        assert [step["state"] for step in told["cell"]["history"]] == ["starting", "ready"]
        assert (told["cell"]["failures"], told["cell"]["waits_for"]) == (0, [])
        assert [row["state"] for row in told["instances"]] == ["ready"]
        await desk.ask("agent_stop", service="plain")
        desk.host.announces("plain")
        told = await desk.ask("explain", service="plain")
        assert told["goes_to"] is None and "stopped" in told["refusal"]
        assert [step["state"] for step in told["cell"]["history"]][-2:] == ["draining", "stopped"]
        stranger = await desk.ask("explain", service="plian")
        assert (stranger["known"], stranger["cell"], stranger["nearest"]) == (False, None, "plain")

    run(tmp_path, scenario)


def test_what_the_doctor_asks_is_answered(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        assert await desk.ask("clock") == {"time": desk.mesh.clock.time()}
        assert await desk.ask("machine") == {"host": "mainpc"}
        assert await desk.ask("reach") == [{"host": "pc2", "from": "mainpc"}]

    run(tmp_path, scenario)


# -- agents


def test_an_operator_starts_an_agent_out_of_quarantine_and_hears_the_outcome(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        cell = await desk.mesh.add("plain", fresh(Failing, failed=0), settings={"times": 3})
        for _ in range(2):
            await desk.mesh.clock.advance(1)
            await becomes(cell, "backoff", "quarantined")
        assert cell.state == "quarantined"
        outcome = await desk.ask("agent_start", service="plain")
        assert outcome == {"service": "plain", "host": "mainpc", "state": "ready", "reason": "", "warning": None,
                           "instances": [{"instance": 1, "state": "ready", "reason": "", "pid": os.getpid()}]}
        assert desk.host.wishes.noted == [("plain", "running")]
        assert (await desk.ask("agent_start", service="plain"))["state"] == "ready", "twice is no harm"

    run(tmp_path, scenario)


def test_a_start_that_fails_is_told_with_its_reason(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        cell = await desk.mesh.add("plain", fresh(Failing, failed=0))
        await cell.stop("stopped by an operator")
        outcome = await desk.ask("agent_start", service="plain")
        assert outcome["state"] == "backoff" and "no licence file" in outcome["reason"]

    run(tmp_path, scenario)


def test_an_operator_moves_an_agent_and_hears_where_it_is(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        cell = await desk.mesh.add("plain", Plain)
        outcome = await asyncio.wait_for(desk.ask("agent_isolate", service="plain", isolation="thread"), 60)
        del outcome["instances"]
        assert outcome == {"service": "plain", "host": "mainpc", "state": "ready", "reason": "", "warning": None,
                           "isolation": "thread", "pid": os.getpid()}
        row = desk.host.row("plain")
        assert (row["isolation"], row["isolation_origin"], row["memory_mb"]) == ("thread", "by an operator", None)
        outcome = await asyncio.wait_for(desk.ask("agent_isolate", service="plain", isolation="config"), 60)
        assert outcome["isolation"] == cell.isolation == "coroutine"
        assert desk.host.wishes.noted == [("plain", "thread"), ("plain", "config")]

    run(tmp_path, scenario)


def test_a_place_that_there_is_not_is_refused_with_the_nearest(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.mesh.add("plain", Plain)
        error = await refused(desk, InvalidArgument, "agent_isolate", service="plain", isolation="proces")
        assert "isolation is 'proces', did you mean process?" in error.message and error.details["path"] == "isolation"
        assert desk.host.wishes.noted == []

    run(tmp_path, scenario)


def test_an_operator_stops_an_agent_and_hears_what_could_not_be_remembered(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        cell = await desk.mesh.add("plain", Plain)
        desk.host.wishes.warning = "not remembered: the registry is away"
        outcome = await desk.ask("agent_stop", service="plain")
        del outcome["instances"]
        assert outcome == {"service": "plain", "host": "mainpc", "state": "stopped", "reason": "stopped by an operator",
                           "warning": "not remembered: the registry is away"}
        assert cell.state == "stopped" and desk.host.wishes.noted == [("plain", "stopped")]

    run(tmp_path, scenario)


def test_an_operator_restarts_an_agent(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        cell = await desk.mesh.add("plain", Plain)
        before = cell.incarnation
        outcome = await desk.ask("agent_restart", service="plain")
        assert outcome["state"] == "ready" and cell.incarnation > before
        assert desk.host.wishes.noted == [("plain", "running")]

    run(tmp_path, scenario)


@pytest.mark.parametrize("operation", ["describe", "agent_start", "agent_stop", "agent_restart"])
def test_an_agent_that_is_not_there_is_named_with_the_nearest(tmp_path: Path, operation: str) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.mesh.add("plain", Plain)
        error = await refused(desk, InvalidArgument, operation, service="plane")
        assert error.message == "mainpc has no agent plane; did you mean plain?" and error.details["path"] == "service"
        error = await refused(desk, InvalidArgument, operation, service="zzz")
        assert error.message == "mainpc has no agent zzz"

    run(tmp_path, scenario)


# -- errors


def test_errors_are_grouped_chosen_and_shown_one_by_one(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        report = desk.host.report
        for _ in range(3):
            report(ValueError("three"), severity="error", service="plain")
            await desk.mesh.clock.advance(1)
        noticed = report("noticed", severity="info", service="plain")
        await desk.mesh.clock.advance(1)
        other = report(KeyError("lost"), severity="critical", service="other", operation="find",
                       context={"key": "lost"}, decision="restart in 0.1 s")
        groups = await desk.ask("errors")
        assert [(row["type"], row["count"], row["service"]) for row in groups] == [
            ("KeyError", 1, "other"), ("Report", 1, "plain"), ("ValueError", 3, "plain"),
        ]
        assert {row["type"] for row in await desk.ask("errors", service="plain")} == {"ValueError", "Report"}
        assert {row["type"] for row in await desk.ask("errors", severity="error")} == {"ValueError", "KeyError"}
        assert [row["type"] for row in await desk.ask("errors", severity="critical", service="other")] == ["KeyError"]
        assert [row["type"] for row in await desk.ask("errors", limit=1)] == ["KeyError"]
        assert [row["id"] for row in await desk.ask("errors_since")][-2:] == [noticed, other]
        (last,) = await desk.ask("errors_since", id=noticed)
        assert last["id"] == other and "traceback" not in last
        one = await desk.ask("error", id=other)
        assert one["traceback"].startswith("KeyError") and one["context"] == {"key": "lost"}
        assert one["decision"] == "restart in 0.1 s" and one["operation"] == "find"
        assert await desk.ask("error", id="mainpc-999999") is None

    run(tmp_path, scenario)


def test_a_severity_or_an_id_that_cannot_be_is_explained(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        error = await refused(desk, InvalidArgument, "errors", severity="eror")
        assert "severity is 'eror', did you mean error?; there are debug, info, warning" in error.message
        assert "there are debug" in (await refused(desk, InvalidArgument, "errors", severity="?")).message
        error = await refused(desk, InvalidArgument, "error", id="pc2-000001")
        assert "is an error of host pc2, this is mainpc" in error.message
        error = await refused(desk, InvalidArgument, "errors_since", id="yesterday")
        assert "is no error id" in error.message

    run(tmp_path, scenario)


# -- the rest


def test_spans_of_a_trace_are_told_in_order(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.mesh.add("plain", Plain)
        await desk.mesh.request("plain.echo", text="a")
        trace_id = next(iter(desk.host.spans)).trace_id.hex()
        (span,) = await desk.ask("spans", trace_id=trace_id)
        assert (span["service"], span["operation"], span["host"]) == ("plain", "echo", "mainpc")
        assert await desk.ask("spans", trace_id=trace_id[:4].upper()) == [span]
        assert await desk.ask("spans", trace_id="00" * 16) == []
        (row,) = await desk.ask("traces")
        assert (row["trace_id"], row["spans"], row["error"]) == (trace_id, 1, None)
        assert await desk.ask("traces", failed=True) == []
        for wrong in ("abc", "", "xyzw"):
            error = await refused(desk, InvalidArgument, "spans", trace_id=wrong)
            assert "of which the first 4 suffice" in error.message

    run(tmp_path, scenario)


def test_logs_are_told_by_pages(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        handler = log_file("supervisor", tmp_path / "logs", host="mainpc", service="supervisor")
        for number in range(5):
            handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "line %d", (number,), None))
        handler.close()
        page = await desk.ask("logs", limit=2)
        assert [line["message"] for line in page["lines"]] == ["line 3", "line 4"]
        assert (page["more"], page["lost"], page["now"]) == (False, [], desk.mesh.clock.time())
        assert (await desk.ask("logs", cursor=page["cursor"]))["lines"] == []
        page = await desk.ask("logs", cursor={}, limit=3)
        assert len(page["lines"]) == 3 and page["more"]
        assert (await desk.ask("logs", cursor=page["cursor"], level="warning"))["lines"] == []
        error = await refused(desk, InvalidArgument, "logs", level="warn")
        assert "did you mean warning?" in error.message
        for wrong in ({"supervisor": ["x"]}, {"supervisor": ["x", -1]}, {"supervisor": [1, 2]}):
            assert "cursor is none" in (await refused(desk, InvalidArgument, "logs", cursor=wrong)).message

    run(tmp_path, scenario)


def test_an_operator_publishes_under_the_name_of_the_host(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        assert await desk.ask("publish_event", topic="door.opened", data={"by": "ann"}) is None
        assert desk.host.published == [("door.opened", {"by": "ann"}, "operator@mainpc")]
        error = await refused(desk, InvalidArgument, "publish_event", topic="Door opened")
        assert "'Door opened' is no topic" in error.message and len(desk.host.published) == 1

    run(tmp_path, scenario)


def test_a_host_that_is_told_to_stop_begins_to(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        assert await desk.ask("shutdown") is None
        assert desk.host.leaving and (await desk.ask("status"))["state"] == "leaving"

    run(tmp_path, scenario)


def test_what_nobody_offers_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        error = await refused(desk, UnknownOperation, "agent_strat")
        assert "did you mean agent_start?" in error.message and error.details["suggestion"] == "agent_start"
        error = await refused(desk, UnknownOperation, "zzz")
        assert "it has agent_begin_version, agent_drain, agent_isolate, agent_promote, agent_reload, " in error.message

    run(tmp_path, scenario)


def test_arguments_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        error = await refused(desk, InvalidArgument, "describe")
        assert "argument 'service' is missing" in error.message
        error = await refused(desk, InvalidArgument, "errors", limits=3)
        assert "did you mean 'limit'?" in error.message
        with pytest.raises(InvalidArgument, match=r"supervisor\.status: a body of 1 bytes does not decode"):
            await desk.send("status", b"\xc1")

    run(tmp_path, scenario)


def test_an_error_that_may_not_cross_the_wire_becomes_one_that_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: RuledHost) -> dict[str, Any]:
        raise StoreError("the disk is full")

    monkeypatch.setattr(RuledHost, "status", full)

    async def scenario(desk: Desk) -> None:
        error = await refused(desk, RemoteFailure, "status")
        assert error.message == "the disk is full" and error.details["type"] == "StoreError"

    run(tmp_path, scenario)
