"""What an agent does, asked or not, belongs to one trace; wherever it runs its log lines say service and operation."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from mesh import Agent, every, operation, subscribe
from mesh.client import running
from mesh.testing import InMemoryMesh, in_mesh
from mesh.testing.clock import settle
from mesh.tracing import NO_SPAN
from tests.eventually import eventually

SEEN: list[tuple[str, dict[str, str | None]]] = []


def look(where: str) -> None:
    """Note what a log line written here would say."""
    SEEN.append((where, running()))


def told(where: str) -> dict[str, str | None]:
    return next(what for at, what in SEEN if at == where)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    SEEN.clear()
    yield


class Busy(Agent):
    """Looks at what its log lines would say, everywhere."""

    async def setup(self) -> None:
        look("setup")
        with contextlib.suppress(Exception):
            await self.request("nobody.home")

    @operation
    async def ask(self) -> None:
        look("ask")
        await self.run(look, "pool")
        await asyncio.create_task(self._aside())
        await self.publish("busy.asked", {"n": 1})
        await self.peer("echo").say(text="x")

    async def _aside(self) -> None:
        look("aside")

    @operation
    def block(self) -> None:
        look("block")

    @subscribe("busy.asked")
    async def hear(self, event: dict[str, int]) -> None:
        look("hear")
        await self.peer("echo").say(text="y")

    @every(seconds=10)
    async def tick(self) -> None:
        look("tick")
        await self.peer("echo").say(text="z")

    @every(seconds=10)
    def blocking_tick(self) -> None:
        look("blocking_tick")

    @subscribe("busy.fail")
    async def stumble(self, event: Any) -> None:
        raise ValueError("dark")


class Echo(Agent):
    """Says it back."""

    @operation
    async def say(self, text: str) -> str:
        return text


async def busy(mesh: InMemoryMesh, isolation: str) -> None:
    mesh.spans.sample = 1.0
    await mesh.add("echo", Echo, host="pc2")
    await mesh.add("busy", Busy, isolation=isolation)


@pytest.mark.parametrize("isolation", ["coroutine", "thread"])
def test_log_lines_name_service_operation_and_trace_wherever_the_code_runs(isolation: str) -> None:
    @in_mesh
    async def scenario(mesh: InMemoryMesh) -> None:
        await busy(mesh, isolation)
        assert told("setup") == {"service": "busy", "operation": "setup", "trace_id": None}
        await mesh.request("busy.ask")
        await mesh.request("busy.block")
        await eventually(lambda: "hear" in dict(SEEN))
        await mesh.clock.advance(10.0)
        await eventually(lambda: {"tick", "blocking_tick"} <= dict(SEEN).keys())
        for where, operation_ in (("ask", "ask"), ("pool", "ask"), ("aside", "ask"), ("block", "block"),
                                  ("hear", "hear"), ("tick", "tick"), ("blocking_tick", "blocking_tick")):
            assert (told(where)["service"], told(where)["operation"]) == ("busy", operation_)
            assert len(told(where)["trace_id"] or "") == 32
        assert told("ask") == told("pool") == told("aside")
        assert told("hear")["trace_id"] == told("ask")["trace_id"] != told("tick")["trace_id"]

    scenario()


@in_mesh
async def test_an_event_its_handler_and_the_handlers_calls_are_one_tree(mesh: InMemoryMesh) -> None:
    await busy(mesh, "coroutine")
    await mesh.request("busy.ask")
    await settle()
    spans = mesh.spans.of(told("ask")["trace_id"] or "")
    ask = next(span for span in spans if span.operation == "ask" and span.kind == "answer")
    hear = next(span for span in spans if span.kind == "event")
    says = [span for span in spans if span.operation == "say"]
    assert hear.parent_id == ask.span_id and (hear.service, hear.operation) == ("busy", "hear")
    assert [(span.kind, span.parent_id) for span in says if span.kind == "call"] == [
        ("call", ask.span_id), ("call", hear.span_id)]
    assert {span.span_id for span in says if span.kind == "call"} == {
        span.span_id for span in says if span.kind == "answer"}
    assert {(span.host, span.caller) for span in says} == {("mainpc", "busy@mainpc"), ("pc2", "busy@mainpc")}


@in_mesh
async def test_each_tick_is_a_trace_of_its_own(mesh: InMemoryMesh) -> None:
    await busy(mesh, "coroutine")
    for _ in range(2):
        await mesh.clock.advance(10.0)
        await settle()
    ticks = [span for span in mesh.spans if (span.kind, span.operation) == ("timer", "tick")]
    assert len({span.trace_id for span in ticks}) == 2 == len(ticks)
    assert all(span.parent_id == NO_SPAN and span.error is None for span in ticks)
    calls = [span for span in mesh.spans.of(ticks[0].trace_id.hex()) if span.kind == "call"]
    assert [span.parent_id for span in calls] == [ticks[0].span_id]


@in_mesh
async def test_calls_of_setup_are_traces_of_their_own(mesh: InMemoryMesh) -> None:
    await busy(mesh, "coroutine")
    (call,) = [span for span in mesh.spans if span.service == "nobody"]
    assert (call.parent_id, call.error) == (NO_SPAN, "unknown_service")


@in_mesh
async def test_a_handler_that_fails_leaves_a_span_and_a_report_of_the_same_trace(mesh: InMemoryMesh) -> None:
    await mesh.add("busy", Busy)
    await mesh.publish("busy.fail", 1)
    (span,) = [span for span in mesh.spans if span.kind == "event"]
    assert (span.operation, span.error, span.sampled) == ("stumble", "ValueError", False)
    assert [report.trace_id for report in mesh.reports] == [span.trace_id.hex()]


def test_the_names_of_log_context_are_those_of_log_records() -> None:
    assert not {"service", "operation", "trace_id"} & set(vars(logging.makeLogRecord({})))
