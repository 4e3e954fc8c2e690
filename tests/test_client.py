"""A call inherits what is left of the time, the trace and the path of the request that is being answered."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from mesh import client as module
from mesh.client import (
    CURRENT,
    DEFAULT_TIMEOUT,
    TARGETS,
    Calls,
    Client,
    current_trace,
    failures,
    remaining,
    running,
)
from mesh.errors import DeadlineExceeded, InvalidArgument, MessageTooLarge, ProtocolError, Unavailable, UnknownService
from mesh.message import Reply, Request, decode, encode
from mesh.testing import FakeClock
from mesh.tracing import NO_SPAN, SpanRing, Trace, doing


class Line:
    """Where a client's requests go: keeps each and answers with the next reply."""

    def __init__(self, *replies: Reply) -> None:
        self.clock = FakeClock()
        self.requests: list[Request] = []
        self._replies = list(replies)
        self.spans = SpanRing()
        self.client = Client("nlu@pc2", self._answer, self.clock, spans=self.spans)

    async def _answer(self, request: Request) -> Reply:
        self.requests.append(request)
        return self._replies.pop(0) if self._replies else Reply(request.body, host="mainpc")

    def call(self, target: str = "kb.find", arguments: dict[str, Any] | None = None, *args: Any, **how: Any) -> Any:
        """Make one call from outside of any request."""
        return asyncio.run(self.client.request(target, arguments or {}, *args, **how))

    def call_inside(self, parent: Request, *args: Any, **how: Any) -> Request:
        """Make one call while answering `parent`; returns the request that left."""
        def made() -> None:
            CURRENT.set(parent)
            self.call(*args, **how)

        contextvars.copy_context().run(made)
        return self.requests[-1]


PARENT = Request("nlu", "parse", encode({}), 1007.0, Trace.new(sampled=True).child(), "gateway@mainpc",
                 ("gateway.ask",))


# --- what leaves ------------------------------------------------------------------------------------------------------


def test_arguments_go_and_the_decoded_result_comes_back() -> None:
    line = Line()
    assert line.call("kb.find", {"query": "birthday", "raw": b"\x00"}) == {"query": "birthday", "raw": b"\x00"}
    request = line.requests[0]
    assert (request.service, request.operation, request.caller) == ("kb", "find", "nlu@pc2")
    assert decode(request.body) == {"query": "birthday", "raw": b"\x00"}
    assert (request.path, request.to_host, request.via) == ((), None, "")


def test_a_call_from_nowhere_begins_a_trace_and_has_thirty_seconds() -> None:
    line = Line()
    line.call()
    line.call(timeout=2.5)
    line.call(sampled=True, to_host="pc3")
    first, second, third = line.requests
    assert first.deadline == line.clock.monotonic() + DEFAULT_TIMEOUT == 1030.0
    assert second.deadline == 1002.5
    assert (first.trace.parent_id, first.trace.sampled, third.trace.sampled) == (NO_SPAN, False, True)
    assert first.trace.trace_id != second.trace.trace_id
    assert third.to_host == "pc3"


def test_a_caller_may_bring_its_own_trace() -> None:
    line = Line()
    trace = Trace.new(sampled=True)
    reply = asyncio.run(line.client.exchange("kb.find", {}, trace=trace))
    assert (line.requests[0].trace, reply.host) == (trace, "mainpc")


# --- inside of a request ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("timeout", "deadline"), [(None, 1007.0), (5.0, 1005.0), (7.0, 1007.0), (60.0, 1007.0)])
def test_a_call_never_has_more_time_than_the_request_it_serves(timeout: float | None, deadline: float) -> None:
    assert Line().call_inside(PARENT, timeout=timeout).deadline == deadline


def test_a_call_goes_on_with_trace_and_path() -> None:
    request = Line().call_inside(PARENT, "kb.find")
    assert request.trace.trace_id == PARENT.trace.trace_id
    assert request.trace.parent_id == PARENT.trace.span_id
    assert request.trace.span_id != PARENT.trace.span_id
    assert request.trace.sampled
    assert request.path == ("gateway.ask", "nlu.parse")
    assert request.caller == "nlu@pc2"


