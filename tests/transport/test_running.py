"""Every request that was started is answered exactly once, however it ends."""

from __future__ import annotations

import asyncio

import pytest

from mesh.errors import Cancelled, ProtocolError, RemoteFailure
from mesh.message import Reply, Request, encode
from mesh.testing.clock import settle
from mesh.transport.outflow import BURST, ITEMS, Outflow, Share
from mesh.transport.running import Running
from mesh.wire import LEAST_SHARE
from tests.transport.ends import ask, on_a_loop
from tests.transport.outlet import Outlet
from tests.transport.test_streams import Made, counting


class Callee:
    """A handler whose calls end when the test says so, and what was answered."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Reply]] = []
        self.open: dict[str, asyncio.Future[Reply]] = {}
        self.cancelled: list[str] = []
        self.outlet = Outlet()
        self.running = Running(
            self.handle, lambda number, request, reply: self.answers.append((number, reply)), self.outlet
        )

    async def handle(self, request: Request) -> Reply:
        self.open[request.operation] = asyncio.get_running_loop().create_future()
        try:
            return await self.open[request.operation]
        except asyncio.CancelledError:
            self.cancelled.append(request.operation)
            raise

    async def start(self, number: int, operation: str) -> None:
        self.running.start(number, ask(target=f"kb.{operation}"))
        await settle()

    def errors(self) -> list[tuple[int, str]]:
        return [(number, reply.error.code if reply.error else "") for number, reply in self.answers]


@on_a_loop
async def test_each_request_is_answered_with_its_own_result() -> None:
    callee = Callee()
    await callee.start(1, "first")
    await callee.start(2, "second")
    assert (len(callee.running), 1 in callee.running, 3 in callee.running) == (2, True, False)
    callee.open["second"].set_result(Reply(encode("b")))
    await settle()
    callee.open["first"].set_result(Reply(encode("a")))
    await settle()
    assert [(number, reply.value()) for number, reply in callee.answers] == [(2, "b"), (1, "a")]
    assert len(callee.running) == 0


@on_a_loop
async def test_what_a_handler_raises_becomes_its_answer() -> None:
    callee = Callee()
    await callee.start(1, "first")
    callee.open["first"].set_exception(KeyError("lost"))
    await settle()
    error = callee.answers[0][1].error
    assert isinstance(error, RemoteFailure)
    assert (error.details, str(error)) == ({"type": "KeyError"}, "kb.first: 'lost'")


@on_a_loop
async def test_a_cancelled_request_is_answered_so_and_no_other_is_touched() -> None:
    callee = Callee()
    await callee.start(1, "first")
    await callee.start(2, "second")
    callee.running.cancel(1)
    callee.running.cancel(77)
    await settle()
    assert callee.cancelled == ["first"]
    assert callee.errors() == [(1, "cancelled")]
    callee.open["second"].set_result(Reply())
    await settle()
    assert callee.errors() == [(1, "cancelled"), (2, "")]


@on_a_loop
async def test_a_request_cancelled_before_its_first_step_is_answered_as_well() -> None:
    callee = Callee()
    callee.running.start(1, ask())
    callee.running.cancel(1)
    await settle()
    assert callee.errors() == [(1, "cancelled")]
    assert (callee.open, len(callee.running)) == ({}, 0)


@on_a_loop
async def test_cancelling_twice_answers_once() -> None:
    callee = Callee()
    await callee.start(1, "first")
    callee.running.cancel(1)
    callee.running.cancel(1)
    await settle()
    callee.running.cancel(1)
    await settle()
    assert callee.errors() == [(1, "cancelled")]


@on_a_loop
async def test_a_handler_that_finishes_in_spite_of_the_cancellation_answers_with_its_result() -> None:
    answers: list[Reply] = []
    begun = asyncio.Event()

    async def stubborn(request: Request) -> Reply:
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await settle(1)
        return Reply(encode("done"))

    running = Running(stubborn, lambda number, request, reply: answers.append(reply), Outlet())
    running.start(1, ask())
    await begun.wait()
    running.cancel(1)
    await settle()
    assert [reply.value() for reply in answers] == ["done"]


@on_a_loop
async def test_a_handler_that_cancels_itself_is_answered() -> None:
    answers: list[Reply] = []

    async def suicidal(request: Request) -> Reply:
        raise asyncio.CancelledError

    running = Running(suicidal, lambda number, request, reply: answers.append(reply), Outlet())
    running.start(1, ask())
    await settle()
    assert [type(reply.error) for reply in answers] == [Cancelled]


@on_a_loop
async def test_all_are_cancelled_when_the_peer_goes() -> None:
    callee = Callee()
    for number in range(5):
        await callee.start(number, f"op{number}")
    callee.running.cancel_all()
    await settle()
    assert callee.errors() == [(number, "cancelled") for number in range(5)]
    assert len(callee.running) == 0


# --- streams ----------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_stream_is_opened_sent_as_it_is_taken_and_ended_and_nothing_is_answered() -> None:
    callee = Callee()
    callee.running.start(1, ask(target="kb.first")._replace(credit=2))
    await settle()
    made = Made(counting(3))
    callee.open["first"].set_result(Reply(host="mainpc", items=made))
    await settle()
    assert callee.outlet.sent == [("opened", 1, "mainpc"), ("item", 1, 0, b"\x00"), ("item", 1, 1, b"\x01")]
    callee.running.grant(1, 1)
    await settle()
    assert callee.outlet.sent[3:] == [("item", 1, 2, b"\x02")]
    callee.running.grant(1, 3)
    await settle()
    assert callee.outlet.sent[4:] == [("end", 1, 3, "")]
    assert (callee.answers, made.closed, len(callee.running)) == ([], True, 0)
    callee.running.grant(1, 3)  # one that came after the end is of no interest


@on_a_loop
async def test_a_stream_that_is_cancelled_is_closed_and_ends_so() -> None:
    callee = Callee()
    callee.running.start(1, ask(target="kb.first")._replace(credit=2))
    await settle()
    made = Made(counting(None))
    callee.open["first"].set_result(Reply(items=made))
    await settle()
    callee.running.cancel(1)
    callee.running.cancel(1)
    await settle()
    assert callee.outlet.sent[-1] == ("end", 1, 2, "cancelled")
    assert (callee.answers, made.closed, len(callee.running)) == ([], True, 0)


@on_a_loop
async def test_more_than_was_sent_cannot_have_been_taken() -> None:
    flow = Outflow(4, Share(), lambda first, bodies: None)
    flow.put(bytes(10))
    flow.leave()
    with pytest.raises(ProtocolError, match="taken 2 items of 1"):
        flow.grant(2)
    flow.grant(1)
    with pytest.raises(ProtocolError, match="taken 0 items of 1"):
        flow.grant(0)


def test_streams_share_what_one_connection_may_have_on_its_way() -> None:
    share = Share()
    share.joined()
    first = Outflow(1024, share, lambda first, bodies: None)
    assert first.room == ITEMS
    share.joined()
    second = Outflow(8, share, lambda first, bodies: None)
    assert (first.room, second.room, share.burst) == (ITEMS // 2, 8, BURST // 2)
    for _ in range(1000):
        share.joined()
    assert first.room == LEAST_SHARE
    for _ in range(1001):
        share.left()
    assert first.room == ITEMS


@on_a_loop
async def test_items_of_one_turn_leave_together_within_bounds() -> None:
    left: list[tuple[int, list[int]]] = []
    flow = Outflow(1024, Share(), lambda first, bodies: left.append((first, [*map(len, bodies)])))
    for size in (100, 100, 9000, 100, *[1] * 100):
        flow.put(bytes(size))
    await settle()
    assert left == [(0, [100, 100]), (2, [9000]), (3, [100, *[1] * 63]), (67, [1] * 37)]
    flow.put(b"x")
    flow.drop()
    await settle()
    assert len(left) == 4
