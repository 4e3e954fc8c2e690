"""Operations that yield: on the host's loop and on a thread of their own, read from agents and from outside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from mesh import Agent, InvalidArgument, every, operation
from mesh.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidResult,
    MeshError,
    RemoteFailure,
    Unavailable,
    UnknownOperation,
    Unreachable,
)
from mesh.stream import Stream
from mesh.testing import InMemoryMesh, in_mesh
from mesh.testing.clock import settle
from tests.eventually import eventually, eventually_awaited

CODE = ("coroutine", "thread")


class Token(BaseModel):
    """A piece of text."""

    text: str
    number: int = 0


class Model(Agent):
    """Writes piece by piece."""

    closed: list[str]
    asked: list[float | None]
    gate: asyncio.Event

    async def setup(self) -> None:
        self.closed, self.asked = [], []
        self.gate = asyncio.Event()

    @operation
    async def generate(self, prompt: str, most: int = 5) -> AsyncIterator[Token]:
        """Continue a prompt."""
        try:
            for number in range(most):
                yield Token(text=prompt, number=number)
        finally:
            self.closed.append(prompt)

    @operation
    async def endless(self) -> AsyncGenerator[int, None]:
        number = 0
        try:
            while True:
                yield number
                number += 1
        finally:
            self.closed.append("endless")

    @operation
    async def stuck(self) -> AsyncIterator[str]:
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            self.closed.append("stuck")

    @operation
    async def breaks(self, how: str) -> AsyncIterator[int]:
        yield 1
        yield 2
        if how == "typed":
            raise Unavailable("no more memory", retry_after=3.0)
        if how == "exit":
            raise SystemExit(3)
        if how == "wrong":
            yield "three"  # type: ignore[misc]
        raise ValueError("what is this")

    @operation
    async def stubborn(self) -> AsyncIterator[int]:
        while True:
            try:
                yield 1
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.closed.append("swallowed")

    @operation
    async def messy(self) -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            raise KeyError("in its finally")

    @operation
    async def plain(self, text: str) -> str:
        return text

    @operation
    async def closed_so_far(self) -> list[str]:
        return self.closed


class Reader(Agent):
    """Reads what others write."""

    @operation
    async def read(self, target: str, most: int, timeout_s: float | None = None) -> list[Any]:
        seen = []
        async for item in self.stream(target, timeout=timeout_s):
            seen.append(item)
            if len(seen) == most:
                break
        return seen

    @operation
    async def read_peer(self) -> list[Any]:
        model = self.peer("model")
        return [item["number"] async for item in model.generate.stream(prompt="x", most=3)]

    @operation
    async def relayed(self, most: int) -> AsyncIterator[int]:
        async for item in self.options(to_host="pc2").stream("model.generate", prompt="far", most=most):
            yield item["number"]


@pytest.fixture(params=CODE)
def isolation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def rest(stream: Stream) -> list[Any]:
    return [item async for item in stream]


async def closed(mesh: InMemoryMesh) -> list[str]:
    told: list[str] = await mesh.request("model.closed_so_far")
    return told


async def until_closed(mesh: InMemoryMesh, *names: str) -> None:
    async def are_closed() -> bool:
        return await closed(mesh) == list(names)

    await eventually_awaited(are_closed)


# --- items ------------------------------------------------------------------------------------------------------------


@in_mesh
async def test_items_come_as_plain_values_of_the_declared_type(mesh: InMemoryMesh, isolation: str) -> None:
    await mesh.add("model", Model, isolation=isolation)
    stream = mesh.stream("model.generate", prompt="hello")
    assert await rest(stream) == [{"text": "hello", "number": number} for number in range(5)]
    await until_closed(mesh, "hello")


@in_mesh
async def test_a_stream_of_many_items(mesh: InMemoryMesh, isolation: str) -> None:
    await mesh.add("model", Model, isolation=isolation)
    stream = mesh.stream("model.generate", prompt="", most=3000)
    assert [item["number"] async for item in stream] == list(range(3000))


@in_mesh
async def test_the_opening_is_what_the_policies_see(mesh: InMemoryMesh, isolation: str) -> None:
    cell = await mesh.add("model", Model, isolation=isolation)
    stream = mesh.stream("model.stuck")
    assert await anext(stream) == "first"
    outcomes = cell.stats.operations["stuck"]
    assert (outcomes.latency.count, outcomes.streams, outcomes.items) == (1, 1, 0)
    assert (cell.inbox.running, cell.inbox.streams) == (0, 1)
    await stream.aclose()
    await until_closed(mesh, "stuck")
    await eventually(lambda: (outcomes.streams, cell.inbox.streams, outcomes.errors) == (0, 0, {"cancelled": 1}))
    assert await rest(mesh.stream("model.generate", prompt="x")) != []
    written = cell.stats.operations["generate"]
    await eventually(lambda: (written.items, written.errors) == (5, {}))


@in_mesh
async def test_a_span_lasts_as_long_as_its_stream(mesh: InMemoryMesh) -> None:
    await mesh.add("model", Model)
    stream = mesh.stream("model.generate", prompt="x")
    await anext(stream)
    await mesh.clock.advance(2.0)
    await rest(stream)
    spans = [span for span in mesh.spans if span.operation == "generate" and span.kind == "answer"]
    assert [(span.error, span.duration >= 2.0) for span in spans] == [(None, False)], "all was made at once"
    stuck = mesh.stream("model.stuck")
    await anext(stuck)
    await mesh.clock.advance(2.0)
    await stuck.aclose()
    await settle()
    spans = [span for span in mesh.spans if span.operation == "stuck" and span.kind == "answer"]
    assert [(span.error, span.duration >= 2.0) for span in spans] == [("cancelled", True)]


@in_mesh
async def test_no_more_streams_than_calls_may_wait(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("model", Model)
    cell.inbox._most_waiting = 3
    streams = [mesh.stream("model.stuck") for _ in range(3)]
    assert [await anext(stream) for stream in streams] == ["first"] * 3
    with pytest.raises(MeshError, match="3 streams are open already"):
        await anext(mesh.stream("model.stuck"))
    assert await mesh.request("model.plain", text="calls pass") == "calls pass"
    await streams[0].aclose()
    await mesh.clock.advance(1)  # the callee asked for a pause
    assert await anext(mesh.stream("model.stuck")) == "first"


# --- what it is not ---------------------------------------------------------------------------------------------------


@in_mesh
async def test_a_request_of_an_operation_that_yields_says_what_to_use(mesh: InMemoryMesh) -> None:
    await mesh.add("model", Model)
    with pytest.raises(InvalidArgument, match=r'self\.stream\("model\.generate", \.\.\.\)` or `mesh stream model'):
        await mesh.request("model.generate", prompt="x")
    assert await closed(mesh) == []


@in_mesh
async def test_an_operation_that_returns_is_a_stream_of_its_one_result(mesh: InMemoryMesh, isolation: str) -> None:
    await mesh.add("model", Model, isolation=isolation)
    assert await rest(mesh.stream("model.plain", text="all of it")) == ["all of it"]


@in_mesh
async def test_what_is_wrong_with_the_opening_is_raised_at_the_first_item(mesh: InMemoryMesh) -> None:
    await mesh.add("model", Model)
    with pytest.raises(InvalidArgument, match="argument 'prompt' is missing"):
        await rest(mesh.stream("model.generate"))
    with pytest.raises(UnknownOperation, match="did you mean generate"):
        await rest(mesh.stream("model.generat", prompt="x"))
    with pytest.raises(InvalidArgument, match="timeout of"):
        await rest(mesh.stream("model.generate", prompt="x", timeout=-1))


# --- ends -------------------------------------------------------------------------------------------------------------


@in_mesh
async def test_a_typed_error_in_the_middle_comes_after_the_items_before_it(mesh: InMemoryMesh, isolation: str) -> None:
    await mesh.add("model", Model, isolation=isolation)
    stream = mesh.stream("model.breaks", how="typed")
    assert [await anext(stream), await anext(stream)] == [1, 2]
    with pytest.raises(Unavailable, match="no more memory") as caught:
        await anext(stream)
    assert caught.value.details == {"retry_after": 3.0, "began": "yes"}
    assert await rest(stream) == []
    assert mesh.reports == []


@in_mesh
async def test_any_other_error_is_reported_and_names_its_report(mesh: InMemoryMesh, isolation: str) -> None:
    await mesh.add("model", Model, isolation=isolation)
    with pytest.raises(RemoteFailure, match=r"model\.breaks raised ValueError: what is this") as caught:
        await rest(mesh.stream("model.breaks", how="any"))
    assert [(report.id, report.operation) for report in mesh.reports] == [(caught.value.details["error_id"], "breaks")]


@in_mesh
async def test_an_item_of_another_type_is_an_invalid_result(mesh: InMemoryMesh, isolation: str) -> None:
    await mesh.add("model", Model, isolation=isolation)
    with pytest.raises(InvalidResult, match=r"breaks yielded 'three' \(str\), expected int"):
        await rest(mesh.stream("model.breaks", how="wrong"))


@in_mesh
async def test_a_generator_that_exits_is_a_crash_of_its_agent(mesh: InMemoryMesh, isolation: str) -> None:
    cell = await mesh.add("model", Model, isolation=isolation)
    with pytest.raises(RemoteFailure, match="SystemExit"):
        await rest(mesh.stream("model.breaks", how="exit"))
    assert cell.restarts == 0

    async def is_ready() -> bool:
        await mesh.clock.advance(0.2)
        return cell.state == "ready"

    await eventually_awaited(is_ready)
    assert cell.restarts == 1


@in_mesh
async def test_a_reader_that_leaves_the_loop_has_the_generator_closed(mesh: InMemoryMesh, isolation: str) -> None:
    await mesh.add("model", Model, isolation=isolation)
    await mesh.add("reader", Reader)
    assert await mesh.request("reader.read", target="model.endless", most=3) == [0, 1, 2]
    await until_closed(mesh, "endless")


@in_mesh
async def test_a_reader_on_a_thread_of_its_own(mesh: InMemoryMesh) -> None:
    await mesh.add("model", Model)
    await mesh.add("reader", Reader, isolation="thread")
    assert await mesh.request("reader.read", target="model.endless", most=1000) == list(range(1000))
    await until_closed(mesh, "endless")
    mesh.fake("gone", model=Unavailable("no model", retry_after=1.0))
    with pytest.raises(Unavailable, match="no model"):
        await mesh.request("reader.read", target="gone.model", most=1)


@in_mesh
async def test_an_error_in_the_readers_loop_closes_the_stream(mesh: InMemoryMesh) -> None:
    await mesh.add("model", Model)
    with pytest.raises(ZeroDivisionError):
        async for number in mesh.stream("model.endless"):
            1 // (3 - number)
    await until_closed(mesh, "endless")


@in_mesh
async def test_a_stream_that_is_held_is_closed_by_hand_or_at_the_end_of_its_block(mesh: InMemoryMesh) -> None:
    await mesh.add("model", Model)
    async with mesh.stream("model.endless") as held:
        async for number in held:
            if number == 2:
                break
        assert await closed(mesh) == []
        assert await anext(held) == 3
    await until_closed(mesh, "endless")
    assert await rest(held) == []


@in_mesh
async def test_a_stream_that_is_never_read_is_never_opened(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("model", Model)
    stream = mesh.stream("model.endless")
    await settle()
    await stream.aclose()
    assert await rest(stream) == []
    assert cell.stats.calls == 0


@in_mesh
async def test_cancelling_the_reader_cancels_what_makes_the_items(mesh: InMemoryMesh, isolation: str) -> None:
    await mesh.add("model", Model, isolation=isolation)
    reading = asyncio.ensure_future(rest(mesh.stream("model.stuck")))
    cell = mesh.cell("model")
    await eventually(lambda: cell.inbox.streams == 1)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await until_closed(mesh, "stuck")


@in_mesh
async def test_no_item_in_time_is_an_error_and_the_callee_is_told(mesh: InMemoryMesh, isolation: str) -> None:
    await mesh.add("model", Model, isolation=isolation)
    stream = mesh.stream("model.stuck", timeout=4.0)
    assert await anext(stream) == "first"
    await mesh.clock.advance(60.0)
    waiting = asyncio.ensure_future(anext(stream))
    await settle()
    await mesh.clock.advance(3.9)
    assert not waiting.done(), "while nobody waited for an item no time was lost"
    await mesh.clock.advance(0.2)
    with pytest.raises(DeadlineExceeded, match=r"model\.stuck sent no item for 4 s"):
        await waiting
    await until_closed(mesh, "stuck")


@in_mesh
async def test_a_stream_outlives_the_deadline_of_its_opening(mesh: InMemoryMesh, isolation: str) -> None:
    await mesh.add("model", Model, isolation=isolation)
    await mesh.add("reader", Reader, isolation=isolation)
    mesh.fake("slow", answer=lambda: "fine")

    class Chain(Agent):
        @operation
        async def each(self) -> AsyncIterator[str]:
            for _ in range(4):
                await self.clock.sleep(20.0)
                yield await self.request("slow.answer")

    await mesh.add("chain", Chain, isolation=isolation)
    stream = mesh.stream("chain.each")
    for _ in range(4):
        waiting = asyncio.ensure_future(anext(stream))
        await eventually(lambda: bool(mesh.clock._timers))
        await _turned(mesh, waiting)
        assert await waiting == "fine"


async def _turned(mesh: InMemoryMesh, waiting: asyncio.Future[Any]) -> None:
    """Turn the clock by 20 s once the agent sleeps, wherever its code runs."""

    async def is_done() -> bool:
        await mesh.clock.advance(1.0)
        return waiting.done()

    await eventually_awaited(is_done)


@in_mesh
async def test_an_agent_that_stops_ends_its_streams(mesh: InMemoryMesh, isolation: str) -> None:
    cell = await mesh.add("model", Model, isolation=isolation)
    stream = mesh.stream("model.stuck")
    assert await anext(stream) == "first"
    agent = mesh.agent("model")
    assert isinstance(agent, Model)
    stopping = asyncio.create_task(cell.stop("for the test"))
    await eventually(lambda: cell.state == "draining")
    with pytest.raises(Unavailable):
        await anext(mesh.stream("model.stuck"))
    await mesh.clock.advance(6.0)
    with pytest.raises(Cancelled):
        await anext(stream)
    async def is_stopped() -> bool:
        await mesh.clock.advance(0.1)
        return stopping.done()

    await eventually_awaited(is_stopped)
    await stopping
    assert agent.closed == ["stuck"]


@in_mesh
async def test_a_stream_that_ends_in_time_is_waited_for(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("model", Model)
    stream = mesh.stream("model.generate", prompt="x", most=2000)
    assert (await anext(stream))["number"] == 0
    stopping = asyncio.create_task(cell.stop("for the test"))
    await settle()
    assert cell.state == "draining"
    assert len(await rest(stream)) == 1999
    await mesh.clock.advance(0.1)
    await stopping


@in_mesh
async def test_what_swallows_its_cancellation_does_not_go_on(mesh: InMemoryMesh, isolation: str) -> None:
    cell = await mesh.add("model", Model, isolation=isolation)
    stream = mesh.stream("model.stubborn")
    assert await anext(stream) == 1
    await stream.aclose()
    await eventually(lambda: cell.inbox.streams == 0)


@in_mesh
async def test_trouble_in_a_generators_finally_is_reported(mesh: InMemoryMesh, isolation: str) -> None:
    cell = await mesh.add("model", Model, isolation=isolation)
    stream = mesh.stream("model.messy")
    assert await anext(stream) == 1
    await stream.aclose()
    await eventually(lambda: cell.inbox.streams == 0)
    await eventually(lambda: len(mesh.reports) == 1)
    assert "in its finally" in mesh.reports[0].message


# --- agents that read and write ---------------------------------------------------------------------------------------


@in_mesh
async def test_a_peers_operation_is_read_like_a_method(mesh: InMemoryMesh, isolation: str) -> None:
    await mesh.add("model", Model)
    await mesh.add("reader", Reader, isolation=isolation)
    assert await mesh.request("reader.read_peer") == [0, 1, 2]


@in_mesh
async def test_a_stream_made_of_another_hosts_stream(mesh: InMemoryMesh, isolation: str) -> None:
    await mesh.add("model", Model, host="pc2", isolation=isolation)
    await mesh.add("reader", Reader, isolation=isolation)
    assert await rest(mesh.stream("reader.relayed", most=100)) == list(range(100))
    stream = mesh.stream("reader.relayed", most=1_000_000)
    assert await anext(stream) == 0
    await stream.aclose()
    await until_closed(mesh, "far", "far")


@in_mesh
async def test_a_host_that_is_cut_off_cannot_be_streamed_from(mesh: InMemoryMesh) -> None:
    await mesh.add("model", Model, host="pc2")
    mesh.cut("pc2")
    with pytest.raises(Unreachable):
        await rest(mesh.stream("model.generate", prompt="x"))


@in_mesh
async def test_a_fake_that_yields_is_a_stream(mesh: InMemoryMesh) -> None:
    async def tokens(prompt: str) -> AsyncIterator[str]:
        yield prompt
        yield "!"
        raise Unavailable("enough", retry_after=1.0)

    fake = mesh.fake("model", generate=tokens, whole="at once")
    await mesh.add("reader", Reader)
    seen = []
    with pytest.raises(Unavailable, match="enough"):
        async for item in mesh.stream("model.generate", prompt="hi"):
            seen.append(item)
    assert seen == ["hi", "!"]
    assert await mesh.request("reader.read", target="model.whole", most=5) == ["at once"]
    assert fake.calls_of("generate") == [{"prompt": "hi"}]


@in_mesh
async def test_the_time_of_a_generator_is_billed_to_its_agent_and_its_waits_are_not(
    mesh: InMemoryMesh, isolation: str
) -> None:
    class Busy(Agent):
        @operation
        async def spin(self) -> AsyncIterator[int]:
            for number in range(5):
                until = time.thread_time() + 0.02
                while time.thread_time() < until:
                    pass
                yield number
                await asyncio.to_thread(time.monotonic)

    cell = await mesh.add("busy", Busy, isolation=isolation)
    before = cell.stats.loop_seconds
    assert len(await rest(mesh.stream("busy.spin"))) == 5
    assert cell.stats.loop_seconds - before >= 0.09


@in_mesh
async def test_a_timer_may_read_a_stream(mesh: InMemoryMesh) -> None:
    seen: list[int] = []

    class Clocked(Agent):
        @every(seconds=10)
        async def look(self) -> None:
            async for item in self.stream("model.generate", prompt="x", most=3):
                seen.append(item["number"])

    await mesh.add("model", Model)
    await mesh.add("clocked", Clocked)
    await mesh.clock.advance(10.0)
    await eventually(lambda: seen == [0, 1, 2])
