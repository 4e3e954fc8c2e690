"""Which agents lose their place on the loop, after what, and where they go."""

from __future__ import annotations

import pytest

from mesh.restart import BUDGET
from mesh.supervisor.loop.demotion import CRASHED_WITHIN, CRASHES, SECONDS, TIMES, WITHIN, Decision, Demotion
from mesh.supervisor.loop.hold import Hold, Kind, Place

PLACE = Place("spinner", "spin", "spin", "agents/spinner.py", 12)


def hold(seconds: float = 0.5, kind: Kind = Kind.COMPUTING) -> Hold:
    return Hold(PLACE, seconds, kind)


def held(demotion: Demotion, *holds: Hold, each: float = 1.0) -> list[Decision | None]:
    return [demotion.held(one, number * each) for number, one in enumerate(holds)]


def test_a_few_short_holds_cost_nothing() -> None:
    assert held(Demotion(), *[hold()] * (TIMES - 1)) == [None] * (TIMES - 1)


@pytest.mark.parametrize(("kind", "isolation"), [
    (Kind.WAITING, "thread"), (Kind.COMPUTING, "process"), (Kind.SEIZING, "process"),
])
def test_one_that_holds_the_loop_again_and_again_goes_where_it_harms_nobody(kind: Kind, isolation: str) -> None:
    *before, decision = held(Demotion(), *[hold(kind=kind)] * TIMES)
    assert before == [None] * (TIMES - 1) and decision is not None
    assert decision.isolation == isolation
    assert f"{TIMES} times" in decision.reason and "1.5 s in all" in decision.reason
    assert f"{kind} in spin() at agents/spinner.py:12" in decision.reason


def test_one_long_hold_is_enough() -> None:
    decision = Demotion().held(hold(SECONDS, Kind.WAITING), 0.0)
    assert decision is not None and decision.isolation == "thread" and "once" in decision.reason


def test_what_it_did_for_most_of_the_time_decides() -> None:
    (_, _, decision) = held(Demotion(), hold(0.5), hold(0.5), hold(3.0, Kind.WAITING))
    assert decision is not None and decision.isolation == "thread"
    (_, _, decision) = held(Demotion(), hold(0.5, Kind.WAITING), hold(0.5, Kind.WAITING), hold(3.0))
    assert decision is not None and decision.isolation == "process"


def test_holds_far_apart_do_not_add_up() -> None:
    assert held(Demotion(), *[hold()] * (3 * TIMES), each=WITHIN) == [None] * (3 * TIMES)


def test_a_thread_that_keeps_the_interpreter_goes_on_to_a_process() -> None:
    demotion = Demotion("thread")
    assert held(demotion, *[hold(20.0, Kind.WAITING), hold(20.0)]) == [None, None]
    *_, decision = held(demotion, *[hold(kind=Kind.SEIZING)] * TIMES)
    assert decision is not None and decision.isolation == "process" == demotion.isolation


def test_crashes_lead_to_a_process_before_the_budget_is_spent() -> None:
    assert CRASHES < BUDGET
    demotion = Demotion()
    decisions = [demotion.crashed(float(number)) for number in range(CRASHES)]
    assert decisions[:-1] == [None] * (CRASHES - 1)
    assert decisions[-1] == Decision("process", f"it crashed {CRASHES} times within {CRASHED_WITHIN:g} s")


def test_crashes_far_apart_do_not_add_up() -> None:
    demotion = Demotion()
    assert [demotion.crashed(number * CRASHED_WITHIN) for number in range(10)] == [None] * 10


def test_it_goes_one_way_and_says_so_once() -> None:
    demotion = Demotion()
    held(demotion, *[hold(kind=Kind.WAITING)] * TIMES)
    first = demotion.isolation
    assert held(demotion, *[hold(60.0, Kind.WAITING)] * TIMES) == [None] * TIMES
    assert [demotion.crashed(0.0) for _ in range(CRASHES)][-1] is not None
    assert (first, demotion.isolation) == ("thread", "process")
    assert [demotion.crashed(1.0) for _ in range(10)] == [None] * 10
    assert held(demotion, *[hold(60.0, Kind.SEIZING)] * 10) == [None] * 10
