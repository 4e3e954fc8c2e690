"""Who watches is doubted before all that is watched is restarted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.supervisor.loop.doubt import MORE_LOOKS, QUESTION, Doubt, Sight, Silence, Watcher
from mesh.testing import FakeClock

NEVER = (0.0, 0.0)


@pytest.mark.parametrize(("dead", "watched", "doubted"), [
    (1, 1, False), (2, 2, False), (3, 3, True), (3, 5, True), (3, 6, False), (4, 7, True), (5, 84, False),
    (50, 84, True),
])
def test_many_of_those_watched_at_once_are_doubted(dead: int, watched: int, doubted: bool) -> None:
    doubt = Doubt()
    for number in range(dead):
        doubt.looks_dead(f"p{number}", 100 + number / dead)
    reason = doubt.reason(101, watched, NEVER)
    assert (reason is not None) is doubted
    assert reason is None or reason == f"{dead} of {watched} look dead at the same time"


def test_one_after_the_other_is_no_reason_for_doubt() -> None:
    doubt = Doubt()
    for number in range(5):
        doubt.looks_dead(f"p{number}", 100 + 3.0 * number)
        assert doubt.reason(100 + 3.0 * number + 1, 5, NEVER) is None


def test_the_same_one_counts_once() -> None:
    doubt = Doubt()
    for _ in range(9):
        doubt.looks_dead("p", 100)
    assert doubt.reason(100, 3, NEVER) is None


@pytest.mark.parametrize(("until", "seconds", "doubted"), [
    (100.0, 2.5, True), (98.5, 60.0, True), (97.5, 60.0, False), (100.0, 1.9, False),
])
def test_a_watcher_that_stood_still_just_now_is_doubted(until: float, seconds: float, doubted: bool) -> None:
    doubt = Doubt()
    doubt.looks_dead("p", 99.9)
    assert (doubt.reason(100, 1, (until, seconds)) is not None) is doubted


def test_silence_counts_looks_and_a_pause_of_the_watcher_is_one_of_them() -> None:
    silence = Silence(limit=3.0, look=1.0, now=0.0)
    assert silence.look(3600.0) is Sight.WAITS, "an hour in which nobody looked"
    assert [silence.look(3600.0 + at) for at in (1, 2, 3)] == [Sight.LOOKS_DEAD, Sight.WAITS, Sight.IN_QUESTION]


def test_who_is_doubted_is_looked_at_again_and_is_dead_in_the_end() -> None:
    silence = Silence(limit=2.0, look=1.0, now=0.0)
    seen = [silence.look(float(at)) for at in range(1, 2 + MORE_LOOKS + 1)]
    assert seen == [Sight.WAITS, Sight.LOOKS_DEAD, Sight.WAITS, Sight.IN_QUESTION,
                    *[Sight.WAITS] * (MORE_LOOKS - QUESTION), Sight.DEAD]


def test_an_answer_ends_the_silence() -> None:
    silence = Silence(limit=2.0, look=1.0, now=0.0)
    for _ in range(10):
        assert silence.look(1.0) is Sight.WAITS
        silence.answered(1.0)
    assert silence.look(2.0) is Sight.WAITS


@given(st.lists(st.floats(0.0, 10_000.0), min_size=1, max_size=60), st.floats(1.0, 90.0))
def test_nobody_looks_dead_before_as_many_looks_as_its_limit_has(pauses: list[float], limit: float) -> None:
    silence, now = Silence(limit, 1.0, 0.0), 0.0
    for count, pause in enumerate(pauses, 1):
        now += pause
        if silence.look(now) is not Sight.WAITS:
            assert 2 * count >= limit and now >= limit
            return


def test_the_watcher_says_why_it_looks_once_more() -> None:
    told: list[str] = []
    clock = FakeClock()
    watcher = Watcher(clock, lambda: NEVER, told.append)
    for name in ("a", "b"):
        watcher.looks_dead(name)
    assert not watcher.doubts(3) and told == []
    watcher.looks_dead("c")
    assert watcher.doubts(3)
    assert told == ["3 of 3 look dead at the same time: the watcher is doubted first and looks once more before it "
                    "restarts anybody"]
