"""Nothing begins after its deadline, and nothing runs past it."""

from __future__ import annotations

import asyncio

import pytest

from mesh.errors import DeadlineExceeded, Unreachable
from mesh.message import Reply, Request, encode
from mesh.policy.deadline import DeadlineGuard
from mesh.testing import FakeClock
from mesh.testing.clock import settle
from mesh.transport.deadlines import BUCKET, Deadlines
from tests.policy.calls import Callee, ask, code, on_a_loop
from tests.policy.passages import behind


class Guarded:
    """A guard before a callee."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.callee = Callee()
        self.guard = DeadlineGuard(Deadlines(self.clock), self.clock)
        self.handle = behind(self.callee, self.clock, guard=self.guard)

    def call(self, request: Request) -> asyncio.Task[Reply]:
        async def made() -> Reply:
            return await self.handle(request)

        return asyncio.ensure_future(made())


@on_a_loop
async def test_a_call_in_time_is_not_touched() -> None:
    it = Guarded()
    call = it.call(ask(1, deadline=1005.0))
    await settle()
    assert len(it.guard) == 1
    await it.clock.advance(4.9)
    await it.callee.answer(1)
    assert (await call).value() == 1
    await it.clock.advance(10)
    assert (len(it.guard), it.callee.cancelled) == (0, [])


@pytest.mark.parametrize("deadline", [1000.0, 999.0, 0.0, -5.0])
@on_a_loop
async def test_a_call_that_comes_too_late_is_not_begun(deadline: float) -> None:
    it = Guarded()
    error = (await it.call(ask(1, deadline=deadline))).error
    assert isinstance(error, DeadlineExceeded)
    assert error.details == {"began": "no"}
    assert error.message == "kb.find was not begun: its deadline had passed when its turn came"
    assert it.callee.begun == []


@on_a_loop
async def test_a_call_that_takes_too_long_is_cancelled_at_its_deadline() -> None:
    it = Guarded()
    call, other = it.call(ask(1, deadline=1001.0)), it.call(ask(2, deadline=1010.0))
    await settle()
    await it.clock.advance(1.0 - 0.001)
    assert it.callee.cancelled == []
    await it.clock.advance(0.001 + BUCKET)
    error = (await call).error
    assert isinstance(error, DeadlineExceeded)
    assert error.details == {"began": "yes"}
    assert (it.callee.cancelled, it.callee.running) == ([1], [2])
    await it.callee.answer(2)
    assert (await other).value() == 2


@on_a_loop
async def test_a_callee_that_answers_in_spite_of_its_cancellation_is_heard() -> None:
    it = Guarded()

    async def stubborn(request: Request) -> Reply:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return Reply(encode("saved"))
        raise AssertionError("never set")

    it.handle = behind(stubborn, it.clock, guard=it.guard)
    call = it.call(ask(1, deadline=1001.0))
    await settle()
    await it.clock.advance(2)
    assert (await call).value() == "saved"


@on_a_loop
async def test_a_cancellation_by_the_caller_stays_one() -> None:
    it = Guarded()
    call = it.call(ask(1, deadline=1001.0))
    await settle()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert it.callee.cancelled == [1]
    await it.clock.advance(5)
    assert len(it.guard) == 0


@on_a_loop
async def test_a_task_that_was_stopped_at_its_deadline_is_not_cancelled_any_more() -> None:
    it = Guarded()
    seen: list[int] = []

    async def go_on() -> str:
        reply = await it.handle(ask(1, deadline=1001.0))
        await settle()
        task = asyncio.current_task()
        assert task is not None
        seen.append(task.cancelling())
        return code(reply)

    task = asyncio.ensure_future(go_on())
    await settle()
    await it.clock.advance(2)
    assert (await task, seen) == ("deadline_exceeded", [0])


@on_a_loop
async def test_an_error_of_the_callee_passes() -> None:
    it = Guarded()
    call = it.call(ask(1))
    await settle()
    await it.callee.fail(1, KeyError("x"))
    with pytest.raises(KeyError):
        await call
    assert len(it.guard) == 0


@on_a_loop
async def test_those_that_are_cancelled_may_be_answered_with_an_error() -> None:
    it = Guarded()
    call, given_up = it.call(ask(1)), it.call(ask(2))
    await settle()
    it.guard.cancel_all(lambda request: Unreachable(f"{request.target}: its process ended", began="unknown"))
    given_up.cancel()
    reply = await call
    assert isinstance(reply.error, Unreachable) and reply.error.message == "kb.find: its process ended"
    assert set(it.callee.cancelled) == {1, 2} and len(it.guard) == 0


@on_a_loop
async def test_all_but_the_asking_request_can_be_cancelled() -> None:
    it = Guarded()
    calls = [it.call(ask(number)) for number in (1, 2)]
    await settle()

    async def cancelling(request: Request) -> Reply:
        it.guard.cancel_all()
        await settle()
        return Reply(encode("done"))

    it.handle = behind(cancelling, it.clock, guard=it.guard)
    assert (await it.call(ask(3))).value() == "done"
    assert set(it.callee.cancelled) == {1, 2}
    assert all(call.cancelled() for call in calls)
