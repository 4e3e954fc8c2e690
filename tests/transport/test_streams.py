"""What every way of carrying streams keeps to: order, credit, both kinds of end, and who hears of it when one gives up.

Run against real connections (CURVE, TCP), a cell's connection, and their in-memory twin.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from mesh.errors import Cancelled, DeadlineExceeded, MeshError, ProtocolError, RemoteFailure, Unavailable, Unreachable
from mesh.message import Items, Reply, Request, decode, encode, replied
from mesh.testing.clock import settle
from mesh.transport.inflow import Inflow
from mesh.transport.outflow import LEAST_BURST
from mesh.wire import STREAM_BYTES
from tests.eventually import eventually
from tests.figures import read
from tests.transport.ends import ask, host, on_a_loop, two_hosts
from tests.transport.stages import STAGES, Line, Stage

CREDIT = 64


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest) -> Stage:
    return STAGES[request.param]


class Made(Items):
    """Items as an async generator of encoded bodies makes them; remembers that it was closed."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        super().__init__()
        self._source = source
        self.made = 0
        self.closed = False

    async def __anext__(self) -> bytes:
        body = await self._source.__anext__()
        self.made += 1
        return body

    async def aclose(self) -> None:
        self.closed = True
        await self._source.aclose()  # type: ignore[attr-defined]
        self.ended(None)

    def drop(self) -> None:
        raise AssertionError("whoever sends items waits for their end")


class Streaming:
    """Opens the stream that the arguments name, and remembers each."""

    def __init__(self, make: Callable[[Any], AsyncIterator[bytes]]) -> None:
        self._make = make
        self.opened: list[Made] = []
        self.requests: list[Request] = []

    async def __call__(self, request: Request) -> Reply:
        self.requests.append(request)
        made = Made(self._make(Reply(request.body).value()))
        self.opened.append(made)
        return Reply(host="mainpc", items=made)


async def counting(most: Any) -> AsyncIterator[bytes]:
    number = 0
    while most is None or number < most:
        yield encode(number)
        number += 1


async def sized(size: Any) -> AsyncIterator[bytes]:
    for number in range(10_000):
        yield encode([number, bytes(size)])


async def waiting(_: Any) -> AsyncIterator[bytes]:
    yield encode("first")
    await asyncio.Event().wait()


def open_it(value: Any = None, *, credit: int = CREDIT, timeout: float = 20.0, **how: Any) -> Request:
    return ask(value, timeout=timeout, **how)._replace(credit=credit)


async def opened(line: Line, value: Any = None, **how: Any) -> Items:
    reply = await line.exchange(open_it(value, **how))
    assert reply.error is None, reply.error
    assert reply.items is not None
    return reply.items


async def rest(items: Items) -> list[Any]:
    return [decode(body) async for body in items]


# --- items ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, CREDIT - 1, CREDIT, 1000])
def test_all_items_come_in_order_and_then_the_end(stage: Stage, count: int) -> None:
    callee = Streaming(counting)

    async def scenario(line: Line) -> None:
        items = await opened(line, count)
        assert await rest(items) == list(range(count))
        assert await rest(items) == [], "the end stays the end"
        await eventually(lambda: callee.opened[0].closed)

    stage.play(callee, scenario)


def test_the_opening_arrives_with_what_a_call_carries(stage: Stage) -> None:
    callee = Streaming(counting)

    async def scenario(line: Line) -> None:
        sent = open_it(1, target="llm.generate")
        reply = await line.exchange(sent)
        assert (reply.host, reply.body) == ("mainpc", b"")
        assert reply.items is not None
        await rest(reply.items)
        got = callee.requests[0]
        assert got._replace(via="", deadline=0.0) == sent._replace(deadline=0.0)

    stage.play(callee, scenario)


def test_a_plain_answer_to_an_opening_comes_as_a_plain_answer(stage: Stage) -> None:
    async def once(request: Request) -> Reply:
        return Reply(encode("all of it"))

    async def scenario(line: Line) -> None:
        reply = await line.exchange(open_it())
        assert (reply.value(), reply.items) == ("all of it", None)

    stage.play(once, scenario)


def test_an_opening_that_is_refused_is_an_error_and_no_stream(stage: Stage) -> None:
    async def refuse(request: Request) -> Reply:
        return Reply(error=Unavailable("it starts", retry_after=1.0))

    async def scenario(line: Line) -> None:
        reply = await line.exchange(open_it())
        assert (type(reply.error), reply.items) == (Unavailable, None)

    stage.play(refuse, scenario)


def test_big_items_and_small_ones_keep_their_order(stage: Stage) -> None:
    async def mixed(_: Any) -> AsyncIterator[bytes]:
        for number in range(40):
            yield encode([number, bytes(300_000 if number % 7 == 0 else 10)])

    async def scenario(line: Line) -> None:
        values = await rest(await opened(line))
        assert [(number, len(body)) for number, body in values] == [
            (number, 300_000 if number % 7 == 0 else 10) for number in range(40)
        ]

    stage.play(Streaming(mixed), scenario)