def test_a_chain_of_calls_carries_deadline_trace_and_the_whole_path() -> None:
    clock = FakeClock()
    seen: list[Request] = []

    async def handle(request: Request) -> Reply:
        seen.append(request)
        CURRENT.set(request)
        if len(seen) < 4:
            await clock.advance(1.0)
            target = f"service{len(seen)}.do"
            return Reply(encode(await Client(f"service{len(seen)}@pc2", handle, clock).request(target, {}, 10.0)))
        return Reply(encode(remaining(clock)))

    async def scenario() -> object:
        return await Client("operator", handle, clock).request("service0.do", {}, 12.0)

    assert asyncio.run(scenario()) == 8.0
    assert [request.path for request in seen] == [
        (), ("service0.do",), ("service0.do", "service1.do"), ("service0.do", "service1.do", "service2.do")
    ]
    assert [request.deadline for request in seen] == [1012.0, 1011.0, 1011.0, 1011.0]
    assert len({request.trace.trace_id for request in seen}) == 1
    assert [request.trace.parent_id for request in seen[1:]] == [request.trace.span_id for request in seen[:-1]]


def test_no_call_is_made_for_a_request_whose_time_is_over() -> None:
    line = Line()
    with pytest.raises(DeadlineExceeded) as caught:
        line.call_inside(PARENT._replace(deadline=1000.0), "kb.find")
    assert caught.value.message == "kb.find was not called: the deadline of nlu.parse has passed"
    assert caught.value.details == {"began": "no"}
    assert line.requests == []


def test_what_is_left_of_a_request_can_be_asked() -> None:
    clock = FakeClock()
    assert remaining(clock) is None

    def inside(parent: Request) -> float | None:
        CURRENT.set(parent)
        return remaining(clock)

    assert contextvars.copy_context().run(inside, PARENT) == 7.0
    assert contextvars.copy_context().run(inside, PARENT._replace(deadline=3.0)) == 0.0


# --- what does not work -----------------------------------------------------------------------------------------------


def test_the_error_of_a_call_is_raised_and_of_an_exchange_returned() -> None:
    line = Line(*[Reply(error=Unavailable("it starts", retry_after=1.0))] * 2)
    with pytest.raises(Unavailable, match="it starts"):
        line.call()
    assert isinstance(asyncio.run(line.client.exchange("kb.find", {})).error, Unavailable)


def test_a_result_that_does_not_decode_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="does not decode"):
        Line(Reply(b"\xc1")).call()


@pytest.mark.parametrize("target", ["kb", "kb.", ".find", "kb.find.more", "Kb.find", "kb find", "", "kb.find\n"])
def test_a_target_names_a_service_and_an_operation(target: str) -> None:
    line = Line()
    with pytest.raises(InvalidArgument, match=r"does not name an operation; write service\.operation") as caught:
        line.call(target)
    assert (caught.value.details, line.requests) == ({"path": "target"}, [])


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_timeout_is_a_time(timeout: float) -> None:
    line = Line()
    with pytest.raises(InvalidArgument, match="give seconds above zero") as caught:
        line.call(timeout=timeout)
    assert (caught.value.details, line.requests) == ({"path": "timeout"}, [])


def test_an_argument_that_may_not_travel_is_named() -> None:
    line = Line()
    with pytest.raises(InvalidArgument, match=r"arguments\.facts\[1\] holds builtins\.object") as caught:
        line.call("kb.add", {"facts": ["a", object()]})
    assert (caught.value.details, line.requests) == ({"path": "arguments.facts[1]"}, [])


def test_arguments_over_the_limit_are_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BODY", 1000)
    line = Line()
    with pytest.raises(MessageTooLarge) as caught:
        line.call("kb.add", {"picture": bytes(1000)})
    assert caught.value.details["limit"] == 1000
    assert caught.value.details["size"] > 1000
    assert line.requests == []


# --- what is counted --------------------------------------------------------------------------------------------------


