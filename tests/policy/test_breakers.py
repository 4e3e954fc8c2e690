"""Breakers in front of instances: a call through one that is open fails at once, and each change is told."""

from __future__ import annotations

import asyncio
import time

import pytest

from mesh.config import BreakerRule
from mesh.errors import WIRE_ERRORS, CircuitOpen, InvalidArgument, MeshError, Unreachable
from mesh.message import Reply, Request, encode
from mesh.policy.breakers import Breakers, Change
from mesh.records import InstanceRecord
from mesh.testing import FakeClock
from mesh.testing.clock import settle
from tests.policy.calls import ask, code, on_a_loop
from tests.policy.passages import Send, through

LOST = Unreachable("kb.find: the connection to pc2 is lost", began="unknown")


class Guarded:
    """Breakers in front of kb on pc2 and mainpc; what a call comes to is in `answers` by host."""

    def __init__(self, rule: BreakerRule | None = None, operation: str = "add") -> None:
        self.clock = FakeClock()
        self.rows = {host: InstanceRecord("kb", host, 1, "ready", "", ("add", "find")) for host in ("pc2", "mainpc")}
        self.answers: dict[str, MeshError | None] = {"pc2": LOST, "mainpc": None}
        self.changes: list[Change] = []
        self.sent: list[str] = []
        self.breakers = Breakers(self.clock, lambda service: list(self.rows.values()), self.changes.append)
        self.operation = operation
        self.send = self.through(rule or BreakerRule(), operation)

    def through(self, rule: BreakerRule, operation: str = "add") -> Send:
        return through(self._arrive, self.clock, guard=self.breakers.guard(rule, operation))

    async def _arrive(self, request: Request, row: InstanceRecord) -> Reply:
        self.sent.append(row.host)
        error = self.answers[row.host]
        return Reply(encode("fine")) if error is None else Reply(error=error)

    async def call(self, host: str = "pc2", times: int = 1, deadline: float = 2000.0) -> list[str]:
        return [code(await self.send(ask(deadline=deadline), self.rows[host])) for _ in range(times)]

    def state(self, host: str = "pc2") -> str:
        return str(next(row["state"] for row in self.breakers.rows("kb") if row["host"] == host))

    def told(self) -> list[str]:
        return [change.state for change in self.changes]


@on_a_loop
async def test_an_instance_that_fails_is_not_called_any_more_and_the_others_are() -> None:
    it = Guarded()
    assert await it.call(times=7) == ["unreachable"] * 5 + ["circuit_open"] * 2
    assert it.sent == ["pc2"] * 5 and await it.call("mainpc") == [""]
    assert (it.state(), it.state("mainpc"), it.told()) == ("open", "closed", ["open"])
    assert it.changes[0].name == "kb.add on pc2" and it.changes[0].reason == "5 failures in a row"


@on_a_loop
async def test_what_is_refused_says_why_and_when_to_come_back_within_microseconds() -> None:
    it = Guarded()
    await it.call(times=5)
    await it.clock.advance(10.0)
    reply = await it.send(ask(), it.rows["pc2"])
    assert isinstance(reply.error, CircuitOpen) and reply.error.details["retry_after"] == 50.0
    assert reply.error.message == (
        "kb.find on pc2 is not called now: its breaker opened (5 failures in a row; the last: kb.find: the connection "
        "to pc2 is lost) and lets a call try in 50.0 s; `mesh why kb` tells more")
    quickest = 1.0
    for _ in range(200):
        began = time.perf_counter()
        await it.send(ask(), it.rows["pc2"])
        quickest = min(quickest, time.perf_counter() - began)
    assert quickest < 0.0005


@on_a_loop
async def test_it_comes_back_by_a_trial_and_says_so() -> None:
    it = Guarded()
    await it.call(times=5)
    it.answers["pc2"] = None
    await it.clock.advance(59.9)
    assert await it.call() == ["circuit_open"]
    await it.clock.advance(0.1)
    assert await it.call(times=2) == ["", ""]
    assert it.told() == ["open", "half_open", "closed"] and it.state() == "closed"


@on_a_loop
async def test_a_trial_that_is_given_up_leaves_its_place_to_the_next() -> None:
    it = Guarded()
    await it.call(times=5)
    await it.clock.advance(60.0)
    hanging: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def hang(request: Request, row: InstanceRecord) -> Reply:
        await hanging
        return Reply()

    slow = through(hang, it.clock, guard=it.breakers.guard(BreakerRule(), "add"))

    async def tried() -> Reply:
        return await slow(ask(), it.rows["pc2"])

    trial = asyncio.ensure_future(tried())
    await settle()
    assert await it.call() == ["circuit_open"]
    trial.cancel()
    await settle()
    it.answers["pc2"] = None
    assert await it.call(times=2) == ["", ""] and it.state() == "closed"


@on_a_loop
async def test_only_instances_that_would_refuse_are_avoided() -> None:
    it = Guarded()
    avoid = it.breakers.avoid("add")
    assert not any(map(avoid, it.rows.values()))
    await it.call(times=5)
    assert [avoid(it.rows[host]) for host in ("pc2", "mainpc")] == [True, False]
    await it.clock.advance(60.0)
    assert not avoid(it.rows["pc2"])


