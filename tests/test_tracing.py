"""A trace goes on through calls, and a host keeps the last spans of those that are sampled."""

from __future__ import annotations

from mesh.tracing import NO_SPAN, Span, SpanRing, Trace


def span(trace_id: str, started: float, service: str = "kb") -> Span:
    return Span(trace_id, "01", "00", service, "find", "pc2", started, 0.1)


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
