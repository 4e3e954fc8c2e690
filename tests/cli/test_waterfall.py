"""The spans of all hosts become one tree on one clock, whatever the hosts' clocks say and whatever is missing."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.cli.waterfall import MISSING, NOBODY, UNSAMPLED, Step, Waterfall, drawn, waterfall

Row = dict[str, Any]


def span(number: int, parent: int, name: str, host: str, started: float, duration: float, **fields: Any) -> Row:
    service, _, operation = name.partition(".")
    return {"trace_id": "ab" * 16, "span_id": f"{number:016x}", "parent_id": f"{parent:016x}", "service": service,
            "operation": operation, "host": host, "started": started, "duration": duration, "error": None,
            "kind": "answer", "caller": "", "waited": 0.0, "sampled": True, **fields}


def both(number: int, parent: int, name: str, hosts: tuple[str, str], call: tuple[float, float],
         work: tuple[float, float], **fields: Any) -> list[Row]:
    """Return the two ends of a call: from host, to host, (start, seconds) of either on its own clock."""
    return [span(number, parent, name, hosts[0], *call, kind="call"),
            span(number, parent, name, hosts[1], *work, **fields)]


def fallen(*rows: Row | list[Row]) -> Waterfall:
    return waterfall("ab" * 16, [row for item in rows for row in (item if isinstance(item, list) else [item])])


def told(fall: Waterfall) -> list[tuple[int, str, str | None]]:
    return [(step.depth, f"{step.service}.{step.operation}", step.host) for step in fall.steps]


def test_a_call_stands_below_its_caller_in_order_of_start() -> None:
    fall = fallen(
        both(3, 1, "kb.find", ("mainpc", "pc2"), (10.05, 0.03), (10.06, 0.01)),
        both(2, 1, "nlu.parse", ("mainpc", "mainpc"), (10.01, 0.02), (10.01, 0.02)),
        span(1, 0, "front.ask", "mainpc", 10.0, 0.1),
        both(4, 3, "db.get", ("pc2", "pc2"), (10.061, 0.005), (10.062, 0.003)),
    )
    assert told(fall) == [(0, "front.ask", "mainpc"), (1, "nlu.parse", "mainpc"), (1, "kb.find", "pc2"),
                          (2, "db.get", "pc2")]
    kb = fall.steps[2]
    assert (kb.started, kb.duration, kb.work_started, kb.work) == (10.05, 0.03, 10.06, 0.01)
    assert (fall.started, fall.duration) == pytest.approx((10.0, 0.1)) and fall.skew == {}


def test_a_host_whose_clock_differs_is_moved_into_the_call_with_all_below_it() -> None:
    fall = fallen(
        span(1, 0, "front.ask", "mainpc", 100.0, 1.0),
        both(2, 1, "kb.find", ("mainpc", "pc2"), (100.2, 0.6), (40.3, 0.4)),
        both(3, 2, "db.get", ("pc2", "pc2"), (40.4, 0.1), (40.41, 0.05)),
    )
    kb, db = fall.steps[1], fall.steps[2]
    assert kb.work_started == pytest.approx(100.3)
    assert (db.started, db.work_started) == pytest.approx((100.4, 100.41))
    assert fall.skew == {"pc2": pytest.approx(-60.0)}
    assert fall.duration == pytest.approx(1.0)


def test_work_that_fits_its_call_is_left_where_its_own_clock_puts_it() -> None:
    fall = fallen(both(1, 0, "kb.find", ("mainpc", "pc2"), (10.0, 1.0), (10.7, 0.1)))
    assert fall.steps[0].work_started == 10.7 and fall.skew == {}


def test_a_call_back_to_the_first_host_is_on_the_first_clock_again() -> None:
    fall = fallen(
        span(1, 0, "front.ask", "mainpc", 100.0, 1.0),
        both(2, 1, "kb.find", ("mainpc", "pc2"), (100.2, 0.6), (500.3, 0.4)),
        both(3, 2, "front.name", ("pc2", "mainpc"), (500.4, 0.2), (100.45, 0.1)),
    )
    assert fall.steps[2].work_started == pytest.approx(100.45)
    assert set(fall.skew) == {"pc2"}


def test_an_answer_without_its_callers_span_is_clamped_into_the_caller() -> None:
    fall = fallen(span(1, 0, "front.ask", "mainpc", 100.0, 1.0), span(2, 1, "kb.find", "pc2", 98.0, 0.4))
    assert fall.steps[1].started == 100.0 and fall.skew == {"pc2": pytest.approx(-2.0)}


def test_what_hears_an_event_may_go_on_when_its_publisher_has_ended() -> None:
    fall = fallen(span(1, 0, "front.ask", "mainpc", 100.0, 1.0),
                  span(2, 1, "kb.learn", "pc2", 100.9, 5.0, kind="event"))
    assert (fall.steps[1].started, fall.duration) == pytest.approx((100.9, 5.9)) and fall.skew == {}


def test_work_that_goes_on_after_its_caller_gave_up_is_shown_whole_and_is_no_skew() -> None:
    fall = fallen(span(1, 0, "front.ask", "mainpc", 100.0, 1.0),
                  both(2, 1, "kb.find", ("mainpc", "pc2"), (100.2, 0.3), (100.25, 2.0), error="cancelled"))
    kb = fall.steps[1]
    assert (kb.work_started, kb.work, kb.duration) == pytest.approx((100.25, 2.0, 2.05)) and fall.skew == {}


def test_a_missing_callee_is_a_hole_and_a_failed_call_is_none() -> None:
    hole = fallen(span(1, 0, "kb.find", "mainpc", 1.0, 0.1, kind="call")).steps[0]
    assert (hole.hole, hole.host, hole.work) == (MISSING, None, None)
    failed = fallen(span(1, 0, "kb.find", "mainpc", 1.0, 0.1, kind="call", error="unreachable")).steps[0]
    assert (failed.hole, failed.error) == (None, "unreachable")
    raised = fallen(span(1, 0, "kb.find", "mainpc", 1.0, 0.1, kind="call", error="remote_failure")).steps[0]
    assert raised.hole == MISSING
    registry = fallen(span(1, 0, "registry.table", "mainpc", 1.0, 0.1, kind="call")).steps[0]
    assert registry.hole is None


def test_children_of_a_missing_span_stand_below_one_line_that_says_so() -> None:
    fall = fallen(span(1, 0, "front.ask", "mainpc", 1.0, 1.0), span(3, 2, "kb.find", "pc2", 1.2, 0.1),
                  span(4, 2, "kb.count", "pc2", 1.4, 0.1))
    assert told(fall) == [(0, "front.ask", "mainpc"), (0, "?.?", None), (1, "kb.find", "pc2"), (1, "kb.count", "pc2")]
    hole = fall.steps[1]
    assert hole.hole == MISSING and (hole.started, hole.duration) == pytest.approx((1.2, 0.3))


def test_of_a_trace_that_is_not_sampled_only_what_failed_is_missed_by_nobody() -> None:
    fall = fallen(span(3, 2, "kb.find", "pc2", 1.2, 0.1, error="unavailable", sampled=False))
    assert [step.hole for step in fall.steps] == [UNSAMPLED, None]


def test_spans_that_name_each_other_as_parent_are_shown_once() -> None:
    fall = fallen(span(1, 2, "a.x", "pc2", 1.0, 0.1), span(2, 1, "b.y", "pc2", 2.0, 0.1))
    assert sorted(step.span_id for step in fall.steps if step.hole is None) == [f"{1:016x}", f"{2:016x}"]


def test_a_bar_shows_the_way_the_waiting_and_the_work() -> None:
    fall = fallen(span(1, 0, "front.ask", "mainpc", 0.0, 10.0),
                  both(2, 1, "kb.find", ("mainpc", "pc2"), (2.0, 6.0), (3.0, 4.0), waited=2.0))
    assert drawn(fall.steps[0], fall, 10) == "██████████"
    assert drawn(fall.steps[1], fall, 10) == "  ───██─  "


def test_even_the_shortest_step_can_be_seen() -> None:
    steps = [Step("1", NOBODY, "a", "b", "pc2", "answer", duration=10.0, work=10.0, work_started=0.0),
             Step("2", NOBODY, "a", "b", "pc2", "answer", started=10.0, duration=0.0, work=0.0, work_started=10.0)]
    assert drawn(steps[1], Waterfall("x", steps), 10) == "         █"
