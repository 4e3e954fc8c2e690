"""A time limit does not count what its watcher could not see."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.supervisor.loop.patience import LATE, TICK, Patience, patience


def test_it_ends_when_its_time_is_over() -> None:
    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            async with patience(0.02) as limit:
                await asyncio.Event().wait()
        assert limit.expired()

    asyncio.run(scenario())


def test_what_ends_in_time_is_let_go_and_its_own_timeout_is_its_own() -> None:
    async def scenario() -> None:
        async with patience(60.0) as limit:
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError, match="its own"):
            async with patience(60.0) as limit:
                raise TimeoutError("its own")
        assert not limit.expired()

    asyncio.run(scenario())


def test_a_loop_that_stood_still_is_held_against_nobody() -> None:
    async def scenario() -> None:
        async with patience(0.6):
            loop = asyncio.get_running_loop()
            answer = loop.create_future()
            loop.call_later(0.02, time.sleep, 1.0)  # the loop is held for longer than the limit
            loop.call_later(0.05, answer.set_result, None)
            await answer

    asyncio.run(scenario())


@given(st.floats(0.01, 100.0), st.lists(st.floats(0.0, 1000.0), min_size=1, max_size=50))
def test_a_tick_counts_as_two_at_most(seconds: float, pauses: list[float]) -> None:
    count, now, counted = Patience(seconds, 0.0), 0.0, 0.0
    for pause in pauses:
        now += pause
        counted += min(pause, LATE * TICK)
        again = count.tick(now)
        assert 0.0 <= again <= TICK
        if not again:
            assert counted >= seconds - 1e-6
            return
        assert counted < seconds
