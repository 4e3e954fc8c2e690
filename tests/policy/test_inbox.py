"""So many run at a time, so many wait in their order, the rest are told at once; nobody's leaving costs a place."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mesh.errors import Overloaded
from mesh.message import Reply, encode
from mesh.policy import inbox as module
from mesh.policy.inbox import Inbox
from mesh.testing import FakeClock
from mesh.testing.clock import settle
from tests.figures import read
from tests.policy.calls import Callee, ask, code, on_a_loop
from tests.policy.passages import behind


class Queue:
    """An inbox before a callee, and the calls that were made."""

    def __init__(self, *, waiting: int, concurrency: int) -> None:
        self.callee = Callee()
        self.clock = FakeClock()
        self.inbox = Inbox(waiting=waiting, concurrency=concurrency, clock=self.clock)
        self._handle = behind(self.callee, self.clock, inbox=self.inbox)
        self.calls: dict[object, asyncio.Task[Reply]] = {}

    async def call(self, *names: object, caller: str = "nlu@pc2") -> None:
        for name in names:
            self.calls[name] = asyncio.ensure_future(self._made(name, caller))
        await settle()

    async def _made(self, name: object, caller: str) -> Reply:
        return await self._handle(ask(name)._replace(caller=caller))

    async def cancel(self, name: object) -> None:
        self.calls[name].cancel()
        await settle()

    def outcome(self, name: object) -> str:
        call = self.calls[name]
        return "open" if not call.done() else "cancelled" if call.cancelled() else code(call.result()) or "answered"


@on_a_loop
async def test_while_it_is_held_nothing_begins_and_nothing_is_lost() -> None:
    queue = Queue(waiting=3, concurrency=2)
    await queue.call(1)
    queue.inbox.hold()
    await queue.call(2, 3, 4, 5)
    assert (queue.callee.running, len(queue.inbox)) == ([1], 3) and queue.outcome(5) == "overloaded"
    await queue.callee.answer(1)
    assert (queue.callee.running, queue.inbox.running) == ([], 0)
    await queue.cancel(3)
    queue.inbox.release()
    await settle()
    assert queue.callee.running == [2, 4]
    for name in (2, 4):
        await queue.callee.answer(name)
    assert [queue.outcome(name) for name in (1, 2, 3, 4)] == ["answered", "answered", "cancelled", "answered"]
    assert (queue.inbox.running, len(queue.inbox)) == (0, 0)


@on_a_loop
async def test_to_release_what_is_not_held_changes_nothing() -> None:
    queue = Queue(waiting=10, concurrency=1)
    await queue.call(1, 2)
    queue.inbox.release()
    await settle()
    assert queue.callee.running == [1]


@on_a_loop
async def test_so_many_run_at_a_time_and_the_others_take_their_turns_in_order() -> None:
    queue = Queue(waiting=10, concurrency=2)
    await queue.call(1, 2, 3, 4, 5)
    assert (queue.callee.running, len(queue.inbox), queue.inbox.running) == ([1, 2], 3, 2)
    await queue.callee.answer(2)
    assert queue.callee.running == [1, 3]
    for name in (1, 3, 4, 5):
        await queue.callee.answer(name)
    assert queue.callee.begun == [1, 2, 3, 4, 5]
    assert (queue.inbox.running, len(queue.inbox)) == (0, 0)
    assert [queue.calls[name].result().value() for name in (1, 2, 3, 4, 5)] == [1, 2, 3, 4, 5]


@on_a_loop
async def test_when_the_inbox_is_full_a_call_is_told_at_once_when_to_try_again() -> None:
    queue = Queue(waiting=2, concurrency=1)
    await queue.call(1, 2, 3, 4)
    assert queue.outcome(4) == "overloaded"
    error = queue.calls[4].result().error
    assert isinstance(error, Overloaded)
    assert error.message == "kb takes no more calls now: 2 calls wait already; try again later"
    assert error.details["retry_after"] > 0
    await queue.callee.answer(1)
    await queue.call(5)
    assert queue.outcome(5) == "open"
    for name in (2, 3, 5):
        await queue.callee.answer(name)
    assert queue.callee.begun == [1, 2, 3, 5]


@on_a_loop
async def test_no_waiting_at_all_is_possible() -> None:
    queue = Queue(waiting=0, concurrency=1)
    await queue.call(1, 2)
    assert queue.outcome(2) == "overloaded"
    await queue.callee.answer(1)
    await queue.call(3)
    await queue.callee.answer(3)
    assert queue.outcome(3) == "answered"


@on_a_loop
async def test_arguments_are_bounded_by_their_bytes_and_one_larger_body_is_let_in_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BYTES", 1000)
    queue = Queue(waiting=10, concurrency=2)
    large, small, more = "L" * 5000, "s" * 400, "m" * 700
    await queue.call(large)
    assert queue.callee.running == [large]
    await queue.call(small)
    assert queue.outcome(small) == "overloaded"
    error = queue.calls[small].result().error
    assert error is not None
    assert "MiB of arguments wait already" in error.message
    await queue.callee.answer(large)
    await queue.call(small, more)
    assert (queue.outcome(small), queue.outcome(more)) == ("open", "overloaded")
    await queue.callee.answer(small)
    await queue.call(more)
    assert queue.callee.running == [more]
    await queue.callee.answer(more)


@on_a_loop
async def test_a_callee_that_raises_gives_its_place_and_bytes_back() -> None:
    queue = Queue(waiting=1, concurrency=1)
    await queue.call(1, 2)
    await queue.callee.fail(1, KeyError("lost"))
    assert isinstance(queue.calls[1].exception(), KeyError)
    assert queue.callee.running == [2]
    await queue.callee.answer(2)
    assert (queue.inbox.running, queue.inbox._bytes) == (0, 0)


@on_a_loop
async def test_a_running_call_that_is_cancelled_gives_its_place_to_the_next() -> None:
    queue = Queue(waiting=1, concurrency=1)
    await queue.call(1, 2)
    await queue.cancel(1)
    assert (queue.callee.cancelled, queue.callee.running) == ([1], [2])
    await queue.callee.answer(2)


@on_a_loop
async def test_a_waiting_call_that_is_cancelled_leaves_the_queue_and_is_not_run() -> None:
    queue = Queue(waiting=3, concurrency=1)
    await queue.call(1, 2, 3)
    await queue.cancel(2)
    assert (len(queue.inbox), queue.outcome(2)) == (1, "cancelled")
    await queue.callee.answer(1)
    await queue.callee.answer(3)
    assert queue.callee.begun == [1, 3]


@on_a_loop
async def test_a_call_cancelled_just_when_it_got_its_turn_passes_it_on() -> None:
    queue = Queue(waiting=3, concurrency=1)
    await queue.call(1, 2, 3)
    queue.callee._open[1].set_result(Reply(encode(None)))
    while len(queue.inbox) == 2:  # until the turn of 2 is given, before its task runs again
        await settle(1)
    await queue.cancel(2)
    assert (queue.outcome(2), queue.callee.running) == ("cancelled", [3])
    await queue.callee.answer(3)
    assert queue.inbox.running == 0


@on_a_loop
async def test_a_place_that_comes_free_in_the_turn_of_a_cancellation_goes_to_the_next() -> None:
    queue = Queue(waiting=3, concurrency=1)
    await queue.call(1, 2, 3)
    queue.calls[2].cancel()
    queue.inbox._release()  # 1 ends before the task of 2 gets to know that it was cancelled
    await settle()
    assert queue.outcome(2) == "cancelled"
    assert queue.callee.running == [1, 3]


class Fairness(RuleBasedStateMachine):
    """Whatever is made, answered and cancelled in whatever order: bounds hold, order holds, no place is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.queue = Queue(waiting=3, concurrency=2)
        self.number = 0
        self.refused: set[int] = set()
        self.of: dict[object, str] = {}

    def run(self, coroutine: object) -> None:
        self.loop.run_until_complete(coroutine)  # type: ignore[arg-type]

    @rule(count=st.integers(1, 4), caller=st.sampled_from(["a@pc2", "b@pc2", "c@pc2"]))
    def make(self, count: int, caller: str) -> None:
        names = [self.number + step for step in range(1, count + 1)]
        self.number += count
        self.of.update(dict.fromkeys(names, caller))
        self.run(self.queue.call(*names, caller=caller))
        self.refused |= {name for name in names if self.queue.outcome(name) == "overloaded"}

    @rule(choice=st.integers(0, 10))
    def answer(self, choice: int) -> None:
        running = self.queue.callee.running
        if running:
            self.run(self.queue.callee.answer(running[choice % len(running)]))

    @rule(choice=st.integers(0, 100))
    def cancel(self, choice: int) -> None:
        left = [name for name in self.queue.calls if self.queue.outcome(name) == "open"]
        if left:
            self.run(self.queue.cancel(left[choice % len(left)]))

    @rule(choice=st.integers(0, 100))
    def cancel_and_answer_at_once(self, choice: int) -> None:
        left = [name for name in self.queue.calls if self.queue.outcome(name) == "open"]
        running = self.queue.callee.running
        if left and running:
            self.queue.calls[left[choice % len(left)]].cancel()
            future = self.queue.callee._open[running[0]]
            if not future.done():
                future.set_result(Reply(encode(None)))
            self.run(settle())

    @invariant()
    def bounds_hold(self) -> None:
        inbox, callee = self.queue.inbox, self.queue.callee
        assert inbox.running == len(callee.running) <= 2
        assert len(inbox) <= 3
        assert not len(inbox) or inbox.running == 2, "nobody waits while a place is free"
        for caller in "abc":
            begun = [name for name in callee.begun if self.of[name] == f"{caller}@pc2"]
            assert begun == sorted(begun), "of one caller, first come, first served"  # type: ignore[type-var]

    def teardown(self) -> None:
        while self.queue.callee.running:
            self.run(self.queue.callee.answer(self.queue.callee.running[0]))
        assert (self.queue.inbox.running, len(self.queue.inbox), self.queue.inbox._bytes) == (0, 0, 0)
        for name in self.queue.calls:
            assert self.queue.outcome(name) in ("answered", "cancelled", "overloaded")
            assert (name in self.refused) == (self.queue.outcome(name) == "overloaded")
        self.loop.close()


