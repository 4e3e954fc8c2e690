"""Every outcome is counted, and sampled requests leave a span."""

from __future__ import annotations

import asyncio

import pytest

from mesh.errors import Unavailable, UnknownOperation
from mesh.message import Handler, Items, Reply, Request, encode
from mesh.policy.inbox import Inbox
from mesh.policy.measure import CallStats
from mesh.testing import FakeClock
from mesh.testing.clock import settle
from mesh.tracing import Span, SpanRing, Trace
from tests.figures import read
from tests.policy.calls import Callee, ask, on_a_loop
from tests.policy.passages import behind


class Measured:
    """A measured callee, and what was counted."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.callee = Callee()
        self.stats = CallStats()
        self.spans = SpanRing()
        self._handle = behind(self.callee, self.clock, stats=self.stats, spans=self.spans)

    async def begin(self, name: object, trace: Trace | None = None) -> asyncio.Task[Reply]:
        async def made() -> Reply:
            return await self._handle(ask(name, trace=trace or Trace.new()))

        task = asyncio.ensure_future(made())
        await settle()
        return task


@on_a_loop
async def test_calls_errors_and_latencies_are_counted() -> None:
    it = Measured()
    good = await it.begin(1)
    await it.clock.advance(0.25)
    await it.callee.answer(1)
    assert (await good).value() == 1
    bad = await it.begin(2)
    await it.callee.answer(2, Reply(error=Unavailable("no")))
    await bad
    raising = await it.begin(3)
    await it.callee.fail(3, KeyError("x"))
    with pytest.raises(KeyError):
        await raising
    given_up = await it.begin(4)
    given_up.cancel()
    await settle()
    assert (it.stats.calls, it.stats.errors, it.stats.latency.count) == (4, 3, 4)
    assert it.stats.latency.quantile(1.0) == pytest.approx(0.25, rel=0.051)


@on_a_loop
async def test_the_reply_says_who_answered() -> None:
    it = Measured()
    first, second = await it.begin(1), await it.begin(2)
    await it.callee.answer(1)
    await it.callee.answer(2, Reply(encode(None), host="pc3"))
    assert [(await first).host, (await second).host] == ["pc2", "pc3"]


@on_a_loop
async def test_a_sampled_request_leaves_a_span_and_another_that_ends_well_none() -> None:
    it = Measured()
    trace = Trace.new(sampled=True).child()
    wall = it.clock.time()
    call = await it.begin(1, trace)
    await it.clock.advance(2.0)
    await it.callee.answer(1)
    await call
    other = await it.begin(2)
    await it.callee.answer(2)
    await other
    assert it.spans.of(trace.trace_id.hex()) == [
        Span(trace.trace_id, trace.span_id, trace.parent_id, "kb", "find", "pc2", wall, 2.0, caller="nlu@pc2")
    ]
    assert len(list(it.spans)) == 1


@on_a_loop
async def test_a_request_that_fails_leaves_a_span_though_it_is_not_sampled() -> None:
    it = Measured()
    trace = Trace.new()
    call = await it.begin(1, trace)
    await it.clock.advance(0.5)
    await it.callee.answer(1, Reply(error=Unavailable("no")))
    await call
    (span,) = it.spans.of(trace.trace_id.hex())
    assert (span.error, span.duration, span.sampled, span.kind) == ("unavailable", 0.5, False, "answer")


@on_a_loop
async def test_a_span_tells_how_long_its_request_waited_and_no_other() -> None:
    clock, callee, spans = FakeClock(), Callee(), SpanRing()
    inbox = Inbox(waiting=5, concurrency=1, clock=clock)
    handle = behind(callee, clock, spans=spans, inbox=inbox)
    traces = [Trace.new(sampled=True) for _ in range(3)]

    async def nested() -> None:
        await handle(ask(1, trace=traces[1]))
        await asyncio.create_task(_made(handle, ask(2, trace=traces[2])))  # inherits the context of one that waited

    first = asyncio.create_task(_made(handle, ask(0, trace=traces[0])))
    await settle()
    second = asyncio.create_task(nested())
    await settle()
    await clock.advance(2.0)
    for number in range(3):
        await callee.answer(number)
    await asyncio.gather(first, second)
    assert [spans.of(trace.trace_id.hex())[0].waited for trace in traces] == [0.0, 2.0, 0.0]


async def _made(handle: Handler, request: Request) -> Reply:
    return await handle(request)


@on_a_loop
async def test_a_span_tells_how_its_call_ended() -> None:
    it = Measured()
    traces = [Trace.new(sampled=True) for _ in range(3)]
    calls = [await it.begin(number, trace) for number, trace in enumerate(traces)]
    await it.callee.answer(0, Reply(error=Unavailable("no")))
    calls[1].cancel()
    await settle()
    await it.callee.answer(2)
    await asyncio.gather(*calls, return_exceptions=True)
    assert [it.spans.of(trace.trace_id.hex())[0].error for trace in traces] == ["unavailable", "cancelled", None]


@on_a_loop
async def test_outcomes_are_shown_by_operation_and_code() -> None:
    it = Measured()
    it.stats.known = {"find"}
    for reply in (None, None, Reply(error=Unavailable("no"))):
        call = await it.begin(1)
        await it.callee.answer(1, reply)
        await call

    async def asked() -> Reply:
        return await it._handle(ask(1, target="kb.made_up"))

    made_up = asyncio.ensure_future(asked())
    await settle()
    await it.callee.answer(1, Reply(error=UnknownOperation("none")))
    await made_up
    shown = read(it.stats.samples("kb"))
    assert {key[1:]: value for key, value in shown.items() if key[0] == "mesh_calls_total"} == {
        ("kb", "find", "ok"): 2, ("kb", "find", "unavailable"): 1,
        ("kb", "other", "ok"): 0, ("kb", "other", "unknown_operation"): 1}
    assert list(it.stats.operations) == ["find", "other"]


class Numbers(Items):
    """Items that end when a test says so."""

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.ended(None)

    def drop(self) -> None:
        self.ended(None)


@on_a_loop
async def test_a_stream_is_counted_when_it_ends_and_no_count_is_ever_taken_back() -> None:
    it = Measured()
    counts: list[tuple[float, float]] = []

    def look() -> None:
        shown = read(it.stats.samples("kb"))
        counts.append((shown["mesh_calls_total", "kb", "find", "ok"],
                       shown.get(("mesh_calls_total", "kb", "find", "unavailable"), 0)))

    streams = [Numbers(), Numbers()]
    for number, stream in enumerate(streams):
        call = await it.begin(number)
        await it.callee.answer(number, Reply(items=stream))
        await call
        look()
    streams[0].taken = 7
    streams[0].ended(None)
    look()
    streams[1].ended(Unavailable("gone"))
    look()
    assert counts == [(0, 0), (0, 0), (1, 0), (1, 1)]
    assert read(it.stats.samples("kb"))["mesh_stream_items_total", "kb", "find"] == 7
