"""Sampled spans reach an OpenTelemetry receiver as one connected tree; one that is away costs bounded memory."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Proto
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from mesh.errors import EngineMissing
from mesh.supervisor.otlp import QUEUE, OtlpSender, samples, turned
from mesh.tracing import NO_SPAN, Span
from tests.eventually import wait_until
from tests.otlp_receiver import Receiver, receiving

LIMIT = 20.0
TRACE, ROOT, INNER = b"\xab" * 16, b"\x01" * 8, b"\x02" * 8


def span(span_id: bytes = ROOT, parent: bytes = NO_SPAN, **fields: Any) -> Span:
    return Span(TRACE, span_id, parent, "front", "ask", "mainpc", 1000.5, 0.25)._replace(**fields)


@contextmanager
def sending(receiver: Receiver, **options: Any) -> Iterator[tuple[OtlpSender, list[str]]]:
    troubles: list[str] = []
    sender = OtlpSender(receiver.url, "home", "production", troubles.append,
                        **{"gather_s": 0.05, "again_s": 0.02, **options})
    sender.start()
    try:
        yield sender, troubles
    finally:
        sender.close()


def test_the_two_ends_of_a_call_are_two_spans_in_one_tree() -> None:
    with receiving() as receiver, sending(receiver) as (sender, troubles):
        sender.add(span(caller="operator"))
        sender.add(span(INNER, ROOT, service="kb", operation="find", kind="call", caller="front@mainpc"))
        sender.add(span(INNER, ROOT, service="kb", operation="find", host="pc2", caller="front@mainpc", waited=0.5))
        sender.add(span(b"\x03" * 8, INNER, service="kb", operation="learn", kind="event"))
        wait_until(lambda: len(receiver.spans()) == 4, LIMIT)
        ask, call, answer, event = sorted(receiver.spans(), key=lambda each: (each.span.name, each.span.kind != 3,
                                                                               each.span.kind))
    assert (ask.span.span_id, ask.span.parent_span_id, ask.span.kind) == (ROOT, b"", Proto.SPAN_KIND_SERVER)
    assert (call.span.span_id, call.span.parent_span_id, call.span.kind) == (
        turned(INNER), ROOT, Proto.SPAN_KIND_CLIENT)
    assert (answer.span.span_id, answer.span.parent_span_id) == (INNER, turned(INNER))
    assert (event.span.parent_span_id, event.span.kind) == (INNER, Proto.SPAN_KIND_CONSUMER)
    assert {each.span.trace_id for each in (ask, call, answer, event)} == {TRACE}
    assert [each.resource["service.name"] for each in (ask, call, answer, event)] == ["front", "front", "kb", "kb"]
    assert ask.resource == {"service.name": "front", "service.namespace": "home", "host.name": "mainpc",
                            "service.instance.id": "front@mainpc", "deployment.environment.name": "production"}
    assert answer.attributes == {"rpc.system": "mesh", "rpc.service": "kb", "rpc.method": "find",
                                 "mesh.caller": "front@mainpc", "mesh.waited_ms": 500.0}
    assert troubles == [] and sender.sent == 4


def test_times_are_nanoseconds_and_errors_are_told() -> None:
    with receiving() as receiver, sending(receiver) as (sender, _):
        sender.add(span(error="unavailable"))
        wait_until(receiver.spans, LIMIT)
        (told,) = receiver.spans()
    assert (told.span.start_time_unix_nano, told.span.end_time_unix_nano) == (1_000_500_000_000, 1_000_750_000_000)
    assert (told.span.status.code, told.span.status.message) == (Status.STATUS_CODE_ERROR, "unavailable")
    assert told.attributes["error.type"] == "unavailable" and told.span.name == "front.ask"


def test_a_burst_leaves_together() -> None:
    with receiving() as receiver, sending(receiver, gather_s=0.3) as (sender, _):
        for _ in range(700):
            sender.add(span())
        wait_until(lambda: len(receiver.spans()) == 700, LIMIT)
        assert [len(request.resource_spans[0].scope_spans[0].spans) for request in receiver.requests] == [512, 188]


def test_a_receiver_that_is_busy_is_asked_again_and_it_is_said_once() -> None:
    with receiving(503, 429, 200, 503) as receiver, sending(receiver) as (sender, troubles):
        sender.add(span())
        wait_until(lambda: sender.sent == 1, LIMIT)
        assert len(troubles) == 1 and "it answered 503" in troubles[0]
        sender.add(span())
        wait_until(lambda: sender.sent == 2, LIMIT)
        assert (len(troubles), sender.dropped) == (2, 0)


@pytest.mark.parametrize("answers", [(400,), (503, 503, 503)])
def test_what_is_refused_for_good_is_dropped_and_counted(answers: tuple[int, ...]) -> None:
    with receiving(*answers) as receiver, sending(receiver) as (sender, troubles):
        sender.add(span())
        wait_until(lambda: sender.dropped == 1, LIMIT)
        sender.add(span())
        wait_until(lambda: sender.sent == 1, LIMIT)
        assert len(troubles) == 1
        assert {sample.instrument.name: sample.value for sample in samples(sender)} == {
            "mesh_otlp_spans_total": 1, "mesh_otlp_dropped_total": 1}


def test_a_receiver_that_is_away_costs_bounded_memory() -> None:
    with receiving() as receiver:
        url = receiver.url
    troubles: list[str] = []
    sender = OtlpSender(url, "home", "production", troubles.append, again_s=30.0, gather_s=0.01)
    sender.start()
    for _ in range(3 * QUEUE):
        sender.add(span())
    wait_until(lambda: troubles, LIMIT)
    assert len(sender._waiting) <= QUEUE and sender.dropped >= 2 * QUEUE - 512
    assert len(troubles) == 1 and "refused" in troubles[0]
    sender.close()
    assert not sender._thread.is_alive() and sender.sent == 0


def test_what_waits_is_sent_at_the_end() -> None:
    with receiving() as receiver:
        with sending(receiver, gather_s=60.0) as (sender, _):
            sender.add(span())
        assert len(receiver.spans()) == 1


def test_an_endpoint_may_be_written_with_its_path() -> None:
    with receiving() as receiver:
        troubles: list[str] = []
        sender = OtlpSender(f"{receiver.url}/v1/traces", "home", "x", troubles.append, gather_s=0.01)
        sender.start()
        sender.add(span())
        wait_until(receiver.spans, LIMIT)
        sender.close()
    assert troubles == []


def test_without_the_extra_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineMissing, match=r"pip install 'mesh\[tracing\]'") as caught:
        OtlpSender("http://127.0.0.1:1", "home", "x", lambda text: None)
    assert caught.value.details["command"] == "pip install 'mesh[tracing]'"