TestFairness = Fairness.TestCase
TestFairness.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@on_a_loop
async def test_callers_take_turns_however_many_calls_one_has_waiting() -> None:
    queue = Queue(waiting=100, concurrency=1)
    await queue.call("running")
    await queue.call(*(f"flood {number}" for number in range(50)), caller="flood@pc2")
    await queue.call("a 1", "a 2", caller="a@pc2")
    await queue.call("b 1", caller="b@mainpc")
    for _ in range(6):
        await queue.callee.answer(queue.callee.running[0])
    assert queue.callee.begun == ["running", "flood 0", "a 1", "b 1", "flood 1", "a 2", "flood 2"]
    for _ in range(48):
        await queue.callee.answer(queue.callee.running[0])
    assert (queue.inbox.running, len(queue.inbox)) == (0, 0)


@on_a_loop
async def test_a_flood_of_one_caller_leaves_places_for_others() -> None:
    queue = Queue(waiting=90, concurrency=1)
    await queue.call("running")
    await queue.call(*(f"flood {number}" for number in range(200)), caller="flood@pc2")
    assert len(queue.inbox) == 80, "eight times as many as there are places left"
    error = queue.calls["flood 199"].result().error
    assert isinstance(error, Overloaded)
    assert error.message == "kb takes no more calls now: 80 calls of flood@pc2 wait already; try again later"
    await queue.call(*(f"other {number}" for number in range(9)), caller="other@pc2")
    assert len(queue.inbox) == 89 and queue.outcome("other 8") == "open"
    assert read(queue.inbox.samples("kb"))["mesh_inbox_refused_total", "kb"] == 120
    for call in queue.calls.values():
        call.cancel()
    await settle()
    assert (queue.inbox.running, len(queue.inbox)) == (0, 0)


