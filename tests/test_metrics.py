"""Quantiles of durations are right within five per cent, whatever the durations are."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.metrics import Latency, Traffic


def filled(durations: list[float]) -> Latency:
    latency = Latency()
    for seconds in durations:
        latency.observe(seconds)
    return latency


def test_before_the_first_duration_there_is_no_quantile() -> None:
    assert Latency().quantile(0.5) is None
    assert Latency().count == 0


@given(st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
@settings(deadline=None)
def test_a_quantile_is_within_five_per_cent(durations: list[float], share: float) -> None:
    latency = filled(durations)
    exact = sorted(durations)[math.ceil(share * len(durations)) - 1]
    assert latency.count == len(durations)
    assert latency.quantile(share) == pytest.approx(exact, rel=0.051)


def test_quantiles_of_many_durations() -> None:
    made = random.Random(1)
    durations = [made.lognormvariate(-7, 1) for _ in range(20_000)]
    latency = filled(durations)
    for share in (0.5, 0.99):
        assert latency.quantile(share) == pytest.approx(sorted(durations)[int(share * 20_000)], rel=0.06)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9])
def test_what_is_too_short_to_measure_counts_as_a_microsecond(seconds: float) -> None:
    assert filled([seconds]).quantile(0.5) == pytest.approx(1e-6, rel=0.051)


def test_a_long_duration_does_not_move_the_median() -> None:
    assert filled([0.001] * 9 + [3600]).quantile(0.5) == pytest.approx(0.001, rel=0.051)


def test_memory_does_not_grow_with_the_number_of_durations() -> None:
    assert len(filled([1.1**power * 1e-6 for power in range(300)] * 10)._buckets) <= 301


def test_traffic_begins_at_zero() -> None:
    traffic = Traffic()
    assert (traffic.frames_in, traffic.frames_out, traffic.envelopes_in, traffic.envelopes_out) == (0, 0, 0, 0)
    assert (traffic.undecodable, traffic.events_lost) == (0, 0)
