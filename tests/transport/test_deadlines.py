"""Everything expires once, no more than 16 ms late and never early, on a single timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.testing import FakeClock
from mesh.transport.deadlines import BUCKET, Deadlines


class Note:
    """Writes down when it was told that its deadline has passed."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.told: list[float] = []

    def expire(self) -> None:
        self.told.append(self._clock.monotonic())


def on_a_loop(scenario: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @wraps(scenario)
    def run() -> None:
        asyncio.run(scenario())

    return run


def timers(clock: FakeClock) -> int:
    return sum(1 for _, _, timer in clock._timers if timer.callback is not None)


@on_a_loop
async def test_an_item_expires_at_its_moment_and_at_most_one_bucket_later() -> None:
    clock = FakeClock()
    deadlines = Deadlines(clock)
    note = Note(clock)
    deadlines.add(clock.monotonic() + 1.0, note)
    await clock.advance(0.999)
    assert note.told == []
    await clock.advance(0.1)
    assert len(note.told) == 1
    assert 1001.0 <= note.told[0] <= 1001.0 + BUCKET
    await clock.advance(100)
    assert len(note.told) == 1


@on_a_loop
async def test_a_discarded_item_does_not_expire() -> None:
    clock = FakeClock()
    deadlines = Deadlines(clock)
    kept, discarded = Note(clock), Note(clock)
    deadlines.add(1001.0, kept)
    deadlines.discard(deadlines.add(1001.0, discarded), discarded)
    await clock.advance(2)
    assert (len(kept.told), discarded.told) == (1, [])
    deadlines.discard(12345, kept)  # long gone: nothing happens


@on_a_loop
async def test_a_moment_in_the_past_expires_at_once() -> None:
    clock = FakeClock()
    deadlines = Deadlines(clock)
    note = Note(clock)
    deadlines.add(clock.monotonic() - 5, note)
    assert note.told == []
    await clock.advance(BUCKET)
    assert len(note.told) == 1


@on_a_loop
async def test_an_earlier_moment_that_is_added_later_comes_first() -> None:
    clock = FakeClock()
    deadlines = Deadlines(clock)
    late, early = Note(clock), Note(clock)
    deadlines.add(1010.0, late)
    deadlines.add(1001.0, early)
    await clock.advance(5)
    assert (len(early.told), late.told) == (1, [])
    await clock.advance(10)
    assert len(late.told) == 1


@on_a_loop
async def test_a_thousand_items_wait_on_one_timer() -> None:
    clock = FakeClock()
    deadlines = Deadlines(clock)
    notes = [Note(clock) for _ in range(1000)]
    for number, note in enumerate(notes):
        deadlines.add(1000.0 + number * 0.01, note)
    assert timers(clock) == 1
    await clock.advance(20)
    assert [len(note.told) for note in notes] == [1] * 1000
    assert timers(clock) == 0


@on_a_loop
async def test_whoever_expires_may_add_another() -> None:
    clock = FakeClock()
    deadlines = Deadlines(clock)
    after = Note(clock)

    class Adding(Note):
        def expire(self) -> None:
            super().expire()
            deadlines.add(self._clock.monotonic(), after)

    first = Adding(clock)
    deadlines.add(1001.0, first)
    await clock.advance(1.1)
    assert (len(first.told), len(after.told)) == (1, 1)


@on_a_loop
async def test_buckets_do_not_pile_up_when_all_their_items_were_discarded() -> None:
    clock = FakeClock()
    deadlines = Deadlines(clock)
    for number in range(1000):
        note = Note(clock)
        deadlines.discard(deadlines.add(1005.0 + number, note), note)
    await clock.advance(6)
    assert len(deadlines._buckets) == 0


@on_a_loop
async def test_after_close_nothing_expires() -> None:
    clock = FakeClock()
    deadlines = Deadlines(clock)
    note = Note(clock)
    deadlines.add(1001.0, note)
    deadlines.close()
    await clock.advance(2)
    assert (note.told, timers(clock)) == ([], 0)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5), st.booleans()), max_size=30))
@settings(deadline=None, max_examples=60)
def test_each_kept_item_expires_once_and_in_time(items: list[tuple[float, float, bool]]) -> None:
    """Items are added after some seconds, for some seconds later; some are discarded again at once."""

    async def scenario() -> None:
        clock = FakeClock()
        deadlines = Deadlines(clock)
        kept: list[tuple[float, Note]] = []
        for wait, delay, discard in sorted(items):
            await clock.advance(1000.0 + wait - clock.monotonic())
            note = Note(clock)
            bucket = deadlines.add(clock.monotonic() + delay, note)
            if discard:
                deadlines.discard(bucket, note)
                kept.append((float("inf"), note))
            else:
                kept.append((clock.monotonic() + delay, note))
        await clock.advance(11)
        for moment, note in kept:
            if moment == float("inf"):
                assert note.told == []
            else:
                assert note.told == [pytest.approx(moment + BUCKET / 2, abs=BUCKET / 2 + 1e-6)]

    asyncio.run(scenario())


@on_a_loop
async def test_a_bucket_whose_moment_divides_to_a_little_less_is_swept_all_the_same() -> None:
    bucket = next(number for number in range(62_500, 200_000) if int(number * BUCKET / BUCKET) != number)
    clock = FakeClock(now=(bucket - 1) * BUCKET)
    deadlines, note = Deadlines(clock), Note(clock)
    assert deadlines.add((bucket - 0.5) * BUCKET, note) == bucket
    async with asyncio.timeout(60):
        await clock.advance(BUCKET * 2)
    assert len(note.told) == 1