def test_an_item_over_the_streams_bytes_travels_alone(stage: Stage) -> None:
    async def huge(_: Any) -> AsyncIterator[bytes]:
        for number in range(3):
            yield encode([number, bytes(3 * STREAM_BYTES)])

    async def scenario(line: Line) -> None:
        assert [number for number, _ in await rest(await opened(line, credit=1))] == [0, 1, 2]

    stage.play(Streaming(huge), scenario)


def test_many_streams_at_once_get_each_its_own_items(stage: Stage) -> None:
    async def named(name: Any) -> AsyncIterator[bytes]:
        for number in range(100):
            yield encode([name, number])
            if number % 10 == 0:
                await settle(1)

    async def scenario(line: Line) -> None:
        async def read(name: int) -> None:
            assert await rest(await opened(line, name)) == [[name, number] for number in range(100)]

        await asyncio.gather(*map(read, range(50)))

    stage.play(Streaming(named), scenario)


# --- ends -------------------------------------------------------------------------------------------------------------


def test_an_error_in_the_middle_comes_after_the_items_before_it(stage: Stage) -> None:
    async def breaks(_: Any) -> AsyncIterator[bytes]:
        for number in range(5):
            yield encode(number)
        raise Unavailable("the model went away", retry_after=2.0)

    async def scenario(line: Line) -> None:
        items = await opened(line)
        seen = []
        with pytest.raises(Unavailable, match="the model went away") as caught:
            async for body in items:
                seen.append(decode(body))
        assert (seen, caught.value.details) == ([0, 1, 2, 3, 4], {"retry_after": 2.0})

    stage.play(Streaming(breaks), scenario)


def test_what_the_callee_lets_through_in_the_middle_is_a_remote_failure(stage: Stage) -> None:
    async def breaks(_: Any) -> AsyncIterator[bytes]:
        yield encode(1)
        raise KeyError("lost")

    async def scenario(line: Line) -> None:
        items = await opened(line)
        assert decode(await items.__anext__()) == 1
        with pytest.raises(RemoteFailure) as caught:
            await items.__anext__()
        assert caught.value.details == {"type": "KeyError"}

    stage.play(Streaming(breaks), scenario)


def test_a_reader_that_closes_has_the_callee_closed(stage: Stage) -> None:
    callee = Streaming(counting)

    async def scenario(line: Line) -> None:
        items = await opened(line)
        assert [decode(await items.__anext__()) for _ in range(3)] == [0, 1, 2]
        await items.aclose()
        await eventually(lambda: callee.opened[0].closed)
        with pytest.raises(Cancelled):
            await items.__anext__()
        await items.aclose()

    stage.play(callee, scenario)


def test_a_reader_that_closes_while_the_callee_waits_for_something_has_it_cancelled(stage: Stage) -> None:
    callee = Streaming(waiting)

    async def scenario(line: Line) -> None:
        items = await opened(line)
        assert decode(await items.__anext__()) == "first"
        await items.aclose()
        await eventually(lambda: callee.opened[0].closed)

    stage.play(callee, scenario)


def test_an_opening_whose_caller_gives_up_leaves_no_stream_open(stage: Stage) -> None:
    callee = Streaming(counting)

    async def scenario(line: Line) -> None:
        for turns in range(12):  # at whatever moment the caller is cancelled
            call = asyncio.ensure_future(line.exchange(open_it()))
            await settle(turns)
            call.cancel()
            outcome = (await asyncio.gather(call, return_exceptions=True))[0]
            if isinstance(outcome, Reply) and outcome.items is not None:
                await outcome.items.aclose()
        await eventually(lambda: all(made.closed for made in callee.opened))

    stage.play(callee, scenario)


def test_no_item_in_time_ends_the_stream_at_both_ends(stage: Stage) -> None:
    callee = Streaming(waiting)

    async def scenario(line: Line) -> None:
        items = await opened(line, timeout=0.3)
        assert decode(await items.__anext__()) == "first"
        with pytest.raises(DeadlineExceeded, match=r"kb\.echo sent no item for 0\.\d+ s"):
            await items.__anext__()
        await eventually(lambda: callee.opened[0].closed)

    stage.play(callee, scenario)


def test_a_reader_that_takes_its_time_is_not_held_against_the_callee(stage: Stage) -> None:
    async def scenario(line: Line) -> None:
        items = await opened(line, 2 * CREDIT, timeout=0.2)
        assert decode(await items.__anext__()) == 0
        await asyncio.get_running_loop().run_in_executor(None, _a_while)
        assert await rest(items) == list(range(1, 2 * CREDIT))

    stage.play(Streaming(counting), scenario)


