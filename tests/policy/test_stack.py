"""The onions are put together in the order that keeps their promises."""

from __future__ import annotations

import asyncio

from mesh.message import Reply, Request
from mesh.policy.deadline import DeadlineGuard
from mesh.policy.inbox import Inbox
from mesh.policy.measure import CallStats
from mesh.policy.stack import incoming, outgoing
from mesh.testing import FakeClock
from mesh.testing.clock import settle
from mesh.tracing import SpanRing
from mesh.transport.deadlines import Deadlines
from tests.policy.calls import Callee, ask, code, on_a_loop


class Cell:
    """Everything a request passes on its way to a method, with room for one that runs and one that waits."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.callee = Callee()
        self.stats = CallStats()
        self.inbox = Inbox(waiting=1, concurrency=1)
        self._handle = incoming(
            self.callee, stats=self.stats, spans=SpanRing(), host="pc2", inbox=self.inbox,
            guard=DeadlineGuard(Deadlines(self.clock), self.clock), clock=self.clock,
        )

    async def call(self, request: Request) -> asyncio.Task[Reply]:
        async def made() -> Reply:
            return await self._handle(request)

        task = asyncio.ensure_future(made())
        await settle()
        return task


@on_a_loop
async def test_a_call_whose_deadline_passed_while_it_waited_is_not_begun() -> None:
    cell = Cell()
    running = await cell.call(ask(1, deadline=1100.0))
    waiting = await cell.call(ask(2, deadline=1001.0))
    await cell.clock.advance(5)
    assert not waiting.done()
    await cell.callee.answer(1)
    assert code(await running) == ""
    reply = await waiting
    assert reply.error is not None
    assert (code(reply), reply.error.details) == ("deadline_exceeded", {"began": "no"})
    assert cell.callee.begun == [1]


@on_a_loop
async def test_a_call_stopped_at_its_deadline_gives_its_place_to_the_next() -> None:
    cell = Cell()
    slow = await cell.call(ask(1, deadline=1001.0))
    await cell.call(ask(2, deadline=1100.0))
    await cell.clock.advance(2)
    assert code(await slow) == "deadline_exceeded"
    assert cell.callee.running == [2]
    await cell.callee.answer(2)


@on_a_loop
async def test_refused_calls_are_measured_too() -> None:
    cell = Cell()
    for number in range(3):
        last = await cell.call(ask(number))
    assert code(await last) == "overloaded"
    assert (cell.stats.calls, cell.stats.errors) == (1, 1)
    await cell.callee.answer(0)
    await cell.callee.answer(1)
    assert (cell.stats.calls, cell.stats.errors) == (3, 1)


@on_a_loop
async def test_a_circle_is_refused_before_anything_is_looked_up() -> None:
    asked: list[Request] = []

    async def resolve(request: Request) -> Reply:
        asked.append(request)
        return Reply(request.body)

    handler = outgoing(resolve)
    assert code(await handler(ask(target="kb.find", path=("kb.find",)))) == "call_cycle"
    assert (await handler(ask("x", target="kb.add", path=("kb.find",)))).value() == "x"
    assert len(asked) == 1
