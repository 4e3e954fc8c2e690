"""Errors are the same when they come from the same place, and a reader sees each of them once."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errorbus import (
    MAX_MESSAGE,
    MAX_TRACEBACK,
    ErrorDetail,
    ErrorRecord,
    Gap,
    Joiner,
    Severity,
    Standing,
    describe,
    fingerprint,
    frames_of,
    group,
    make_id,
    normalised,
    number_of,
    record_of,
    topic_of,
)
from mesh.errors import InvalidArgument, ProtocolError
from mesh.message import decode, encode

CLI_FIELDS = {"id", "seq", "time", "severity", "host", "service", "operation", "type", "message", "trace_id",
              "fingerprint"}


def caught(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def look_up(name: str) -> object:
    table: dict[str, object] = {}
    return table[name]


def record(number: int, host: str = "pc2", skipped: int = 0, **fields: Any) -> ErrorRecord:
    values = {
        "time": float(number), "severity": "error", "service": "nlu", "type": "KeyError", "message": f"number {number}",
        "fingerprint": "aa", **fields,
    }
    return ErrorRecord(id=make_id(host, number), seq=number, host=host, skipped=skipped, **values)


def described(error: BaseException | str, **fields: Any) -> ErrorDetail:
    return describe(error, **{"service": "nlu", "host": "pc2", "time": 1.0, **fields})


# --- records ---------------------------------------------------------------------------------------------------------


def test_an_exception_becomes_a_record_with_its_traceback() -> None:
    found = described(caught(lambda: look_up("lamp")), operation="parse", trace_id="ab", context={"text": "hi", "n": 3})
    assert (found.type, found.message, found.operation, found.trace_id) == ("KeyError", "'lamp'", "parse", "ab")
    assert found.severity is Severity.ERROR
    assert "look_up" in found.traceback and found.traceback.endswith("KeyError: 'lamp'\n")
    assert found.context == {"text": "hi", "n": 3}


def test_a_text_becomes_a_record_without_traceback() -> None:
    found = described("the lamp is dark", severity=Severity.WARNING)
    assert (found.type, found.message, found.traceback) == ("Report", "the lamp is dark", "")


def test_an_exception_without_text_is_told_by_its_class() -> None:
    assert described(TimeoutError()).message == "TimeoutError"


def test_only_the_fields_for_readers_travel() -> None:
    event = described(caught(lambda: look_up("lamp")), context={"secret": 1}).event()
    assert set(event) == CLI_FIELDS | {"skipped", "opens", "muted"}
    assert event["severity"] == "error" and type(event["severity"]) is str
    assert record_of(decode(encode(event))).event() == event


def test_nothing_a_reporter_hands_over_keeps_a_record_from_travelling() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

        __repr__ = __str__

    found = described(Broken(), context={"broken": Broken(), "big": 2**80, "name": "\udcff", "object": [1, {2}]})
    assert found.message == "<Broken whose text raised ValueError>"
    assert found.context["object"] == "[1, {2}]" and found.context["big"] == str(2**80)
    encode(found.event())
    encode(found.context)


def test_long_texts_are_cut_and_say_so() -> None:
    found = described(ValueError("x" * 10_000), context={"body": "y" * 10_000})
    assert len(found.message) < MAX_MESSAGE + 40 and "(10000 characters)" in found.message
    assert len(found.context["body"]) < MAX_MESSAGE + 40


def test_a_long_traceback_keeps_both_ends() -> None:
    found = described(ValueError("x" * 50_000))
    assert len(found.traceback) < MAX_TRACEBACK + 100
    assert found.traceback.startswith("ValueError: x") and "characters left out" in found.traceback


def test_the_topic_names_severity_host_and_service() -> None:
    assert topic_of(record(1, severity="critical")) == "errors.critical.pc2.nlu"


@pytest.mark.parametrize(
    ("payload", "names"),
    [(None, "payload"), ({}, "id"), ({**record(1).event(), "severity": "awful"}, "severity"),
     ({**record(1).event(), "seq": "many"}, "seq")],
)
def test_what_is_no_record_is_refused_with_its_place(payload: Any, names: str) -> None:
    with pytest.raises(ProtocolError, match=names):
        record_of(payload)


def test_fields_of_a_later_version_are_ignored() -> None:
    assert record_of({**record(1).event(), "mood": "bad"}) == record(1)


def test_severities_are_ordered() -> None:
    assert sorted(Severity, key=lambda severity: severity.rank) == ["debug", "info", "warning", "error", "critical"]


def test_an_id_names_host_and_number() -> None:
    assert make_id("pc2", 123) == "pc2-000123"
    assert number_of("pc2-000123", "pc2") == 123
    assert number_of(make_id("pc2", 12_345_678), "pc2") == 12_345_678


@pytest.mark.parametrize("wrong", ["", "pc2", "pc2-", "pc2-x1", "000123", "mainpc-000001", "pc2-²"])
def test_another_hosts_or_a_mistyped_id_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidArgument, match=r"error id|ask mainpc"):
        number_of(wrong, "pc2")


# --- fingerprints ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no fact 17 for 'anna'", "no fact 2048 for 'the quick fox'"),
        ("object at 0x7f3a11 is gone", "object at 0x55b2c0ffee is gone"),
        ("request 3f2b8c1d9e failed", "request a91c0d77e2 failed"),
        ("took 1.5 s at 12:30:01", "took 22 s at 07:05:59"),
        ('peer "pc2" sent -3e5 items', 'peer "mainpc" sent 12 items'),
        ("job 123e4567-e89b-12d3-a456-426614174000 lost", "job 00000000-0000-0000-0000-00000000000a lost"),
        ("line one\n  two", "line one two"),
    ],
)
def test_texts_that_differ_in_values_only_are_one_error(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)
    assert fingerprint("nlu", "Report", [], one) == fingerprint("nlu", "Report", [], other)


@pytest.mark.parametrize(
    ("one", "other"), [("the lamp is dark", "the lamp is bright"), ("added deface to facade", "added effect to facade")]
)
def test_texts_that_differ_in_words_are_two_errors(one: str, other: str) -> None:
    assert fingerprint("nlu", "Report", [], one) != fingerprint("nlu", "Report", [], other)


def test_the_same_place_is_the_same_error_whatever_it_says() -> None:
    one, other = caught(lambda: look_up("a")), caught(lambda: look_up("something else"))
    assert described(one).fingerprint == described(other).fingerprint


def test_moving_a_function_down_its_file_does_not_change_the_error() -> None:
    def raised(source: str) -> BaseException:
        scope: dict[str, Any] = {}
        exec(compile(source, "/home/anna/agents/nlu.py", "exec"), scope)
        return caught(scope["parse"])

    plain = raised("def parse():\n    raise ValueError('here')\n")
    moved = raised("\n\n# a remark\ndef parse():\n    text = 'x'\n    raise ValueError('there')\n")
    other = raised("def understand():\n    raise ValueError('here')\nparse = understand\n")
    assert frames_of(plain)[-1] == "nlu.py:parse"
    assert described(plain).fingerprint == described(moved).fingerprint != described(other).fingerprint


def test_service_and_class_are_part_of_the_error() -> None:
    error = caught(lambda: look_up("a"))
    assert described(error).fingerprint != described(error, service="chitchat").fingerprint
    assert fingerprint("nlu", "KeyError", ["a.py:f"]) != fingerprint("nlu", "ValueError", ["a.py:f"])


def test_the_depth_of_a_recursion_does_not_matter() -> None:
    def down(levels: int) -> None:
        if not levels:
            raise ValueError("bottom")
        down(levels - 1)

    assert described(caught(lambda: down(2))).fingerprint == described(caught(lambda: down(50))).fingerprint


# --- groups ----------------------------------------------------------------------------------------------------------


def test_a_group_counts_and_shows_the_latest() -> None:
    groups = group([
        record(1, fingerprint="aa", message="first"),
        record(2, fingerprint="bb", severity="warning"),
        record(3, fingerprint="aa", message="last", severity="critical"),
        record(4, fingerprint="aa", message="really last", severity="info"),
    ])
    assert [found.fingerprint for found in groups] == ["aa", "bb"]
    assert groups[0].model_dump(mode="json") == {
        "fingerprint": "aa", "severity": "critical", "service": "nlu", "host": "pc2", "type": "KeyError",
        "message": "really last", "count": 3, "first_seen": 1.0, "last_seen": 4.0, "sample_id": "pc2-000004",
        "state": "new", "until": None,
    }


def test_hosts_are_grouped_apart_and_states_are_shown() -> None:
    groups = group([record(1), record(1, host="mainpc"), record(2, fingerprint="bb")], {"aa": Standing("muted")})
    assert {(found.host, found.fingerprint, found.state) for found in groups} == {
        ("pc2", "aa", "muted"), ("mainpc", "aa", "muted"), ("pc2", "bb", "new"),
    }


# --- joining history and live ----------------------------------------------------------------------------------------


def numbers(shown: list[ErrorRecord | Gap]) -> list[int | Gap]:
    return [item if isinstance(item, Gap) else item.seq for item in shown]


def test_live_records_wait_for_the_history_and_follow_it() -> None:
    joiner = Joiner()
    joiner.follow("pc2")
    assert joiner.wanted() == {"pc2": None}
    assert joiner.live(record(3)) == joiner.live(record(4)) == []
    assert numbers(joiner.history("pc2", [record(1), record(2), record(3)])) == [1, 2, 3, 4]
    assert joiner.wanted() == {}
    assert numbers(joiner.live(record(5))) == [5]


def test_a_host_first_heard_live_is_wanted() -> None:
    joiner = Joiner()
    joiner.live(record(9, host="mainpc"))
    assert joiner.wanted() == {"mainpc": None}


def test_a_lost_record_is_asked_for_and_shown_in_its_place() -> None:
    joiner = Joiner()
    joiner.history("pc2", [record(1)])
    assert joiner.live(record(4)) == []
    assert joiner.wanted() == {"pc2": "pc2-000001"}
    assert numbers(joiner.history("pc2", [record(2), record(3), record(4)])) == [2, 3, 4]


def test_what_nobody_has_any_more_is_a_gap_with_its_size() -> None:
    joiner = Joiner()
    joiner.history("pc2", [record(1)])
    joiner.live(record(6))
    assert numbers(joiner.history("pc2", [record(4), record(5), record(6)])) == [Gap("pc2", 1, 2), 4, 5, 6]


def test_a_host_that_cannot_answer_leaves_a_gap_and_does_not_hold_up() -> None:
    joiner = Joiner()
    joiner.history("pc2", [record(1)])
    joiner.live(record(3))
    assert numbers(joiner.history("pc2", None)) == [Gap("pc2", 1, 1), 3]
    assert numbers(joiner.live(record(4))) == [4]


def test_a_first_record_is_no_gap_when_older_ones_were_never_asked_for() -> None:
    assert numbers(Joiner().history("pc2", [record(500), record(501)])) == [500, 501]


def test_going_on_from_an_id_shows_only_what_came_since() -> None:
    joiner = Joiner({"pc2": "pc2-000002"})
    assert joiner.wanted() == {"pc2": "pc2-000002"}
    assert numbers(joiner.history("pc2", [record(2), record(3)])) == [3]
    assert numbers(Joiner({"pc2": "pc2-000002"}).history("pc2", [record(5)])) == [Gap("pc2", 2, 2), 5]


def test_numbers_a_killed_host_never_used_are_no_gap() -> None:
    joiner = Joiner()
    joiner.history("pc2", [record(7)])
    assert numbers(joiner.live(record(101, skipped=93))) == [101]
    assert numbers(joiner.live(record(203, skipped=100))) == []
    assert numbers(joiner.history("pc2", None)) == [Gap("pc2", 101, 1), 203]


def test_the_first_record_of_a_host_without_history_may_be_lost_and_found() -> None:
    joiner = Joiner()
    assert joiner.history("pc2", []) == []
    assert joiner.live(record(2)) == []
    assert numbers(joiner.history("pc2", [record(1), record(2)])) == [1, 2]


def test_an_answer_older_than_the_loss_does_not_make_it_final() -> None:
    joiner = Joiner()
    joiner.live(record(4))
    assert numbers(joiner.history("pc2", [record(1), record(2)])) == [1, 2]
    assert joiner.wanted() == {"pc2": "pc2-000002"}
    assert numbers(joiner.history("pc2", [record(3), record(4)])) == [3, 4]


def test_an_empty_answer_older_than_the_first_record_does_not_hide_its_loss() -> None:
    joiner = Joiner()
    joiner.live(record(2))
    assert joiner.history("pc2", []) == []
    assert numbers(joiner.history("pc2", [record(1), record(2)])) == [1, 2]


def test_a_host_that_forgot_everything_is_not_asked_for_ever() -> None:
    joiner = Joiner()
    joiner.history("pc2", [record(1)])
    joiner.live(record(3))
    assert numbers(joiner.history("pc2", [])) == [Gap("pc2", 1, 1), 3]
    assert joiner.wanted() == {}


def test_what_waits_is_bounded_and_what_is_given_up_is_a_gap() -> None:
    joiner = Joiner({"pc2": "pc2-000000"}, held=3)
    for number in range(1, 11):
        joiner.live(record(number))
    assert numbers(joiner.history("pc2", None)) == [Gap("pc2", 0, 7), 8, 9, 10]


@given(st.data())
def test_any_interleaving_shows_each_number_once_and_in_order(data: st.DataObject) -> None:
    """Two hosts report 1..n each; the subscription begins somewhere, the history is read after it; order is kept per
    host on the bus, and whatever the bus loses is still in the history asked for at the end."""
    draw = data.draw
    joiner, shown = Joiner(), []
    streams: list[list[Callable[[], list[ErrorRecord | Gap]]]] = []
    counts = {host: draw(st.integers(0, 12)) for host in ("mainpc", "pc2")}
    for host, count in counts.items():
        joiner.follow(host)
        subscribed = draw(st.integers(0, count))
        arriving = [n for n in range(subscribed + 1, count + 1) if not draw(st.booleans()) or n % 3]
        read_at = draw(st.integers(subscribed, count))
        streams.append([lambda host=host, n=n: joiner.live(record(n, host)) for n in arriving])  # type: ignore[misc]
        streams.append([
            lambda host=host, upto=read_at: joiner.history(host, [record(n, host) for n in range(1, upto + 1)])  # type: ignore[misc]
        ])
    order = [index for index, stream in enumerate(streams) for _ in stream]
    random.Random(draw(st.integers())).shuffle(order)
    for index in order:
        shown += streams[index].pop(0)()
    for host, count in counts.items():
        shown += joiner.history(host, [record(n, host) for n in range(1, count + 1)])
    for host, count in counts.items():
        assert [number for item in shown if item.host == host for number in numbers([item])] == list(
            range(1, count + 1)
        )


@given(st.sets(st.integers(1, 30)), st.sets(st.integers(1, 30)), st.integers())
def test_shown_and_gaps_together_cover_every_number_once(live: set[int], kept: set[int], seed: int) -> None:
    """Whatever arrives, in whatever order: nothing twice, nothing out of order, and gaps count what is missing."""
    arriving = list(live)
    random.Random(seed).shuffle(arriving)
    joiner = Joiner({"pc2": "pc2-000000"})
    shown = joiner.history("pc2", [])
    for number in arriving:
        shown += joiner.live(record(number))
    shown += joiner.history("pc2", [record(number) for number in sorted(kept)])
    shown += joiner.history("pc2", None)
    assert joiner.wanted() == {}
    covered: list[int] = []
    for item in shown:
        covered += range(item.after + 1, item.after + 1 + item.count) if isinstance(item, Gap) else [item.seq]
    assert covered == list(range(1, len(covered) + 1))
    assert not shown or len(covered) >= max(live | {0})
    assert live <= {item.seq for item in shown if isinstance(item, ErrorRecord)}
