"""Restarts keep their distance, and one that is alone waits for nobody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.supervisor.cell.stagger import GAP, PROCESS_GAP, Stagger


def test_one_alone_has_the_moment_it_wants() -> None:
    stagger = Stagger()
    assert stagger.moment(5.1, GAP, 5.0) == 5.1
    assert stagger.moment(35.0, GAP, 5.0) == 35.0
    assert stagger.moment(5.3, GAP, 5.0) == 5.3


def test_a_storm_is_spread_and_over_soon() -> None:
    stagger = Stagger()
    moments = [stagger.moment(0.1, GAP, 0.0) for _ in range(50)]
    assert moments == pytest.approx([0.1 + GAP * at for at in range(50)]) and max(moments) < 0.6


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 2.0), st.sampled_from([GAP, PROCESS_GAP])),
                min_size=1, max_size=60))
def test_no_two_are_closer_than_the_gap_of_the_later_and_none_is_early(
    wishes: list[tuple[float, float, float]]
) -> None:
    stagger, now = Stagger(), 0.0
    taken: list[float] = []
    for pause, delay, gap in wishes:
        now += pause
        at = stagger.moment(now + delay, gap, now)
        assert at >= now + delay
        assert all(abs(at - other) >= gap - 1e-6 for other in taken if other > now)
        taken.append(at)
