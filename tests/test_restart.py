"""Restarts wait longer each time, and end when the budget is spent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.restart import BUDGET, DELAYS, JITTER, QUIET, START_FAILURES, WINDOW, Backoff, Quarantine, Restarts


def steady() -> float:
    """A random number that leaves every delay as it is."""
    return 0.5


def once_ready(random: float = 0.5) -> Restarts:
    restarts = Restarts(lambda: random)
    restarts.ready()
    return restarts


def delay(decision: Backoff | Quarantine) -> float:
    assert isinstance(decision, Backoff), decision
    return decision.delay


def test_the_numbers_are_those_of_the_design() -> None:
    assert DELAYS == (0.1, 0.5, 1, 2, 5, 10, 30)
    assert (JITTER, BUDGET, WINDOW, START_FAILURES, QUIET) == (0.2, 5, 60, 3, 600)


def test_delays_grow_and_stay_at_the_last() -> None:
    restarts = once_ready()
    assert [delay(restarts.decide(now * 20.0)) for now in range(9)] == [0.1, 0.5, 1, 2, 5, 10, 30, 30, 30]


@pytest.mark.parametrize(("random", "expected"), [(0.0, 0.08), (0.5, 0.1), (1.0, 0.12)])
def test_a_delay_varies_by_a_fifth(random: float, expected: float) -> None:
    assert delay(once_ready(random).decide(0.0)) == pytest.approx(expected)


def test_the_sixth_failure_within_a_minute_is_one_too_many() -> None:
    restarts = once_ready()
    assert [restarts.decide(float(now)) for now in range(5)] == [
        Backoff(wait, attempt) for attempt, wait in enumerate(DELAYS[:5], start=1)
    ]
    assert restarts.decide(59.9) == Quarantine("failed 6 times in 60 s, its budget is 5 restarts")


def test_a_failure_leaves_the_budget_after_a_minute() -> None:
    restarts = once_ready()
    for now in range(5):
        restarts.decide(float(now))
    assert isinstance(restarts.decide(60.0), Backoff)
    assert isinstance(restarts.decide(60.5), Quarantine)


def test_three_failures_before_the_first_ready_are_enough_however_far_apart() -> None:
    restarts = Restarts(steady)
    assert isinstance(restarts.decide(0.0), Backoff)
    assert isinstance(restarts.decide(300.0), Backoff)
    assert restarts.decide(800.0) == Quarantine("failed 3 times before it was ever ready")


def test_having_been_ready_lifts_the_limit_on_starts() -> None:
    restarts = Restarts(steady)
    restarts.decide(0.0)
    restarts.decide(1.0)
    restarts.ready()
    assert isinstance(restarts.decide(2.0), Backoff)


def test_ten_quiet_minutes_start_the_delays_anew() -> None:
    restarts = once_ready()
    restarts.decide(0.0)
    assert delay(restarts.decide(599.0)) == 0.5
    assert delay(restarts.decide(599.0 + QUIET)) == 0.1


def test_ten_quiet_minutes_forgive_failed_starts() -> None:
    restarts = Restarts(steady)
    restarts.decide(0.0)
    restarts.decide(1.0)
    assert isinstance(restarts.decide(1.0 + QUIET), Backoff)


def test_an_operator_gives_a_fresh_budget() -> None:
    restarts = once_ready()
    while isinstance(restarts.decide(0.0), Backoff):
        pass
    restarts.renew()
    assert restarts.decide(1.0) == Backoff(0.1, 1)


@given(st.lists(st.floats(0, 1000), max_size=40), st.floats(0, 1, exclude_max=True))
def test_no_minute_ever_holds_more_restarts_than_the_budget(pauses: list[float], random: float) -> None:
    restarts, now, granted = once_ready(random), 0.0, []
    for pause in pauses:
        now += pause
        decision = restarts.decide(now)
        if isinstance(decision, Quarantine):
            break
        granted.append(now)
        assert min(DELAYS) * (1 - JITTER) <= decision.delay <= max(DELAYS) * (1 + JITTER)
        assert sum(1 for moment in granted if now - moment < WINDOW) == decision.attempt <= BUDGET


@given(st.lists(st.floats(60, 599), max_size=40))
def test_failures_a_minute_apart_never_quarantine_what_was_ready(pauses: list[float]) -> None:
    restarts, now = once_ready(), 0.0
    for pause in pauses:
        now += pause
        assert isinstance(restarts.decide(now), Backoff)
