"""What stands in front of a cell's method: what is answered at once, and what becomes of a call that has to wait."""

from __future__ import annotations

import asyncio

from mesh.errors import Unavailable
from mesh.message import Answer, Reply, Request, encode
from mesh.policy.answering import Answering
from mesh.policy.deadline import DeadlineGuard
from mesh.policy.inbox import Inbox
from mesh.policy.measure import CallStats, Measure
from mesh.policy.turn import Turn
from mesh.testing import FakeClock
from mesh.testing.clock import settle
from mesh.tracing import SpanRing, Trace
from mesh.transport.deadlines import Deadlines
from tests.policy.calls import Callee, ask, code, on_a_loop


class Cell:
    """A cell with two operations: `find` never waits, `add` does."""

    def __init__(self, *, waiting: int = 4, concurrency: int = 1, turn: bool = False) -> None:
        self.clock = FakeClock()
        self.callee = Callee()
        self.stats = CallStats()
        self.spans = SpanRing()
        self.found: list[object] = []
        self.seconds = 0.0
        self.fails = False
        self.inbox = Inbox(waiting=waiting, concurrency=concurrency, clock=self.clock,
                           turn=Turn(self.clock) if turn else None)
        self.answer = Answering(
            self._method, inbox=self.inbox, guard=DeadlineGuard(Deadlines(self.clock), self.clock), clock=self.clock,
            measure=Measure(self.stats, self.spans, "pc2", self.clock), prompt=lambda operation: operation == "find",
        )

    def _method(self, request: Request) -> Answer:
        if request.operation != "find":
            return self.callee(request)
        self.found.append(Reply(request.body).value())
        self.clock._go_to(self.clock.monotonic() + self.seconds)
        return self._told() if self.fails else Reply(encode("found"))

    async def _told(self) -> Reply:
        await asyncio.sleep(0)
        return Reply(error=Unavailable("nothing there"))

    def add(self, name: object) -> asyncio.Task[Reply]:
        answer = self.answer(ask(name, target="kb.add"))
        assert asyncio.iscoroutine(answer)
        return asyncio.ensure_future(answer)


@on_a_loop
async def test_what_never_waits_is_answered_at_once_and_counted() -> None:
    cell = Cell()
    reply = cell.answer(ask(1, trace=Trace.new(sampled=True)))
    assert isinstance(reply, Reply) and (reply.value(), reply.host) == ("found", "pc2")
    assert (cell.stats.calls, cell.stats.errors, cell.inbox.running, len(list(cell.spans))) == (1, 0, 0, 1)


@on_a_loop
async def test_it_waits_for_its_turn_without_a_task_when_others_have_the_places() -> None:
    cell = Cell()
    running = cell.add(1)
    await settle()
    before = asyncio.all_tasks()
    answers = [cell.answer(ask(number)) for number in (2, 3)]
    assert asyncio.all_tasks() == before and cell.found == [] and len(cell.inbox) == 2
    await cell.clock.advance(1.0)
    await cell.callee.answer(1)
    assert code(await running) == "" and cell.found == [2, 3]
    assert all(isinstance(answer, asyncio.Future) and answer.result().value() == "found" for answer in answers)
    assert (cell.inbox.running, len(cell.inbox), cell.inbox._bytes) == (0, 0, 0)
    assert cell.stats.operations["find"].latency.sum >= 2.0, "the second it waited counts"


@on_a_loop
async def test_one_that_was_given_up_while_it_waited_is_not_begun() -> None:
    cell = Cell()
    running = cell.add(1)
    await settle()
    given_up, other = cell.answer(ask(2)), cell.answer(ask(3))
    assert isinstance(given_up, asyncio.Future) and isinstance(other, asyncio.Future)
    given_up.cancel()
    await settle()
    assert len(cell.inbox) == 1
    await cell.callee.answer(1)
    assert code(await other) == code(await running) == "" and cell.found == [3]
    assert (cell.inbox.running, len(cell.inbox), cell.inbox._bytes) == (0, 0, 0)


@on_a_loop
async def test_one_that_is_given_up_just_as_its_turn_comes_gives_its_place_on() -> None:
    cell = Cell()
    running = cell.add(1)
    await settle()
    given_up = cell.answer(ask(2))
    assert isinstance(given_up, asyncio.Future)
    cell.callee._open[1].set_result(Reply())
    for _ in range(100):
        if not len(cell.inbox):
            break
        await asyncio.sleep(0)
    given_up.cancel()
    await settle()
    assert running.done() and cell.found == [] and cell.inbox.running == 0
    assert code(await _replied(cell.answer(ask(3)))) == ""


@on_a_loop
async def test_a_deadline_that_passes_in_the_queue_means_that_it_has_not_begun() -> None:
    cell = Cell()
    running = cell.add(1)
    await settle()
    late = cell.answer(ask(2, deadline=1001.0))
    await cell.clock.advance(5.0)
    await cell.callee.answer(1)
    reply = await _replied(late)
    assert reply.error is not None and (reply.error.code, reply.error.details["began"]) == ("deadline_exceeded", "no")
    assert cell.found == [] and code(await running) == ""


@on_a_loop
async def test_the_door_refuses_at_once_what_finds_no_room() -> None:
    cell = Cell(waiting=1)
    running = cell.add(1)
    await settle()
    waits = cell.answer(ask(2))
    refused = [cell.answer(ask(3)), cell.answer(ask(4, target="kb.add"))]
    assert all(isinstance(reply, Reply) and code(reply) == "overloaded" for reply in refused)
    assert cell.stats.operations["find"].errors == {"overloaded": 1}
    await cell.callee.answer(1)
    assert code(await _replied(waits)) == code(await running) == ""


@on_a_loop
async def test_an_error_that_is_yet_to_be_told_is_awaited_and_counted_once() -> None:
    cell = Cell()
    cell.fails = True
    assert code(await _replied(cell.answer(ask(1)))) == "unavailable"
    running = cell.add(2)
    await settle()
    waits = cell.answer(ask(3))
    await cell.callee.answer(2)
    assert code(await _replied(waits)) == "unavailable" and code(await running) == ""
    assert cell.stats.operations["find"].errors == {"unavailable": 2} and cell.stats.calls == 3


@on_a_loop
async def test_a_turn_of_the_loop_begins_no_more_than_it_has_time_for() -> None:
    cell = Cell(waiting=1000, concurrency=64, turn=True)
    cell.seconds = 0.001
    answers = [cell.answer(ask(number)) for number in range(10)]
    at_once = [answer for answer in answers if isinstance(answer, Reply)]
    assert 1 <= len(at_once) <= 3, "a turn is 2 ms"
    assert {code(await _replied(answer)) for answer in answers} == {""}
    assert cell.found == list(range(10)), "in order"


async def _replied(answer: Answer) -> Reply:
    async with asyncio.timeout(10):
        return answer if isinstance(answer, Reply) else await answer
