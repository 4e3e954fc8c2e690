"""A trace goes on through calls, and a host keeps the last spans of those that are sampled."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.errors import ProtocolError
from mesh.testing import FakeClock
from mesh.tracing import DOING, NO_SPAN, Reacting, Span, SpanRing, Trace, doing


def span(trace_id: str, started: float, service: str = "kb", **fields: Any) -> Span:
    made = Span(bytes.fromhex(trace_id * 16), b"\x01" * 8, NO_SPAN, service, "find", "pc2", started, 0.1)
    return made._replace(**fields)


def test_a_new_trace_is_a_root_of_its_own() -> None:
    first, second = Trace.new(), Trace.new(sampled=True)
    assert first.trace_id != second.trace_id
    assert first.span_id != second.span_id
    assert (len(first.trace_id), len(first.span_id), first.parent_id) == (16, 8, NO_SPAN)
    assert (first.sampled, second.sampled) == (False, True)


def test_a_call_inside_a_call_is_a_child_in_the_same_trace() -> None:
    root = Trace.new(sampled=True)
    child = root.child()
    assert (child.trace_id, child.parent_id, child.sampled) == (root.trace_id, root.span_id, True)
    assert child.span_id not in (root.span_id, NO_SPAN)
    assert child.child().parent_id == child.span_id
    assert not Trace.new().child().sampled


def test_identifiers_do_not_repeat() -> None:
    assert len({Trace.new().trace_id for _ in range(2000)}) == 2000


def test_spans_of_one_trace_come_in_the_order_of_their_start() -> None:
    ring = SpanRing()
    ring.add(span("aa", 3.0, "late"))
    ring.add(span("bb", 2.0, "other"))
    ring.add(span("aa", 1.0, "early"))
    assert [one.service for one in ring.of("aa")] == ["early", "late"]
    assert ring.of("cc") == []


def test_the_oldest_spans_make_room() -> None:
    ring = SpanRing(size=3)
    for number in range(5):
        ring.add(span("aa", number))
    assert [one.started for one in ring.of("aa")] == [2, 3, 4]


# --- what a host keeps ------------------------------------------------------------------------------------------------


def test_a_storm_of_failures_drives_no_sampled_span_out() -> None:
    ring = SpanRing(size=3)
    ring.add(span("aa", 1.0))
    for number in range(10):
        ring.add(span("bb", 2.0 + number, error="overloaded", sampled=False))
    assert [len(ring.of("aa")), len(ring.of("bb"))] == [1, 3]


def test_the_share_of_new_traces_that_is_sampled_is_as_configured() -> None:
    assert not any(SpanRing().root().sampled for _ in range(500))
    assert all(SpanRing(sample=1.0).root().sampled for _ in range(500))
    assert SpanRing().root(sampled=True).sampled
    share = sum(SpanRing(sample=0.1).root().sampled for _ in range(20_000)) / 20_000
    assert 0.08 < share < 0.12


def test_only_sampled_spans_are_exported() -> None:
    ring, exported = SpanRing(), list[Span]()
    ring.export = exported.append
    ring.add(span("aa", 1.0))
    ring.add(span("bb", 1.0, sampled=False, error="cancelled"))
    assert [one.trace_id.hex()[:2] for one in exported] == ["aa"]


def test_the_latest_traces_have_a_row_each() -> None:
    ring = SpanRing()
    ring.add(span("aa", 3.0, "inner", parent_id=b"\x02" * 8, error="unavailable"))
    ring.add(span("aa", 2.0, "outer", duration=4.0))
    ring.add(span("bb", 5.0))
    first, second = ring.latest(10)
    assert (first["service"], first["spans"], first["error"]) == ("kb", 1, None)
    assert (second["service"], second["started"], second["duration"]) == ("outer", 2.0, 4.0)
    assert (second["spans"], second["error"], second["trace_id"]) == (2, "unavailable", "aa" * 16)
    assert [row["service"] for row in ring.latest(10, failed=True)] == ["outer"]
    assert len(ring.latest(1)) == 1


# --- what is done unasked ---------------------------------------------------------------------------------------------


def test_what_is_done_unasked_is_known_while_it_is_done() -> None:
    assert DOING.get() is None
    with doing("kb", "setup"):
        assert DOING.get() == ("kb", "setup", None)
    assert DOING.get() is None


def test_a_reaction_leaves_a_span_if_it_is_sampled_or_fails() -> None:
    ring, clock = SpanRing(), FakeClock()

    def react(trace: Trace, error: Exception | None = None) -> None:
        with Reacting("kb", "tick", trace, "timer", host="pc2", spans=ring, clock=clock):
            if error is not None:
                raise error

    react(Trace.new())
    react(Trace.new(sampled=True))
    with pytest.raises(KeyError):
        react(Trace.new(), KeyError("x"))
    assert [(one.kind, one.error, one.sampled) for one in ring] == [("timer", None, True), ("timer", "KeyError", False)]


# --- traceparent, with the examples of https://www.w3.org/TR/trace-context/ -------------------------------------------


@pytest.mark.parametrize("header", [
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
])
def test_a_traceparent_is_read_and_written_the_same(header: str) -> None:
    trace = Trace.from_traceparent(header)
    assert trace.to_traceparent() == header
    assert trace.trace_id.hex() == header[3:35] and trace.sampled == header.endswith("1")
    inside = trace.child()
    assert (inside.parent_id.hex(), inside.sampled) == (header[36:52], trace.sampled)


@pytest.mark.parametrize(("header", "sampled"), [
    ("cc-12345678901234567890123456789012-1234567890123456-01", True),
    ("cc-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like", True),
    ("00-12345678901234567890123456789012-1234567890123456-ff", True),
    ("00-12345678901234567890123456789012-1234567890123456-02", False),
    ("  00-12345678901234567890123456789012-1234567890123456-01 ", True),
])
def test_of_later_versions_and_flags_what_is_known_is_read(header: str, sampled: bool) -> None:
    trace = Trace.from_traceparent(header)
    assert (trace.trace_id.hex(), trace.sampled) == ("12345678901234567890123456789012", sampled)


@pytest.mark.parametrize("header", [
    "", "00", "00-12345678901234567890123456789012-1234567890123456",
    "ff-12345678901234567890123456789012-1234567890123456-01",
    "00-12345678901234567890123456789012-1234567890123456-01.",
    "00-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like",
    "cc-12345678901234567890123456789012-1234567890123456-01.what-the-future-will-not-be-like",
    "00-00000000000000000000000000000000-1234567890123456-01",
    "00-12345678901234567890123456789012-0000000000000000-01",
    "00-1234567890123456789012345678901-1234567890123456-01",
    "00-12345678901234567890123456789012-123456789012345-01",
    "00-ABCDEF78901234567890123456789012-1234567890123456-01",
    "0x-12345678901234567890123456789012-1234567890123456-01",
    "00-.2345678901234567890123456789012-1234567890123456-01",
])
def test_what_is_no_traceparent_is_refused(header: str) -> None:
    with pytest.raises(ProtocolError, match="traceparent is"):
        Trace.from_traceparent(header)
