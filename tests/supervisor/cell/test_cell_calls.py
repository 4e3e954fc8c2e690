"""What a cell answers: results, refusals, and what becomes of the errors an agent raises."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from pydantic import BaseModel

from mesh import (
    CallCycle,
    DeadlineExceeded,
    InvalidArgument,
    InvalidResult,
    MessageTooLarge,
    Overloaded,
    RemoteFailure,
    Unavailable,
    UnknownOperation,
    UnknownService,
    operation,
)
from mesh.agent.agent import bound
from mesh.errors import StoreError
from mesh.message import Request, encode, replied
from mesh.policy.inbox import Inbox
from mesh.supervisor.cell import cell as cell_module
from mesh.testing import InMemoryMesh, in_mesh
from mesh.testing.clock import settle
from mesh.tracing import Trace
from tests.eventually import eventually
from tests.supervisor.plain import SOON, Plain, fresh


class Point(BaseModel):
    """Somewhere."""

    x: int
    y: int = 0


class Answering(Plain):
    """Answers in every way there is."""

    go: asyncio.Event
    journal: list[str]

    @operation
    async def mirror(self, point: Point, times: int = 1) -> list[Point]:
        return [Point(x=-point.x, y=-point.y)] * times

    @operation
    async def promise(self) -> Point:
        return {"x": "here"}  # type: ignore[return-value]

    @operation(max_body=1000)
    async def small(self, data: bytes) -> int:
        return len(data)

    @operation
    async def fail(self, kind: str) -> None:
        if kind == "unavailable":
            raise Unavailable("the camera is off", retry_after=7.0)
        if kind == "store":
            raise StoreError("the disk is full")
        raise {"value": ValueError("three"), "empty": LookupError()}[kind]

    @operation
    async def work(self, name: str = "") -> str:
        self.journal.append(f"begun {name}")
        try:
            await self.go.wait()
            return name
        finally:
            self.journal.append(f"ended {name}")

    @operation
    def read(self) -> int:
        return threading.get_ident()

    @operation
    async def again(self) -> Any:
        return await self.request("plain.again")

    @operation
    async def passes_on(self, target: str, kind: str) -> Any:
        return await self.request(target, kind=kind)

    @operation
    async def left(self) -> float | None:
        return bound(self).context.remaining()

    @operation
    async def left_inside(self, timeout_s: float) -> float | None:
        left: float | None = await self.request("plain.left", timeout=timeout_s)
        return left


def answering() -> type[Answering]:
    return fresh(Answering, go=asyncio.Event(), journal=[])


def asking(mesh: InMemoryMesh, seconds: float = 30.0, body: bytes | None = None, name: str = "echo") -> Request:
    """Return a request as a link brings it."""
    body = encode({"text": "a"}) if body is None else body
    return Request("plain", name, body, mesh.clock.monotonic() + seconds, Trace.new(), "somebody@pc2")


# -- results and refusals


@in_mesh
async def test_arguments_and_results_are_what_the_signature_says(mesh: InMemoryMesh) -> None:
    await mesh.add("plain", answering())
    assert await mesh.request("plain.mirror", point={"x": 3}, times=2) == [{"x": -3, "y": 0}] * 2
    with pytest.raises(InvalidArgument, match=r"mirror: argument 'point\.x' of Point: found 'three'") as caught:
        await mesh.request("plain.mirror", point={"x": "three"})
    assert caught.value.details["path"] == "point.x"
    with pytest.raises(InvalidArgument, match="there is no argument 'tims', did you mean 'times'"):
        await mesh.request("plain.mirror", point={"x": 3}, tims=2)
    with pytest.raises(InvalidArgument, match="argument 'point' is missing, expected Point"):
        await mesh.request("plain.mirror")
    assert mesh.reports == []


@in_mesh
async def test_arguments_that_do_not_decode_are_refused(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("plain", answering())
    refused = (await replied(cell.handle(asking(mesh, body=b"\xc1")))).error
    assert isinstance(refused, InvalidArgument) and "plain.echo: a body of 1 bytes does not decode" in refused.message


@in_mesh
async def test_a_result_that_is_not_as_declared_is_the_agents_fault(mesh: InMemoryMesh) -> None:
    await mesh.add("plain", answering())
    with pytest.raises(InvalidResult, match="promise returned Point whose 'x' is 'here'"):
        await mesh.request("plain.promise")
    (report,) = mesh.reports
    assert (report.service, report.operation, report.type) == ("plain", "promise", "InvalidResult")


@in_mesh
async def test_an_unknown_operation_is_refused_with_the_nearest_name(mesh: InMemoryMesh) -> None:
    await mesh.add("plain", answering())
    with pytest.raises(UnknownOperation, match="plain has no operation mirrow; did you mean mirror") as caught:
        await mesh.request("plain.mirrow")
    assert caught.value.details["suggestion"] == "mirror"
    with pytest.raises(UnknownOperation, match="it has again, echo, fail, leave, left,"):
        await mesh.request("plain.zzzzz")


@in_mesh
async def test_arguments_over_the_limit_of_an_operation_are_refused(mesh: InMemoryMesh) -> None:
    await mesh.add("plain", answering())
    assert await mesh.request("plain.small", data=bytes(900)) == 900
    with pytest.raises(MessageTooLarge, match=r"the arguments of plain\.small are 1009 bytes, its limit is 1000") as it:
        await mesh.request("plain.small", data=bytes(1000))
    assert it.value.details == {"size": 1009, "limit": 1000}


# -- errors


@in_mesh
async def test_an_error_of_the_mesh_arrives_as_it_is(mesh: InMemoryMesh) -> None:
    await mesh.add("plain", answering())
    with pytest.raises(Unavailable, match="the camera is off") as caught:
        await mesh.request("plain.fail", kind="unavailable")
    assert caught.value.details == {"retry_after": 7.0, "began": "yes"} and caught.value.__traceback__ is not None
    assert mesh.reports == []


@in_mesh
async def test_an_error_that_is_passed_on_says_whose_it_was_and_that_this_call_had_begun(mesh: InMemoryMesh) -> None:
    for service in ("plain", "other", "third"):
        await mesh.add(service, answering())
    with pytest.raises(Unavailable, match="the camera is off") as caught:
        await mesh.request("other.passes_on", target="plain.fail", kind="unavailable")
    assert caught.value.details == {"retry_after": 7.0, "began": "yes", "through": "plain.fail"}
    with pytest.raises(UnknownService) as unknown:
        await mesh.request("other.passes_on", target="nobody.fail", kind="")
    assert (unknown.value.details["began"], unknown.value.details["through"]) == ("yes", "nobody.fail")


@pytest.mark.parametrize(("kind", "type_name", "message"), [
    ("value", "ValueError", "plain.fail raised ValueError: three"),
    ("empty", "LookupError", "plain.fail raised LookupError: "),
    ("store", "StoreError", "plain.fail raised StoreError: the disk is full"),
])
def test_any_other_error_is_a_remote_failure_that_the_error_bus_knows(kind: str, type_name: str, message: str) -> None:
    @in_mesh
    async def scenario(mesh: InMemoryMesh) -> None:
        cell = await mesh.add("plain", answering())
        with pytest.raises(RemoteFailure) as caught:
            await mesh.request("plain.fail", kind=kind)
        (report,) = mesh.reports
        assert caught.value.message == message
        assert caught.value.details == {"type": type_name, "error_id": report.id}
        assert (report.severity, report.operation, report.type) == ("error", "fail", type_name)
        assert "in fail\n" in report.traceback and report.trace_id is not None
        assert [event.payload["id"] for event in mesh.events_on("errors.error.mainpc.plain")] == [report.id]
        assert cell.state == "ready" and str(cell.last_error).startswith(f"fail: {type_name}")

    scenario()


@in_mesh
async def test_a_circle_of_calls_is_refused(mesh: InMemoryMesh) -> None:
    await mesh.add("plain", answering())
    with pytest.raises(CallCycle) as caught:
        await mesh.request("plain.again")
    assert caught.value.details["path"] == ["plain.again", "plain.again"]


# -- the inbox


@in_mesh
async def test_one_call_more_than_may_wait_is_told_so_at_once(mesh: InMemoryMesh) -> None:
    agent = answering()
    cell = await mesh.add("plain", agent, limits={"concurrency": 2, "inbox": 1})
    calls = [asyncio.create_task(mesh.request("plain.work", name=name)) for name in "abc"]
    await settle()
    assert agent.journal == ["begun a", "begun b"] and (cell.inbox.running, len(cell.inbox)) == (2, 1)
    with pytest.raises(Overloaded, match="plain takes no more calls now: 1 calls wait already") as caught:
        await mesh.request("plain.work", name="d")
    assert caught.value.details["retry_after"] > 0
    agent.go.set()
    assert await asyncio.gather(*calls) == ["a", "b", "c"]
    assert (cell.inbox.running, len(cell.inbox)) == (0, 0)


@in_mesh
async def test_bodies_that_wait_are_bounded_by_their_bytes_too(
    mesh: InMemoryMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{Inbox.__module__}.BYTES", 1000)
    agent = answering()
    await mesh.add("plain", agent)
    alone = asyncio.create_task(mesh.request("plain.work", name="x" * 2000))
    await settle()
    with pytest.raises(Overloaded, match="of arguments wait already"):
        await mesh.request("plain.work", name="y")
    agent.go.set()
    assert len(await alone) == 2000
    await mesh.clock.advance(0.2)  # as it was told to wait
    assert await mesh.request("plain.work", name="y") == "y"


@in_mesh
async def test_a_caller_that_gives_up_while_it_waits_leaves_no_trace(mesh: InMemoryMesh) -> None:
    agent = answering()
    cell = await mesh.add("plain", agent, limits={"concurrency": 1})
    first, second, third = (asyncio.create_task(mesh.request("plain.work", name=name)) for name in "abc")
    await settle()
    second.cancel()
    await settle()
    assert len(cell.inbox) == 1
    agent.go.set()
    assert (await first, await third) == ("a", "c")
    assert agent.journal == ["begun a", "ended a", "begun c", "ended c"]


# -- deadlines


@in_mesh
async def test_the_deadline_cancels_the_method(mesh: InMemoryMesh) -> None:
    agent = answering()
    await mesh.add("plain", agent)
    call = asyncio.create_task(mesh.request("plain.work", name="a", timeout=2.0))
    await mesh.clock.advance(1.9)
    assert agent.journal == ["begun a"]
    await mesh.clock.advance(0.2)
    with pytest.raises(DeadlineExceeded):
        await call
    assert agent.journal == ["begun a", "ended a"] and mesh.reports == []


@in_mesh
async def test_a_request_that_comes_too_late_is_not_begun(mesh: InMemoryMesh) -> None:
    agent = answering()
    cell = await mesh.add("plain", agent)
    late = (await replied(cell.handle(asking(mesh, seconds=-1.0, body=encode({}), name="work")))).error
    assert isinstance(late, DeadlineExceeded) and late.details["began"] == "no" and agent.journal == []


@in_mesh
async def test_a_call_made_inside_has_no_more_time_than_is_left(mesh: InMemoryMesh) -> None:
    await mesh.add("plain", answering())
    assert await mesh.request("plain.left_inside", timeout_s=100.0, timeout=3.0) == pytest.approx(3.0)
    assert await mesh.request("plain.left_inside", timeout_s=1.0, timeout=3.0) == pytest.approx(1.0)
    assert await mesh.request("plain.left") == pytest.approx(30.0)


# -- threads and figures


@in_mesh
async def test_a_plain_def_runs_in_a_thread(mesh: InMemoryMesh) -> None:
    await mesh.add("plain", answering())
    assert await mesh.request("plain.read") != threading.get_ident()


@in_mesh
async def test_calls_errors_and_latency_are_counted(mesh: InMemoryMesh) -> None:
    agent = answering()
    cell = await mesh.add("plain", agent)
    await mesh.request("plain.echo", text="a")
    with pytest.raises(RemoteFailure):
        await mesh.request("plain.fail", kind="value")
    call = asyncio.create_task(mesh.request("plain.work", name="slow"))
    await mesh.clock.advance(10)
    agent.go.set()
    await call
    assert (cell.stats.calls, cell.stats.errors, cell.stats.latency.count) == (3, 1, 3)
    longest = cell.stats.latency.quantile(1.0)
    assert longest is not None and 9 < longest < 11


@in_mesh
async def test_a_span_is_kept_of_each_step_of_a_sampled_call(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("plain", answering())
    quiet = asking(mesh, body=encode({"timeout_s": 5.0}), name="left_inside")
    sampled = quiet._replace(trace=Trace.new(sampled=True))
    await replied(cell.handle(quiet))
    await replied(cell.handle(sampled))
    assert mesh.spans.of(quiet.trace.trace_id.hex()) == []
    spans = {span.operation: span for span in mesh.spans.of(sampled.trace.trace_id.hex())}
    assert spans.keys() == {"left_inside", "left"} and spans["left"].parent_id == spans["left_inside"].span_id
    assert {(span.service, span.host, span.error) for span in spans.values()} == {("plain", "mainpc", None)}


# -- while it starts


class Gated(Plain):
    """Comes up when the gate is open."""

    gate: threading.Event
    begun = 0

    async def setup(self) -> None:
        type(self).begun += 1
        await self.run(self.gate.wait, 5.0)


@in_mesh
async def test_a_call_while_it_starts_is_answered_when_it_is_up(mesh: InMemoryMesh) -> None:
    gated = fresh(Gated, gate=threading.Event())
    adding = asyncio.create_task(mesh.add("plain", gated))
    await eventually(lambda: gated.begun)
    here = asyncio.create_task(mesh.request("plain.echo", text="a"))
    from_elsewhere = asyncio.ensure_future(replied(mesh.cell("plain").handle(asking(mesh))))
    await settle()
    assert not here.done() and not from_elsewhere.done()
    gated.gate.set()
    await adding
    assert await here == "a" and (await from_elsewhere).value() == "a"


@in_mesh
async def test_a_call_while_it_starts_again_waits_as_well(mesh: InMemoryMesh) -> None:
    gated = fresh(Gated, gate=threading.Event())
    gated.gate.set()
    cell = await mesh.add("plain", gated)
    gated.gate.clear()
    with pytest.raises(RemoteFailure):
        await mesh.request("plain.leave")
    await mesh.clock.advance(SOON)
    await eventually(lambda: gated.begun == 2)
    waiting = asyncio.ensure_future(replied(cell.handle(asking(mesh))))
    await settle()
    assert not waiting.done()
    gated.gate.set()
    assert (await waiting).value() == "a"


@in_mesh
async def test_no_call_waits_for_a_start_longer_than_two_seconds(
    mesh: InMemoryMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = fresh(Gated, gate=threading.Event())
    assert cell_module.START_PATIENCE == 2.0
    adding = asyncio.create_task(mesh.add("plain", gated))
    await eventually(lambda: gated.begun)
    waiting = asyncio.create_task(mesh.request("plain.echo", text="a"))
    await mesh.clock.advance(1.9)
    assert not waiting.done()
    await mesh.clock.advance(0.2)
    with pytest.raises(Unavailable, match="is starting on mainpc"):
        await waiting
    monkeypatch.setattr(cell_module, "START_PATIENCE", 0.02)
    for seconds in (30.0, 0.01):  # its deadline may come first
        refused = await replied(mesh.cell("plain").handle(asking(mesh, seconds)))
        assert isinstance(refused.error, Unavailable) and "plain on mainpc is starting" in refused.error.message
        assert refused.error.details["retry_after"] == 1.0
    gated.gate.set()
    await adding


@in_mesh
async def test_a_start_that_fails_ends_the_waiting_at_once(mesh: InMemoryMesh) -> None:
    gated = fresh(Gated, gate=threading.Event())
    class Doomed(gated):  # type: ignore[misc, valid-type]
        """Fails late."""

        async def setup(self) -> None:
            await super().setup()
            raise ValueError("no licence file")

    adding = asyncio.create_task(mesh.add("plain", Doomed))
    await eventually(lambda: Doomed.begun)
    waiting = asyncio.ensure_future(replied(mesh.cell("plain").handle(asking(mesh))))
    await settle()
    gated.gate.set()
    refused = (await waiting).error
    assert isinstance(refused, Unavailable) and "no licence file" in refused.message
    await adding