@on_a_loop
async def test_a_queue_that_stands_is_shed_and_one_that_is_empty_is_not() -> None:
    queue = Queue(waiting=1000, concurrency=1)
    queue.inbox.patience = lambda operation: 0.1
    await queue.call("running")
    await queue.call(*range(120))
    for number in range(100):
        await queue.clock.advance(0.05)
        await queue.callee.answer(queue.callee.running[0])
        await queue.call(200 + number)
    assert queue.outcome(299) == "overloaded"
    error = queue.calls[299].result().error
    assert error is not None and "this one would wait too long" in error.message
    assert 0 < error.details["retry_after"] <= 5
    shown = read(queue.inbox.samples("kb"))
    assert shown["mesh_shed_total", "kb"] == queue.inbox.shed.refused > 0
    while queue.callee.running:
        await queue.callee.answer(queue.callee.running[0])
    await queue.call("after", "and after")
    assert (queue.outcome("after"), queue.outcome("and after")) == ("open", "open")
    await queue.callee.answer("after")
    await queue.callee.answer("and after")


@on_a_loop
async def test_those_who_turn_out_to_wait_in_vain_are_told_before_their_deadline() -> None:
    queue = Queue(waiting=1000, concurrency=1)
    queue.inbox.patience = lambda operation: 0.1 if operation == "find" else None
    await queue.call("running")
    for name in range(40):
        queue.calls[name] = asyncio.ensure_future(queue._handle(ask(name, deadline=1003.0)))
    last = asyncio.ensure_future(queue._handle(ask("patient", target="kb.wait", deadline=1003.0)))
    await settle()
    for _ in range(8):
        await queue.clock.advance(0.1)
        await queue.callee.answer(queue.callee.running[0])
    told = [name for name in range(40) if queue.outcome(name) == "overloaded"]
    assert told == list(range(28, 40)), "at a turn each tenth of a second those behind would come too late"
    assert not last.done(), "an operation that is not shed waits on"
    while queue.callee.running:
        await queue.callee.answer(queue.callee.running[0])
    assert (queue.inbox.running, len(queue.inbox)) == (0, 0)
    assert queue.callee.begun == ["running", *range(28), "patient"]


