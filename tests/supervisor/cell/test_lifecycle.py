"""The life of a cell goes only where the table says."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import MeshError
from mesh.supervisor.cell.lifecycle import TABLE, Lifecycle, Needs, State, Transition, diagram, successors

# Written out once more on purpose: the arrows of the design, so that a slip in the table is seen;
# stopped→quarantined is for those who are given up with their group.
ARROWS = """
stopped→starting|quarantined; starting→ready|degraded|failed|stopped; ready→degraded; degraded→ready;
ready→draining|failed; degraded→draining|failed; draining→stopped; failed→backoff|quarantined|stopped;
backoff→starting|stopped;
quarantined→starting|stopped
"""
ALLOWED = {
    (before.strip(), after)
    for before, afters in (arrow.split("→") for arrow in ARROWS.split(";"))
    for after in afters.strip().split("|")
}
ALL_STEPS = list(itertools.product(State, State))


def test_the_table_holds_exactly_the_arrows_of_the_design() -> None:
    assert {(str(before), str(after)) for before, after in TABLE} == ALLOWED


@pytest.mark.parametrize(("before", "after"), ALL_STEPS)
def test_a_step_is_taken_or_refused_as_the_table_says(before: State, after: State) -> None:
    life = Lifecycle(before, "as it was")
    if (str(before), str(after)) in ALLOWED:
        assert life.allows(after, by_operator=True)
        assert life.to(after, "because", by_operator=True) == Transition(before, after, "because")
        assert (life.state, life.reason) == (after, "because")
    else:
        assert not life.allows(after, by_operator=True)
        with pytest.raises(MeshError, match=f"from {before} to {after}"):
            life.to(after, "because", by_operator=True)
        assert (life.state, life.reason) == (before, "as it was")


def test_a_refusal_names_where_the_way_goes() -> None:
    with pytest.raises(MeshError, match="from draining it goes to stopped"):
        Lifecycle(State.DRAINING).to(State.READY)


@pytest.mark.parametrize("after", [State.STARTING, State.STOPPED])
def test_only_an_operator_ends_a_quarantine(after: State) -> None:
    life = Lifecycle(State.QUARANTINED)
    with pytest.raises(MeshError, match="mesh agent start"):
        life.to(after)
    assert life.to(after, by_operator=True).after is after


def test_what_is_not_wanted_does_not_wait_for_another_start() -> None:
    life = Lifecycle(State.FAILED)
    with pytest.raises(MeshError, match="not desired to run"):
        life.to(State.BACKOFF, desired_running=False)
    assert life.to(State.STOPPED, desired_running=False).after is State.STOPPED


def test_a_new_reason_is_no_step() -> None:
    life = Lifecycle(State.DEGRADED, "waiting for memory_orchestrator@pc2")
    assert life.explain("waiting for cache_manager@pc2")
    assert not life.explain("waiting for cache_manager@pc2")
    assert (life.state, life.reason) == (State.DEGRADED, "waiting for cache_manager@pc2")


@given(st.lists(st.sampled_from(list(State))))
def test_no_sequence_of_wishes_leaves_the_table(wishes: list[State]) -> None:
    life = Lifecycle()
    for wish in wishes:
        before = life.state
        if life.allows(wish):
            life.to(wish)
            assert TABLE[before, wish] is not Needs.OPERATOR
        assert life.state is (wish if (before, wish) in TABLE and TABLE[before, wish] is not Needs.OPERATOR else before)


def test_every_state_is_reached_and_can_be_left() -> None:
    reached, waiting = {State.STOPPED}, [State.STOPPED]
    while waiting:
        new = set(successors(waiting.pop())) - reached
        reached |= new
        waiting.extend(new)
    assert reached == set(State)
    assert all(successors(state) for state in State)


def test_only_ready_and_degraded_serve() -> None:
    assert [state for state in State if state.serving] == [State.READY, State.DEGRADED]


def test_the_diagram_shows_each_arrow_and_what_it_needs() -> None:
    lines = diagram().splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> stopped"]
    assert len(lines) == 2 + len(TABLE)
    assert "    failed --> backoff: desired = running" in lines
    assert "    quarantined --> starting: operator only" in lines
    assert "    ready --> degraded" in lines
