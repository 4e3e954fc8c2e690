"""Nothing is sent before the moment a callee has named, and not a moment longer is anybody held back."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mesh.errors import MeshError, Overloaded, RateLimited, RemoteFailure
from mesh.message import Reply, Request
from mesh.policy.pause import MOST_PAUSES, Hold, Pause, Pauses
from mesh.records import InstanceRecord
from mesh.testing import FakeClock
from mesh.testing.clock import settle
from tests.figures import read
from tests.policy.calls import ask, code, on_a_loop
from tests.policy.passages import through

PC2 = InstanceRecord("kb", "pc2", 1, "ready")
OTHER = InstanceRecord("kb", "mainpc", 1, "ready")


class Line:
    """A callee that answers as told, behind a pause."""

    def __init__(self, most_s: float = 1.0) -> None:
        self.clock = FakeClock()
        self.pauses = Pauses()
        self.sent: list[float] = []
        self.answer: MeshError | None = None
        self.gate: asyncio.Future[None] | None = None
        self.handle = through(self._send, self.clock, hold=Hold(self.pauses, most_s, self.clock))

    async def _send(self, request: Request, row: InstanceRecord) -> Reply:
        self.sent.append(self.clock.monotonic())
        if self.gate is not None:
            await self.gate
        return Reply(b"\xc0", self.answer, row.host)


@on_a_loop
async def test_whoever_was_told_to_wait_is_told_again_until_the_time_is_over() -> None:
    line = Line()
    line.answer = Overloaded("full", retry_after=0.5)
    assert code(await line.handle(ask(1), PC2)) == "overloaded"
    await line.clock.advance(0.2)
    error = (await line.handle(ask(2), PC2)).error
    assert isinstance(error, Overloaded) and len(line.sent) == 1
    assert round(error.details["retry_after"], 6) == 0.3
    assert error.message == ("kb.find was not called: kb on pc2 takes no more calls of nlu@pc2 for 0.3 s, as it has "
                             "said")
    assert read(line.pauses.samples())["mesh_paused_total", "kb"] == 1
    assert line.pauses.row("kb") == {"held": 1, "refused": 1}
    line.answer = None
    await line.clock.advance(0.3)
    assert code(await line.handle(ask(3), PC2)) == "" and len(line.sent) == 2
    await line.clock.advance(1.0)
    assert code(await line.handle(ask(4), PC2)) == "" and not line.pauses, "after a second of peace it is forgotten"


@on_a_loop
async def test_other_callers_operations_and_instances_are_not_held_back() -> None:
    line = Line()
    line.answer = RateLimited("too often", retry_after=0.5)
    await line.handle(ask(1), PC2)
    line.answer = None
    for request, row in ((ask(2), OTHER), (ask(3, target="kb.add"), PC2), (ask(4)._replace(caller="stt@pc2"), PC2)):
        assert code(await line.handle(request, row)) == ""
    assert code(await line.handle(ask(5), PC2)) == "rate_limited"


@on_a_loop
async def test_errors_that_name_no_moment_and_moments_far_away_hold_nobody_back_for_long() -> None:
    line = Line(most_s=2.0)
    for error in (RemoteFailure("no"), Overloaded("full"), Overloaded("full", retry_after=0),
                  Overloaded("full", retry_after="soon")):
        line.answer = error
        await line.handle(ask(1), PC2)
    assert len(line.sent) == 4 and not line.pauses
    line.answer = Overloaded("full", retry_after=3600.0)
    await line.handle(ask(1), PC2)
    line.answer = None
    await line.clock.advance(2.0)
    assert code(await line.handle(ask(2), PC2)) == ""


@on_a_loop
async def test_what_is_kept_is_bounded() -> None:
    line = Line()
    line.answer = Overloaded("full", retry_after=0.5)
    for number in range(MOST_PAUSES + 10):
        await line.handle(ask(1)._replace(caller=f"made up {number}"), PC2)
    assert len(line.pauses) == MOST_PAUSES
    await line.clock.advance(2.0)
    await line.handle(ask(1), PC2)
    assert len(line.pauses) == 1


@on_a_loop
async def test_after_a_pause_more_and_more_may_be_outstanding_until_the_next_refusal_halves_it() -> None:
    line = Line()
    line.answer = Overloaded("full", retry_after=0.1)
    await line.handle(ask(0), PC2)
    line.answer = None
    await line.clock.advance(0.1)
    most = []
    for _ in range(5):
        line.gate = asyncio.get_running_loop().create_future()
        calls = [asyncio.ensure_future(_made(line, number)) for number in range(20)]
        await settle()
        most.append(sum(not call.done() for call in calls))
        line.gate.set_result(None)
        assert {code(await call) for call in calls} <= {"", "overloaded"}
    assert most == [1, 2, 4, 8, 16]
    line.gate, line.answer = None, Overloaded("full", retry_after=0.1)
    await line.handle(ask(0), PC2)
    line.answer = None
    await line.clock.advance(0.1)
    line.gate = asyncio.get_running_loop().create_future()
    calls = [asyncio.ensure_future(_made(line, number)) for number in range(40)]
    await settle()
    assert sum(not call.done() for call in calls) == 16, "of the 32 that were allowed"
    line.gate.set_result(None)
    await asyncio.gather(*calls)


async def _made(line: Line, number: int) -> Reply:
    return await line.handle(ask(number), PC2)


class Patience(RuleBasedStateMachine):
    """Whatever is sent, answered and refused when: nothing leaves before the moment named, and all is well in the end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pauses, self.now = Pauses(), 1000.0
        self.until: dict[str, float] = {}
        self.out: list[tuple[str, Pause | None]] = []

    @rule(caller=st.sampled_from("abc"))
    def send(self, caller: str) -> None:
        held = self.pauses.of((caller, "kb.find", "pc2", 1), self.now)
        if held is not None and held.left(self.now):
            return
        assert self.until.get(caller, 0.0) <= self.now
        if held is not None:
            held.outstanding += 1
        self.out.append((caller, held))

    @rule(choice=st.integers(0, 50), seconds=st.one_of(st.none(), st.floats(0.01, 3.0)))
    def answer(self, choice: int, seconds: float | None) -> None:
        if not self.out:
            return
        caller, held = self.out.pop(choice % len(self.out))
        if held is not None:
            held.outstanding -= 1
        if seconds is None:
            if held is not None:
                held.answered(self.now)
            return
        self.pauses.note((caller, "kb.find", "pc2", 1), Overloaded("full", retry_after=seconds), self.now, 1.0)
        if self.until.get(caller, 0.0) <= self.now:
            self.until[caller] = self.now + min(seconds, 1.0)

    @rule(seconds=st.floats(0.0, 1.5))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def nobody_is_held_back_for_longer_than_a_second(self) -> None:
        for caller in "abc":
            held = self.pauses.of((caller, "kb.find", "pc2", 1), self.now)
            assert held is None or (held.outstanding >= 0 and held.left(self.now) <= 1.0)

    def teardown(self) -> None:
        for _, held in self.out:
            if held is not None:
                held.outstanding -= 1
        self.now += 2.5
        for caller in "abc":
            held = self.pauses.of((caller, "kb.find", "pc2", 1), self.now)
            assert held is None or held.left(self.now) == 0.0


TestPatience = Patience.TestCase
TestPatience.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