@on_a_loop
async def test_a_smaller_concurrency_counts_as_those_that_run_end() -> None:
    queue = Queue(waiting=10, concurrency=3)
    await queue.call(1, 2, 3, 4, 5)
    queue.inbox.resize(waiting=1, concurrency=1)
    await queue.callee.answer(1)
    await queue.callee.answer(2)
    assert (queue.callee.begun, queue.inbox.running) == ([1, 2, 3], 1)
    await queue.callee.answer(3)
    assert (queue.callee.begun, queue.inbox.running) == ([1, 2, 3, 4], 1)
    await queue.call(6)
    assert queue.outcome(6) == "overloaded"


@on_a_loop
async def test_what_waits_and_how_long_it_waited_is_shown() -> None:
    queue = Queue(waiting=10, concurrency=1)
    await queue.call(1)
    await queue.callee.answer(1)
    assert ("mesh_inbox_wait_seconds", "kb") not in read(queue.inbox.samples("kb")), "none had to wait"
    await queue.call(2, 3, 4)
    shown = read(queue.inbox.samples("kb"))
    assert (shown["mesh_inbox_waiting", "kb"], shown["mesh_inbox_running", "kb"]) == (2, 1)
    assert shown["mesh_inbox_bytes", "kb"] == 3 * len(ask(2).body)
    await queue.clock.advance(2.0)
    await queue.callee.answer(2)
    await queue.clock.advance(1.0)
    await queue.cancel(4)
    shown = read(queue.inbox.samples("kb"))
    assert shown["mesh_inbox_wait_seconds", "kb"] == 2.0 + 3.0
    assert shown["mesh_inbox_waiting", "kb"] == 0
