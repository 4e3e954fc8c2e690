"""A burst is let in as far as deadlines go, a queue that stands is kept short, an idle callee refuses nobody."""

from __future__ import annotations

import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.policy.shed import Shed


def watched(*, gap: float, took: float = 0.0, stands: float = 0.0) -> Shed:
    """Return one that has seen a queue from 1000 s on, `stands` seconds, with a turn each `gap` seconds."""
    shed = Shed()
    shed.begins(1000.0)
    for number in range(max(1, round(max(stands, 8 * gap, 0.2) / gap))):
        shed.turn(1000.0 + (number + 1) * gap)
        shed.ended(took)
    return shed


@pytest.mark.parametrize(
    ("gap", "took", "ahead", "left", "expected"),
    [
        (0.01, 0.01, 10, 1.0, 0.0),
        (0.01, 0.01, 500, 30.0, 0.0),  # a burst: 5 s to wait, but its deadline is later
        (0.01, 0.01, 70, 1.0, 0.0),
        (0.01, 0.01, 80, 1.0, 0.07),  # its turn would come too late, or nearly so
        (0.01, 0.6, 50, 1.0, 1.2),  # it would begin in time and not end in time
        (1.0, 2.0, 20, 60.0, 0.0),
        (1.0, 2.0, 100, 60.0, 8.0),
        (0.0001, 0.0001, 9999, 1.0, 0.1),
    ],
)
def test_in_a_burst_only_the_deadline_counts(
    gap: float, took: float, ahead: int, left: float, expected: float
) -> None:
    shed = watched(gap=gap, took=took)
    now = 1000.0 + max(0.2, 8 * gap)
    assert shed.refuses(ahead, now, now + left, 0.1) == pytest.approx(expected, abs=0.02)
    assert shed.refused == (expected > 0)


@pytest.mark.parametrize(
    ("took", "ahead", "expected"),
    [
        (0.01, 5, 0.0),
        (0.01, 8, 0.0),
        (0.01, 14, 0.05),
        (0.01, 50, 0.1),
        (1.0, 300, 0.0),  # calls that take a second may wait four
        (1.0, 450, 2.0),
    ],
)
def test_a_queue_that_stands_is_kept_short(took: float, ahead: int, expected: float) -> None:
    shed = watched(gap=0.01, took=took, stands=50.0)
    assert shed.standing(1050.0, 0.1)
    assert shed.refuses(ahead, 1050.0, 1080.0, 0.1) == pytest.approx(expected, abs=0.001)


def test_a_queue_that_was_empty_is_a_burst_again_and_after_a_second_nothing_is_known_of_it() -> None:
    shed = watched(gap=0.01, took=0.01, stands=60.0)
    assert shed.refuses(100, 1060.0, 1090.0, 0.1) > 0
    shed.begins(1060.5)
    assert not shed.standing(1061.4, 0.1)
    assert shed.refuses(100, 1060.5, 1090.5, 0.1) == 0.0
    assert shed.refuses(100, 1060.5, 1061.5, 0.1) > 0.0
    shed.begins(1061.6)
    assert shed.refuses(100, 1061.6, 1062.6, 0.1) == 0.0


def test_nobody_is_refused_before_it_is_known_how_fast_turns_come_up() -> None:
    shed = Shed()
    shed.begins(1000.0)
    for number in range(7):
        shed.turn(1000.0 + number)
    assert shed.refuses(10_000, 1006.0, 1006.5, 0.1) == 0.0
    shed.turn(1007.0)
    assert shed.refuses(10_000, 1007.0, 1007.5, 0.1) > 0.0


def simulated(
    *, share: float, service_s: float, seconds: float, timeout: float, seed: int
) -> tuple[int, int, int, float]:
    """Serve calls that come at random, `share` times as many as there is time for, one at a time.

    Returns how many were in time, too late, refused, and how long the queue needed to empty afterwards.
    """
    rng, shed = random.Random(seed), Shed()
    moment, queue = 1000.0, deque[tuple[float, float]]()
    free_at, good, late, refused = 1000.0, 0, 0, 0

    def serve(until: float) -> None:
        nonlocal free_at, good, late
        while queue and free_at <= until:
            came, deadline = queue.popleft()
            begin = max(free_at, came)
            shed.turn(begin)
            if begin > deadline:  # it has left, and cost nothing
                late += 1
                continue
            took = service_s * rng.uniform(0.5, 1.5)
            free_at = begin + took
            shed.ended(took)
            good, late = (good + 1, late) if free_at <= deadline else (good, late + 1)

    while moment < 1000.0 + seconds:
        came = moment = moment + rng.expovariate(share / service_s)
        serve(came)
        if not queue and free_at <= came:
            free_at = came + service_s * rng.uniform(0.5, 1.5)
            good += 1
            continue
        if not queue:
            shed.begins(came)
        elif len(queue) >= 1024 or shed.refuses(len(queue), came, came + timeout, 0.1):
            refused += 1
            continue
        queue.append((came, came + timeout))
    serve(float("inf"))
    return good, late, refused, free_at - moment


@given(service_ms=st.floats(3.0, 50.0), seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_under_twenty_times_the_load_nearly_all_that_can_be_done_is_done_in_time(service_ms: float, seed: int) -> None:
    service_s = service_ms / 1000
    seconds = min(10.0, max(3.0, service_s * 600))
    good, _, _, drained = simulated(share=20.0, service_s=service_s, seconds=seconds, timeout=1.0, seed=seed)
    capacity = seconds / service_s
    assert good >= 0.85 * capacity
    assert drained < 1.5


@given(share=st.floats(0.05, 0.4), service_ms=st.floats(0.2, 50.0), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_a_callee_with_time_to_spare_refuses_nobody(share: float, service_ms: float, seed: int) -> None:
    service_s = service_ms / 1000
    good, late, refused, _ = simulated(
        share=share, service_s=service_s, seconds=min(20.0, service_s * 1000), timeout=10.0, seed=seed
    )
    assert (late, refused) == (0, 0) and good > 0
