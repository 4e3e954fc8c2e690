"""A clock that stands still until it is told to go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.testing import FakeClock
from mesh.testing.clock import settle


def run(scenario: Callable[[FakeClock], Awaitable[None]]) -> FakeClock:
    clock = FakeClock(now=100.0, wall=5000.0)

    async def scene() -> None:
        await scenario(clock)

    asyncio.run(scene())
    return clock


def test_time_stands_still_until_it_is_turned_and_both_clocks_go_together() -> None:
    async def scenario(clock: FakeClock) -> None:
        await settle()
        assert (clock.monotonic(), clock.time()) == (100.0, 5000.0)
        await clock.advance(2.5)
        assert (clock.monotonic(), clock.time()) == (102.5, 5002.5)

    run(scenario)


def test_timers_fire_in_their_order_each_at_its_moment() -> None:
    async def scenario(clock: FakeClock) -> None:
        fired: list[tuple[str, float]] = []
        for name, delay in (("c", 3), ("a", 1), ("b1", 2), ("b2", 2), ("now", 0), ("later", 5)):
            clock.call_later(delay, lambda name=name: fired.append((name, clock.monotonic())))  # type: ignore[misc]
        assert fired == []
        await clock.advance(4)
        assert fired == [("now", 100.0), ("a", 101.0), ("b1", 102.0), ("b2", 102.0), ("c", 103.0)]
        assert clock.monotonic() == 104.0
        await clock.advance(1)
        assert fired[-1] == ("later", 105.0)

    run(scenario)


def test_what_a_timer_sets_off_runs_before_the_next_one_fires() -> None:
    async def scenario(clock: FakeClock) -> None:
        journal: list[tuple[str, float]] = []

        async def sleeper(name: str, first: float, second: float) -> None:
            for delay in (first, second):
                await clock.sleep(delay)
                journal.append((name, clock.monotonic()))

        tasks = [asyncio.create_task(sleeper("a", 1, 1)), asyncio.create_task(sleeper("b", 1.5, 1))]
        await clock.advance(3)
        assert journal == [("a", 101.0), ("b", 101.5), ("a", 102.0), ("b", 102.5)]
        await asyncio.gather(*tasks)

    run(scenario)


def test_a_timer_that_sets_itself_again_comes_as_often_as_it_fits() -> None:
    async def scenario(clock: FakeClock) -> None:
        moments: list[float] = []

        def tick() -> None:
            moments.append(clock.monotonic())
            clock.call_later(0.5, tick)

        clock.call_later(0.5, tick)
        await clock.advance(2)
        assert moments == [100.5, 101.0, 101.5, 102.0]

    run(scenario)


def test_a_cancelled_timer_does_not_fire_also_when_cancelled_by_one_of_its_moment() -> None:
    async def scenario(clock: FakeClock) -> None:
        fired: list[str] = []
        gone = clock.call_later(1, lambda: fired.append("gone"))
        gone.cancel()
        clock.call_later(1, lambda: last.cancel())
        last = clock.call_later(1, lambda: fired.append("last"))
        done = clock.call_later(0.5, lambda: fired.append("done"))
        await clock.advance(2)
        done.cancel()
        assert fired == ["done"]

    run(scenario)


def test_a_sleep_that_is_cancelled_leaves_no_timer_behind() -> None:
    async def scenario(clock: FakeClock) -> None:
        sleeping = asyncio.create_task(clock.sleep(5))
        await settle()
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        assert all(timer.callback is None for _, _, timer in clock._timers)
        await clock.advance(10)

    run(scenario)


def test_a_timer_of_another_thread_fires_in_that_thread() -> None:
    clock = FakeClock()
    begun, fired = threading.Event(), list[int]()

    async def sleeper() -> None:
        sleeping = asyncio.ensure_future(clock.sleep(1))
        await asyncio.sleep(0)
        begun.set()
        await asyncio.wait_for(sleeping, 60)
        fired.append(threading.get_ident())

    thread = threading.Thread(target=lambda: asyncio.run(sleeper()))
    thread.start()
    assert begun.wait(5)
    asyncio.run(clock.advance(1))
    thread.join(5)
    assert fired == [thread.ident]


def test_a_timer_of_a_loop_that_has_ended_is_lost() -> None:
    clock = FakeClock()

    async def leave() -> None:
        clock.call_later(1, lambda: pytest.fail("nobody is there any more"))

    asyncio.run(leave())
    asyncio.run(clock.advance(2))
    assert clock.monotonic() == 1002.0


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 100), max_size=20), st.lists(st.floats(0, 30), min_size=1, max_size=10))
def test_no_way_of_turning_it_changes_the_order(delays: list[float], turns: list[float]) -> None:
    async def scenario(clock: FakeClock) -> None:
        fired: list[tuple[float, int]] = []
        for number, delay in enumerate(delays):
            clock.call_later(delay, lambda n=number: fired.append((clock.monotonic(), n)))  # type: ignore[misc]
        for seconds in turns:
            await clock.advance(seconds)
        expected = sorted((100.0 + delay, number) for number, delay in enumerate(delays))
        assert fired == [each for each in expected if each[0] <= clock.monotonic()]

    run(scenario)