def test_calls_and_failures_are_counted_by_target() -> None:
    line, calls = Line(Reply(encode(1)), Reply(error=Unavailable("away")), Reply(encode(2))), Calls()
    client = Client("nlu@pc2", line._answer, line.clock, calls)
    asyncio.run(client.exchange("kb.find", {}))
    asyncio.run(client.exchange("kb.find", {}))
    asyncio.run(client.exchange("kb.add", {}))
    assert {target: (edge.calls, edge.errors, edge.last_error) for target, edge in calls.edges.items()} == {
        "kb.find": (2, 1, "unavailable"), "kb.add": (1, 0, None)}


def test_failures_are_shown_by_service_and_code() -> None:
    errors = [Unavailable("away"), Unavailable("away"), InvalidArgument("no", path="x"), UnknownService("none")]
    line, calls = Line(*(Reply(error=error) for error in errors), Reply(encode(1))), Calls()
    client = Client("nlu@pc2", line._answer, line.clock, calls)
    for target in ("kb.find", "kb.add", "kb.add", "kbb.add", "kb.add"):
        asyncio.run(client.exchange(target, {}))
    assert {sample.labels: sample.value for sample in failures([calls, Calls()])} == {
        ("kb", "unavailable"): 2, ("kb", "invalid_argument"): 1, ("unknown", "unknown_service"): 1}


def test_a_caller_that_makes_up_names_fills_no_memory() -> None:
    line, calls = Line(), Calls()
    client = Client("nlu@pc2", line._answer, line.clock, calls)
    for number in range(TARGETS + 20):
        asyncio.run(client.exchange(f"made_up_{number}.find", {}))
    assert len(calls.edges) == TARGETS and calls.uncounted == 20
    assert line.requests[-1].service == f"made_up_{TARGETS + 19}"


def test_counts_outlive_the_client() -> None:
    line, calls = Line(), Calls()
    for _ in range(2):
        asyncio.run(Client("nlu@pc2", line._answer, line.clock, calls).exchange("kb.find", {}))
    assert calls.edges["kb.find"].calls == 2


# --- spans and the log ------------------------------------------------------------------------------------------------


def test_a_sampled_call_leaves_the_callers_span() -> None:
    line = Line()
    line.call(sampled=True)
    line.call()
    (span,), sent = line.spans, line.requests[0]
    assert (span.kind, span.service, span.operation, span.host, span.caller) == (
        "call", "kb", "find", "pc2", "nlu@pc2")
    assert (span.trace_id, span.span_id, span.parent_id) == (sent.trace.trace_id, sent.trace.span_id, NO_SPAN)


def test_a_call_that_fails_leaves_a_span_though_it_is_not_sampled() -> None:
    line = Line(Reply(error=Unavailable("no")))
    with pytest.raises(Unavailable):
        line.call()
    (span,) = line.spans
    assert (span.error, span.sampled) == ("unavailable", False)


def test_a_call_that_is_cancelled_leaves_a_span() -> None:
    clock, spans = FakeClock(), SpanRing()

    async def never(request: Request) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    async def scenario() -> None:
        call = asyncio.create_task(Client("nlu@pc2", never, clock, spans=spans).request("kb.find", {}))
        await asyncio.sleep(0)
        await clock.advance(3.0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    asyncio.run(scenario())
    (span,) = spans
    assert (span.error, span.duration) == ("cancelled", 3.0)


def test_what_an_agent_does_unasked_goes_on_with_its_trace() -> None:
    line, trace = Line(), Trace.new(sampled=True)
    with doing("nlu", "tick", trace):
        line.call()
        assert current_trace() == trace
        assert running() == {"service": "nlu", "operation": "tick", "trace_id": trace.trace_id.hex()}
    with doing("nlu", "setup"):
        line.call()
        assert running() == {"service": "nlu", "operation": "setup", "trace_id": None}
    inside, apart = line.requests
    assert (inside.trace.trace_id, inside.trace.parent_id, inside.path) == (trace.trace_id, trace.span_id, ())
    assert apart.trace.trace_id != trace.trace_id
    assert running() == {} and current_trace() is None


def test_the_log_knows_the_request_that_is_answered() -> None:
    def inside() -> dict[str, str | None]:
        CURRENT.set(PARENT)
        with doing("other", "tick"):
            return running()

    assert contextvars.copy_context().run(inside) == {
        "service": "nlu", "operation": "parse", "trace_id": PARENT.trace.trace_id.hex()}
