"""The fault matrix in short: every fault and every place at least once, and every call's history judged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import product

import pytest

from benchmarks.faults import FAULTS, PLACES, SENSELESS, SHORT, Made, matrix, table
from benchmarks.history import Broken
from benchmarks.trial import running

KINDS = {"kill", "freeze", "exception", "hang", "hold", "slow", "overload", "cancel"}
SEED = 1
SLACK = 0.2
"""Seconds by which a busy machine may be late; what a caller's own loop was late by is not in it."""

DIED = "with its caller"
AWAY = {"unreachable", "unavailable", "circuit_open"}

Judged = tuple[list[Made], list[Broken], str]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    """What a run of the short matrix came to."""
    faults = [fault for fault in FAULTS if f"{fault.name} {fault.place}" in SHORT]
    with running(tmp_path_factory.mktemp("trial"), SEED) as trial:
        made, broken = asyncio.run(matrix(trial, faults, SEED, slack=SLACK))
        yield made, broken, table(made, trial.executions())


def test_every_fault_is_made_in_every_place_or_it_is_said_why_not() -> None:
    made = {(fault.name, fault.place) for fault in FAULTS}
    assert made | set(SENSELESS) == set(product(KINDS, PLACES))
    assert not made & set(SENSELESS)


def test_the_short_matrix_has_every_fault_and_every_place() -> None:
    names = {f"{fault.name} {fault.place}": fault for fault in FAULTS}
    assert set(SHORT) <= names.keys()
    assert {names[each].name for each in SHORT} == KINDS and {names[each].place for each in SHORT} == set(PLACES)


def test_whatever_happens_every_call_keeps_its_promises_and_all_is_well_again(judged: Judged) -> None:
    made, broken, shown = judged
    assert len(made) == len(SHORT)
    assert [str(each) for each in broken] == [], shown


def test_each_fault_was_met_by_calls_and_was_a_fault(judged: Judged) -> None:
    made, _, shown = judged
    for one in made:
        assert all(len(one.calls[when]) > 3 for when in ("before", "after")), f"{one.fault}\n{shown}"
    codes = {f"{one.fault.name} {one.fault.place}": _codes(one) for one in made}
    assert DIED in codes["kill caller"] and DIED in codes["kill supervisor of caller"], shown
    assert codes["kill callee"] & AWAY and codes["kill supervisor of callee"] & AWAY, shown
    assert "remote_failure" in codes["exception callee"], shown
    assert "deadline_exceeded" in codes["freeze supervisor of callee"] & codes["hang callee"], shown
    outcomes = {one.fault.name: [call.outcome.code for call in one.calls["before"] if call.outcome] for one in made}
    assert len(outcomes["overload"]) > 300 and {"overloaded", "circuit_open"} & set(outcomes["overload"]), shown
    assert outcomes["cancel"].count("cancelled") > outcomes["cancel"].count("ok"), shown


def _codes(one: Made) -> set[str]:
    """Return how calls that met a fault ended that were not meant to end so."""
    met = (*one.calls["before"], *one.calls["during"])
    return {DIED if call.outcome is None else call.outcome.code for call in met
            if call.outcome is None or call.outcome.code not in call.meant}


def test_a_registry_that_is_killed_costs_no_call(judged: Judged) -> None:
    (one,) = [one for one in judged[0] if one.fault.place == "registry"]
    for call in (*one.calls["before"], *one.calls["during"]):
        assert call.outcome is not None and call.outcome.code in call.meant, call