@on_a_loop
async def test_a_new_incarnation_begins_with_a_closed_breaker() -> None:
    it = Guarded()
    await it.call(times=5)
    it.rows["pc2"] = InstanceRecord("kb", "pc2", 2, "ready", "", ("add", "find"))
    assert not it.breakers.avoid("add")(it.rows["pc2"])
    it.answers["pc2"] = None
    assert await it.call() == [""]
    assert it.told() == ["open", "closed"] and it.changes[-1].reason == "the instance has started anew"


@on_a_loop
async def test_the_same_incarnation_in_another_state_keeps_its_breaker() -> None:
    it = Guarded()
    await it.call(times=5)
    it.rows["pc2"] = InstanceRecord("kb", "pc2", 1, "degraded", "", ("add", "find"))
    assert await it.call() == ["circuit_open"]


@on_a_loop
async def test_breakers_of_instances_that_are_gone_are_forgotten() -> None:
    it = Guarded()
    await it.call(times=5)
    await it.call("mainpc")
    del it.rows["pc2"]
    assert [sample.labels for sample in it.breakers.samples() if sample.instrument.name == "mesh_breaker_state"] == [
        ("kb", "mainpc", "add")]
    assert it.told() == ["open", "closed"]


@on_a_loop
async def test_an_operation_that_fails_closes_no_other_off() -> None:
    it = Guarded()
    own = it.through(BreakerRule(failures=1), "find")
    assert code(await own(ask(), it.rows["pc2"])) == "unreachable"
    assert code(await own(ask(), it.rows["pc2"])) == "circuit_open"
    assert await it.call() == ["unreachable"] and it.changes[0].name == "kb.find on pc2"
    assert it.breakers.avoid("find")(it.rows["pc2"]) and not it.breakers.avoid("add")(it.rows["pc2"])
    it.breakers.drop("kb", "find")
    assert [row["operation"] for row in it.breakers.rows("kb")] == ["add"]


@on_a_loop
async def test_a_rule_that_changes_holds_for_the_breaker_there_is() -> None:
    it = Guarded()
    await it.call(times=5)
    it.send = it.through(BreakerRule(open_s=1.0))
    assert await it.call() == ["circuit_open"]
    await it.clock.advance(1.0)
    assert await it.call() == ["unreachable"]


@on_a_loop
async def test_callers_at_fault_and_in_a_hurry_open_nothing() -> None:
    it = Guarded(BreakerRule(failures=1))
    it.answers["pc2"] = InvalidArgument("no such limit")
    await it.call(times=9)
    it.answers["pc2"] = WIRE_ERRORS["deadline_exceeded"]("late", began="unknown")
    await it.call(times=9, deadline=1000.019)
    assert it.changes == [] and await it.call(times=2, deadline=1000.03) == ["deadline_exceeded", "circuit_open"]


@on_a_loop
async def test_what_became_of_a_call_that_began_before_it_opened_is_no_news() -> None:
    it = Guarded(BreakerRule(failures=2, open_s=1.0, successes=1), "add")
    gates: list[asyncio.Future[None]] = []

    async def slow(request: Request, row: InstanceRecord) -> Reply:
        gates.append(asyncio.get_running_loop().create_future())
        await gates[-1]
        return Reply(error=LOST)

    send = through(slow, it.clock,
                   guard=it.breakers.guard(BreakerRule(failures=2, open_s=1.0, successes=1), "add"))

    async def called() -> Reply:
        return await send(ask(), it.rows["pc2"])

    calls = [asyncio.ensure_future(called()) for _ in range(4)]
    await settle()
    for gate in gates[:2]:
        gate.set_result(None)
    await settle()
    assert it.state() == "open"
    await it.clock.advance(1.0)
    it.answers["pc2"] = None
    assert await it.call() == [""] and it.state() == "closed"
    for gate in gates[2:]:
        gate.set_result(None)
    await asyncio.gather(*calls)
    assert it.state() == "closed" and it.told() == ["open", "half_open", "closed"]


@on_a_loop
async def test_what_they_did_is_counted() -> None:
    it = Guarded()
    await it.call(times=8)
    await it.call("mainpc")
    values = {(sample.instrument.name, *sample.labels): sample.value for sample in it.breakers.samples()}
    assert values == {("mesh_breaker_state", "kb", "pc2", "add"): 1, ("mesh_breaker_state", "kb", "mainpc", "add"): 0,
                      ("mesh_breaker_opened_total", "kb"): 1, ("mesh_breaker_refused_total", "kb"): 3}
    row = it.breakers.rows("kb")[1]
    assert (row["host"], row["state"], row["failures"], row["retry_after_s"]) == ("pc2", "open", 5, 60.0)
    assert row["reason"] == "5 failures in a row" and row["last_error"] == LOST.message


@pytest.mark.parametrize("share", ["..x" * 7, ".x" * 9])
def test_the_window_is_shown(share: str) -> None:
    @on_a_loop
    async def scenario() -> None:
        it = Guarded()
        for one in share:
            it.answers["pc2"] = LOST if one == "x" else None
            await it.call()
        row = it.breakers.rows("kb")[0]
        assert (row["calls"], row["failed"], row["state"]) == (len(share), share.count("x"), "closed")

    scenario()


@on_a_loop
async def test_operations_that_nobody_offers_have_one_breaker_between_them() -> None:
    it = Guarded()
    for number in range(50):
        await it.through(BreakerRule(), f"made_up_{number}")(ask(), it.rows["mainpc"])
    assert [row["operation"] for row in it.breakers.rows("kb")] == [None]