def _a_while() -> None:
    import threading

    threading.Event().wait(0.5)


def test_a_callee_that_stops_ends_its_streams(stage: Stage) -> None:
    callee = Streaming(waiting)

    async def scenario(line: Line) -> None:
        items = await opened(line)
        assert decode(await items.__anext__()) == "first"
        line.stop()
        with pytest.raises(Cancelled):
            await items.__anext__()
        await eventually(lambda: callee.opened[0].closed)

    stage.play(callee, scenario)


def test_what_will_not_be_closed_is_answered_all_the_same(stage: Stage) -> None:
    held = asyncio.Event()

    async def stubborn(_: Any) -> AsyncIterator[bytes]:
        try:
            yield encode("first")
            await asyncio.Event().wait()
        finally:
            await held.wait()

    async def scenario(line: Line) -> None:
        held.clear()
        items = await opened(line)
        assert decode(await items.__anext__()) == "first"
        await items.aclose()
        other = await opened(line)
        assert decode(await other.__anext__()) == "first", "other streams go on meanwhile"
        held.set()
        await other.aclose()

    stage.play(Streaming(stubborn), scenario)


# --- credit -----------------------------------------------------------------------------------------------------------


def test_a_reader_that_stops_has_the_callee_stop(stage: Stage) -> None:
    callee = Streaming(counting)

    async def scenario(line: Line) -> None:
        items = await opened(line, None, timeout=5)
        await eventually(lambda: callee.opened[0].made == CREDIT)
        await settle(50)
        assert callee.opened[0].made == CREDIT
        for _ in range(CREDIT // 2):
            await items.__anext__()
        await eventually(lambda: callee.opened[0].made > CREDIT)
        await settle(50)
        assert callee.opened[0].made <= CREDIT + CREDIT // 2
        await items.aclose()

    stage.play(callee, scenario)


def test_a_million_items_and_a_reader_that_stops_cost_neither_end_memory(stage: Stage) -> None:
    callee = Streaming(counting)

    async def scenario(line: Line) -> None:
        gc.collect()
        tracemalloc.start()
        items = await opened(line, 1_000_000, credit=1024)
        await eventually(lambda: callee.opened[0].made == 1024)
        await settle(50)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert callee.opened[0].made == 1024
        assert most < 4 * 1024 * 1024
        if line.callee is not None:
            assert line.callee.outbox._item_bytes == 0
        await items.aclose()

    stage.play(callee, scenario)


def test_no_more_than_a_mebibyte_is_under_way_unread(stage: Stage) -> None:
    callee = Streaming(sized)

    async def scenario(line: Line) -> None:
        items = await opened(line, 100_000, credit=1024)
        await eventually(lambda: callee.opened[0].made * 100_000 >= STREAM_BYTES)
        await settle(100)
        assert callee.opened[0].made * 100_000 <= STREAM_BYTES + 100_000
        await items.aclose()

    stage.play(callee, scenario)


def test_credit_is_renewed_in_batches(stage: Stage) -> None:
    async def scenario(line: Line) -> None:
        granted: list[int] = []
        source = line.carrier
        grant = source.grant

        def noted(number: int, taken: int) -> None:
            granted.append(taken)
            grant(number, taken)

        items = await opened(line, 1000)
        assert isinstance(items, Inflow)
        items._inflows.source = type("Noted", (), {"grant": staticmethod(noted), "give_up": source.give_up})()
        assert await rest(items) == list(range(1000))
        assert 1000 // CREDIT <= len(granted) <= 1000 * 4 // CREDIT + 4

    stage.play(Streaming(counting), scenario)


def test_calls_pass_between_the_items_of_many_streams(stage: Stage) -> None:
    async def both(request: Request) -> Reply:
        return await streams(request) if request.credit else Reply(request.body)

    streams = Streaming(counting)

    async def scenario(line: Line) -> None:
        busy = [asyncio.ensure_future(rest(await opened(line, None, credit=1024))) for _ in range(20)]
        before = [made.made for made in streams.opened]
        turns: list[int] = []
        for number in range(50):
            at = sum(made.made for made in streams.opened)
            assert (await line.exchange(ask(number))).value() == number
            turns.append(sum(made.made for made in streams.opened) - at)
        assert sorted(turns)[25] < 120 * LEAST_BURST, "half of the calls waited for at most so many items"
        after = [made.made for made in streams.opened]
        assert all(late > early for early, late in zip(before, after, strict=True)), "and no stream stood still"
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        for inflow in list(line.carrier.inflows.values()):
            inflow.give_up()

    stage.play(both, scenario)


# --- the connection ---------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_lost_connection_ends_its_streams_at_once_and_what_came_is_read_first() -> None:
    callee = Streaming(counting)
    async with host("mainpc", callee) as here, host("pc2") as there:
        await there.join(here)
        reply = await replied(there.pool.exchange(open_it(None), "mainpc"))
        assert reply.items is not None
        first = decode(await reply.items.__anext__())
        await eventually(lambda: callee.opened[0].made == CREDIT)
        await settle(50)
        here.deafen()
        seen = [first]
        with pytest.raises(Unreachable, match="in the middle of its stream") as caught:
            async for body in reply.items:
                seen.append(decode(body))
        assert seen == list(range(len(seen)))
        assert caught.value.details == {"began": "unknown"}
        await eventually(lambda: callee.opened[0].closed)


@on_a_loop
async def test_a_reader_whose_connection_is_lost_has_the_callee_closed() -> None:
    callee = Streaming(waiting)
    async with host("mainpc", callee) as here, host("pc2") as there:
        link = await there.join(here)
        reply = await replied(there.pool.exchange(open_it(), "mainpc"))
        assert reply.items is not None
        link.lose("for the test")
        await eventually(lambda: callee.opened[0].closed)
        with pytest.raises(Unreachable):
            await rest(reply.items)


@on_a_loop
async def test_a_listener_that_leaves_is_held_until_its_streams_have_ended() -> None:
    gate = asyncio.Event()

    async def two(_: Any) -> AsyncIterator[bytes]:
        yield encode(1)
        await gate.wait()
        yield encode(2)

    async with host("mainpc", Streaming(two)) as here, host("pc2") as there:
        from mesh import wire

        link = await there.join(here)
        reply = await replied(there.pool.exchange(open_it(), "mainpc"))
        assert reply.items is not None
        here.listener.tell(wire.leaving())
        await eventually(lambda: link._leaving)
        assert link.state == "up"
        gate.set()
        assert await rest(reply.items) == [1, 2]
        await eventually(lambda: link.state == "lost")


@on_a_loop
async def test_a_relay_keeps_the_credit_from_end_to_end() -> None:
    callee = Streaming(counting)

    async with host("mainpc", callee) as far, host("pc2") as middle, host("pc3") as near:
        middle.listener._handler = lambda request: middle.pool.exchange(request, "mainpc")
        await middle.join(far)
        await near.join(middle)
        reply = await replied(near.pool.exchange(open_it(None), "pc2"))
        assert reply.items is not None
        assert [decode(await reply.items.__anext__()) for _ in range(10)] == list(range(10))
        for _ in range(10):
            await settle(50)
            assert callee.opened[0].made <= 10 + 3 * CREDIT, "two windows, and what was taken"
        await reply.items.aclose()
        await eventually(lambda: callee.opened[0].closed)


@on_a_loop
async def test_an_error_passes_a_relay() -> None:
    async def breaks(_: Any) -> AsyncIterator[bytes]:
        yield encode(1)
        raise Unavailable("gone", retry_after=3.0)

    async with host("mainpc", Streaming(breaks)) as far, host("pc2") as middle, host("pc3") as near:
        middle.listener._handler = lambda request: middle.pool.exchange(request, "mainpc")
        await middle.join(far)
        await near.join(middle)
        reply = await replied(near.pool.exchange(open_it(), "pc2"))
        assert reply.items is not None
        with pytest.raises(Unavailable) as caught:
            await rest(reply.items)
        assert caught.value.details == {"retry_after": 3.0}


@on_a_loop
async def test_a_sender_that_ignores_its_credit_is_cut_off() -> None:
    async with host("mainpc", Streaming(counting)) as here, host("pc2") as there:
        await there.join(here)
        reply = await replied(there.pool.exchange(open_it(0, credit=4), "mainpc"))
        assert isinstance(reply.items, Inflow)
        await rest(reply.items)
        reply = await replied(there.pool.exchange(open_it(None, credit=4), "mainpc"))
        assert isinstance(reply.items, Inflow)
        inflow = reply.items
        await eventually(lambda: inflow._arrived == 4)
        with pytest.raises(ProtocolError, match="more items than there is credit for"):
            inflow.put(4, b"\x01")
        with pytest.raises(MeshError, match="more items than there is credit for"):
            await rest(inflow)


@on_a_loop
async def test_open_streams_are_shown_at_both_ends() -> None:
    async with two_hosts(Streaming(waiting)) as (callee, caller):

        def shown() -> tuple[float, float]:
            return (read(caller.pool.samples())["mesh_link_streams", "mainpc"],
                    read(callee.listener.samples())["mesh_session_streams", "pc2"])

        assert shown() == (0, 0)
        reply = await replied(caller.pool.exchange(open_it(), "mainpc"))
        assert reply.items is not None
        await reply.items.__anext__()
        assert shown() == (1, 1)
        await reply.items.aclose()
        await eventually(lambda: shown() == (0, 0))
