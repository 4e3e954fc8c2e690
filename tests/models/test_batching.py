"""Batches: when they leave, who is in them, and that everybody gets exactly their own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import InvalidArgument, InvalidResult, Overloaded, Unavailable
from mesh.models import Batched, BatchQueue
from mesh.models.batched import MAX_WAITING
from mesh.testing import FakeClock
from mesh.testing.clock import settle

MAX_WAIT = 0.010


@pytest.mark.parametrize(
    ("ages_ms", "due_ms"),
    [([], None), ([0], 10), ([4], 6), ([10], 0), ([25], 0), ([9, 1], 1), ([0, 0, 0], 0), ([0, 0, 0, 0], 0)],
)
def test_when_a_batch_of_three_that_waits_10_ms_leaves(ages_ms: list[int], due_ms: int | None) -> None:
    queue: BatchQueue[int] = BatchQueue(3, MAX_WAIT)
    for age in ages_ms:
        queue.add(age, "somebody", 100.0 - age / 1000)
    due = queue.due(100.0)
    assert due_ms is None if due is None else round(due * 1000, 3) == due_ms


def test_callers_take_turns_each_in_its_own_order() -> None:
    queue: BatchQueue[str] = BatchQueue(4, MAX_WAIT)
    for number in range(6):
        queue.add(f"greedy {number}", "greedy", 0.0)
    queue.add("modest 0", "modest", 0.0)
    queue.add("late 0", "late", 0.0)
    assert [one.item for one in queue.take()] == ["greedy 0", "modest 0", "late 0", "greedy 1"]
    queue.add("modest 1", "modest", 0.0)
    assert [one.item for one in queue.take()] == ["greedy 2", "modest 1", "greedy 3", "greedy 4"]
    assert [one.item for one in queue.take()] == ["greedy 5"]
    assert queue.due(0.0) is None


class Model:
    """A function of many items that takes `seconds` of a clock, and remembers its batches."""

    def __init__(self, clock: FakeClock, seconds: float = 0.0) -> None:
        self.batches: list[tuple[float, list[Any]]] = []
        self.ended = 0
        self._clock = clock
        self._seconds = seconds

    async def __call__(self, items: list[Any]) -> list[Any]:
        self.batches.append((self._clock.monotonic(), items))
        if self._seconds:
            await self._clock.sleep(self._seconds)
        self.ended += 1
        return [ValueError(f"not {item}") if item == "bad" else f"<{item}>" for item in items]


def scene(
    work: Callable[[FakeClock, Model, Batched[Any, Any]], Awaitable[None]], *, seconds: float = 0.0,
    max_batch: int = 4, max_wait: float = MAX_WAIT, parallel: int = 1,
) -> None:
    async def scenario() -> None:
        clock = FakeClock()
        model = Model(clock, seconds)

        async def ask(items: list[Any]) -> list[Any]:
            return await model(items)

        await work(clock, model, Batched(ask, max_batch=max_batch, max_wait=max_wait, parallel=parallel, clock=clock,
                                         run=asyncio.to_thread))

    asyncio.run(scenario())


def test_a_full_batch_leaves_at_once_and_the_rest_when_its_time_is_up() -> None:
    async def work(clock: FakeClock, model: Model, batched: Batched[Any, Any]) -> None:
        calls = [asyncio.ensure_future(batched(number)) for number in range(6)]
        await settle()
        assert [items for _, items in model.batches] == [[0, 1, 2, 3]]
        await clock.advance(MAX_WAIT)
        assert await asyncio.gather(*calls) == [f"<{number}>" for number in range(6)]
        assert [items for _, items in model.batches] == [[0, 1, 2, 3], [4, 5]]
        assert (batched.batches, batched.items) == (2, 6)

    scene(work)


def test_what_comes_while_the_model_works_leaves_together_afterwards() -> None:
    async def work(clock: FakeClock, model: Model, batched: Batched[Any, Any]) -> None:
        first = asyncio.ensure_future(batched("a"))
        await settle()
        others = [asyncio.ensure_future(batched(item)) for item in "bcd"]
        await clock.advance(0.5)
        assert len(model.batches) == 1
        await clock.advance(2.0)
        assert await asyncio.gather(first, *others) == ["<a>", "<b>", "<c>", "<d>"]
        assert [items for _, items in model.batches] == [["a"], ["b", "c", "d"]]

    scene(work, seconds=1.0, max_wait=0.0)


def test_an_error_of_one_item_is_its_callers_alone() -> None:
    async def work(clock: FakeClock, model: Model, batched: Batched[Any, Any]) -> None:
        found = await asyncio.gather(*(batched(item) for item in ("a", "bad", "b", "c")), return_exceptions=True)
        assert [str(one) for one in found] == ["<a>", "not bad", "<b>", "<c>"]
        assert isinstance(found[1], ValueError)

    scene(work)


def test_what_the_model_raises_is_raised_for_all_and_the_next_batch_works() -> None:
    async def scenario() -> None:
        failing = True

        def model(items: list[int]) -> list[int]:
            if failing:
                raise SystemExit(3)
            return items

        batched: Batched[int, int] = Batched(model, max_batch=2, max_wait=0, clock=FakeClock(), run=guarded)
        found = await asyncio.gather(batched(1), batched(2), return_exceptions=True)
        assert [type(one) for one in found] == [RuntimeError] * 2
        failing = False
        assert await batched(3) == 3

    async def guarded(function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except SystemExit as error:
            raise RuntimeError("as a runner's thread does") from error

    asyncio.run(scenario())


@pytest.mark.parametrize("answer", [[1], [1, 2, 3], None, "ab", 5])
def test_a_list_of_another_length_is_nobodys_answer(answer: Any) -> None:
    async def scenario() -> None:
        async def model(items: list[int]) -> Any:
            return answer

        batched: Batched[int, int] = Batched(model, max_batch=2, max_wait=9, clock=FakeClock(), run=asyncio.to_thread)
        found = await asyncio.gather(batched(1), batched(2), return_exceptions=True)
        assert [type(one) for one in found] == [InvalidResult] * 2

    asyncio.run(scenario())


def test_a_caller_that_gives_up_takes_its_item_along() -> None:
    async def work(clock: FakeClock, model: Model, batched: Batched[Any, Any]) -> None:
        calls = [asyncio.ensure_future(batched(item)) for item in "abc"]
        await settle()
        calls[1].cancel()
        await clock.advance(MAX_WAIT)
        assert await calls[0] == "<a>" and await calls[2] == "<c>"
        assert [items for _, items in model.batches] == [["a", "c"]]

    scene(work)


def test_a_batch_that_nobody_waits_for_any_more_is_cancelled_and_others_go_on() -> None:
    async def work(clock: FakeClock, model: Model, batched: Batched[Any, Any]) -> None:
        calls = [asyncio.ensure_future(batched(item)) for item in "abcd"]
        await settle()
        calls[0].cancel()
        await clock.advance(0.5)
        assert len(model.batches) == 1 and not calls[1].done()
        for call in calls:
            call.cancel()
        later = asyncio.ensure_future(batched("e"))
        await clock.advance(2.0)
        assert await later == "<e>"
        assert model.ended == 1  # of the second batch alone

    scene(work, seconds=1.0)


def test_more_than_may_wait_are_refused() -> None:
    async def work(clock: FakeClock, model: Model, batched: Batched[Any, Any]) -> None:
        calls = [asyncio.ensure_future(batched(number)) for number in range(MAX_WAITING + 4)]
        await settle()
        with pytest.raises(Overloaded) as caught:
            await batched("one more")
        assert caught.value.details["retry_after"] > 0
        batched.close()
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(one) for one in found} == {Unavailable}
        with pytest.raises(Unavailable):
            await batched("after the end")

    scene(work, seconds=1.0)


@pytest.mark.parametrize(("name", "value"), [("max_batch", 0), ("max_wait", -1.0), ("parallel", 0)])
def test_bounds_that_cannot_be_are_refused(name: str, value: Any) -> None:
    bounds: dict[str, Any] = {"max_batch": 1, "max_wait": 0.0, "parallel": 1, name: value}
    with pytest.raises(InvalidArgument):
        Batched(lambda items: items, clock=FakeClock(), run=asyncio.to_thread, **bounds)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.integers(1, 30)),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, max_batch=st.integers(1, 5), max_wait_ms=st.integers(0, 20), work_ms=st.integers(0, 15),
       parallel=st.integers(1, 3))
def test_each_call_gets_its_own_answer_in_time_and_no_batch_is_too_large(
    steps: list[tuple[str, int]], max_batch: int, max_wait_ms: int, work_ms: int, parallel: int
) -> None:
    """Whatever is called, cancelled and waited for: its own answer, no larger batches, no longer held back."""
    caller = "nobody"

    async def scenario() -> None:
        nonlocal caller
        clock = FakeClock()
        working = 0
        free_since = clock.monotonic()
        arrived: dict[int, float] = {}
        seen: list[int] = []

        async def model(items: list[int]) -> list[int]:
            nonlocal working, free_since
            assert 1 <= len(items) <= max_batch
            working += 1
            assert working <= parallel
            for item in items:
                due = max(arrived[item] + max_wait_ms / 1000, free_since)
                assert len(items) == max_batch or clock.monotonic() <= due + 1e-6
            seen.extend(items)
            try:
                if work_ms:
                    await clock.sleep(work_ms / 1000)
            finally:
                working -= 1
                free_since = clock.monotonic()
            return [item * 10 for item in items]

        batched: Batched[int, int] = Batched(
            model, max_batch=max_batch, max_wait=max_wait_ms / 1000, parallel=parallel, clock=clock,
            run=asyncio.to_thread, caller=lambda: caller,
        )
        calls: list[asyncio.Future[int]] = []
        for kind, number in steps:
            if kind == "call":
                caller = f"caller {number}"
                arrived[len(calls)] = clock.monotonic()
                calls.append(asyncio.ensure_future(batched(len(calls))))
                await asyncio.sleep(0)  # so that it waits under this caller's name
            elif kind == "wait":
                await clock.advance(number / 1000)
            elif number < len(calls):
                calls[number].cancel()
        await clock.advance(60.0)
        for number, call in enumerate(calls):
            assert call.done()
            assert call.cancelled() or call.result() == number * 10
        assert len(seen) == len(set(seen))
        assert len(batched) == 0

    asyncio.run(scenario())
