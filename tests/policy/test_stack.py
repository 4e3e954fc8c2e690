"""The onions are put together in the order that keeps their promises."""

from __future__ import annotations

import asyncio

from mesh.config import Policies
from mesh.directory import Directory
from mesh.errors import MeshError, Overloaded, Unavailable, Unreachable
from mesh.message import Reply, Request, replied
from mesh.policy.deadline import DeadlineGuard
from mesh.policy.inbox import Inbox
from mesh.policy.measure import CallStats
from mesh.policy.rate import Rates
from mesh.policy.resolve import Resolver
from mesh.policy.rules import RuleBook
from mesh.policy.stack import Outgoing, incoming
from mesh.records import HostRecord, InstanceRecord
from mesh.testing import FakeClock
from mesh.testing.clock import settle
from mesh.tracing import SpanRing
from mesh.transport.deadlines import Deadlines
from tests.figures import read
from tests.policy.calls import Callee, ask, code, on_a_loop


class Cell:
    """Everything a request passes on its way to a method, with room for one that runs and one that waits."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.callee = Callee()
        self.stats = CallStats()
        self.rates = Rates()
        self.policies = Policies()
        self.rules = RuleBook(Policies(), lambda _: self.policies)
        self.inbox = Inbox(waiting=1, concurrency=1)
        self._handle = incoming(
            self.callee, service="kb", rules=self.rules,
            stats=self.stats, spans=SpanRing(), host="pc2", inbox=self.inbox,
            guard=DeadlineGuard(Deadlines(self.clock), self.clock), clock=self.clock, rates=self.rates,
        )

    async def call(self, request: Request) -> asyncio.Task[Reply]:
        async def made() -> Reply:
            return await replied(self._handle(request))

        task = asyncio.ensure_future(made())
        await settle()
        return task


@on_a_loop
async def test_a_call_whose_deadline_passed_while_it_waited_is_not_begun() -> None:
    cell = Cell()
    running = await cell.call(ask(1, deadline=1100.0))
    waiting = await cell.call(ask(2, deadline=1001.0))
    await cell.clock.advance(5)
    assert not waiting.done()
    await cell.callee.answer(1)
    assert code(await running) == ""
    reply = await waiting
    assert reply.error is not None
    assert (code(reply), reply.error.details) == ("deadline_exceeded", {"began": "no"})
    assert cell.callee.begun == [1]


@on_a_loop
async def test_a_call_stopped_at_its_deadline_gives_its_place_to_the_next() -> None:
    cell = Cell()
    slow = await cell.call(ask(1, deadline=1001.0))
    await cell.call(ask(2, deadline=1100.0))
    await cell.clock.advance(2)
    assert code(await slow) == "deadline_exceeded"
    assert cell.callee.running == [2]
    await cell.callee.answer(2)


@on_a_loop
async def test_refused_calls_are_measured_too() -> None:
    cell = Cell()
    for number in range(3):
        last = await cell.call(ask(number))
    assert code(await last) == "overloaded"
    assert (cell.stats.calls, cell.stats.errors) == (1, 1)
    await cell.callee.answer(0)
    await cell.callee.answer(1)
    assert (cell.stats.calls, cell.stats.errors) == (3, 1)


@on_a_loop
async def test_a_rate_is_looked_at_before_the_inbox_and_what_was_used_up_outlives_a_change_of_other_rules() -> None:
    cell = Cell()
    await cell.call(ask(1))
    cell.policies = Policies.model_validate({"operations": {"find": {"rate": {"calls": 1, "per_s": 60.0}}}})
    cell.rules.forget("kb")
    await cell.call(ask(2))
    limited = await cell.call(ask(3))
    assert code(await limited) == "rate_limited", "the inbox would have said overloaded"
    assert code(await (await cell.call(ask(4, target="kb.add")))) == "overloaded"
    cell.policies = Policies.model_validate({"operations": {"find": {"rate": {"calls": 1, "per_s": 60.0}}},
                                             "shed": None})
    cell.rules.forget("kb")
    assert code(await (await cell.call(ask(5)))) == "rate_limited"
    assert cell.rates.rows() == {"find": {"callers": 1, "refused": 2}}
    cell.policies = Policies()
    cell.rules.forget("kb")
    await cell.callee.answer(1)
    again = await cell.call(ask(6))
    await cell.callee.answer(2)
    await cell.callee.answer(6)
    assert code(await again) == ""


class Caller:
    """The way out of mainpc, with kb on pc2 in two instances and nlu here; `went` says where calls came."""

    def __init__(self, policies: Policies | None = None) -> None:
        self.clock = FakeClock()
        self.policies = policies or Policies()
        self.policies_of: dict[str, Policies] = {}
        self.fails: dict[str, MeshError] = {}
        self.answers: asyncio.Future[None] | None = None
        self.rules = RuleBook(
            Policies(), lambda service: self.policies if service == "kb" else self.policies_of.get(service)
        )
        self.went: list[tuple[str, str | None]] = []
        directory = Directory(clock=self.clock)
        directory.replace(1, 1, {
            "settled": True, "desired": [], "overrides": [],
            "hosts": [HostRecord(name, 1, "127.0.0.1", 1, 2, "", "", "ok", 0).to_wire() for name in ("mainpc", "pc2")],
            "instances": [InstanceRecord("kb", "pc2", 1, "stopped", number=1).to_wire(),
                          InstanceRecord("kb", "pc2", 2, "ready", number=2).to_wire(),
                          InstanceRecord("nlu", "mainpc", 3, "ready").to_wire()],
        })
        resolver = Resolver(directory, "mainpc", self.clock, settling=lambda: False, changed=self.clock.sleep)
        self.send = Outgoing(self.rules, resolver, "mainpc", local=self._local, remote=self._remote,
                             clock=self.clock)

    async def _local(self, request: Request) -> Reply:
        assert not request.options
        self.went.append(("mainpc", request.to_host))
        return Reply(request.body, self.fails.get(request.service))

    async def _remote(self, request: Request, host: str) -> Reply:
        assert not request.options
        self.went.append((host, request.to_host))
        if self.answers is not None:
            await self.answers
        return Reply(request.body, self.fails.get(request.service))


@on_a_loop
async def test_a_circle_is_refused_before_anything_is_looked_up() -> None:
    caller = Caller()
    assert code(await replied(caller.send(ask(target="kb.find", path=("kb.find",))))) == "call_cycle"
    assert code(await replied(caller.send(ask(target="registry.sync", path=("registry.sync",))))) == "call_cycle"
    assert caller.went == []
    assert (await replied(caller.send(ask("x", target="kb.add", path=("kb.find",))))).value() == "x"


@on_a_loop
async def test_a_call_is_taken_to_the_instance_chosen_and_options_stay_here() -> None:
    caller = Caller()
    for target in ("kb.find", "nlu.parse", "supervisor.status", "registry.sync"):
        await replied(caller.send(ask(target=target)._replace(options=b"\x80")))
    assert caller.went == [("pc2", "pc2#2"), ("mainpc", None), ("mainpc", None), ("registry", None)]


@on_a_loop
async def test_rules_that_change_count_from_the_next_call_on() -> None:
    caller = Caller()
    await replied(caller.send(ask(target="kb.find")))
    before = caller.rules.of("kb", "find")
    caller.policies = Policies.model_validate({"retry": {"attempts": 7}, "operations": {"find": {"breaker": None}}})
    assert caller.rules.of("kb", "find") is before
    caller.rules.forget("kb")
    await replied(caller.send(ask(target="kb.find")))
    rules = caller.rules.of("kb", "find")
    assert rules.retry is not None and rules.retry.attempts == 7 and rules.breaker is None
    assert caller.rules.of("kb", "add").breaker is not None


@on_a_loop
async def test_a_callee_that_says_when_to_come_again_is_left_alone_until_then_and_a_fallback_answers() -> None:
    caller = Caller(Policies.model_validate({"retry": None, "fallback": {"value": "later"}}))
    caller.fails["kb"] = Overloaded("full", retry_after=0.4)
    for _ in range(3):
        reply = await replied(caller.send(ask("x")))
        assert (reply.value(), reply.fallback) == ("later", "value")
    assert len(caller.went) == 1
    caller.fails.clear()
    await caller.clock.advance(0.4)
    assert (await replied(caller.send(ask("x")))).fallback == "" and len(caller.went) == 2
    shown = read(caller.send.samples())
    assert shown["mesh_fallbacks_total", "kb", "overloaded"] == 3 and shown["mesh_paused_total", "kb"] == 2
    assert shown["mesh_bulkhead_outstanding", "kb"] == 0


@on_a_loop
async def test_places_of_a_bulkhead_outlive_a_change_of_other_rules() -> None:
    caller = Caller(Policies.model_validate({"retry": None, "bulkhead": {"calls": 1}}))
    caller.answers = asyncio.get_running_loop().create_future()
    first = asyncio.ensure_future(_sent(caller, ask(1)))
    await settle()
    caller.policies = Policies.model_validate({"retry": {"attempts": 1}, "bulkhead": {"calls": 1}})
    caller.rules.forget("kb")
    assert code(await replied(caller.send(ask(2)))) == "overloaded" and len(caller.went) == 1
    caller.answers.set_result(None)
    assert code(await first) == ""
    assert code(await replied(caller.send(ask(3)))) == ""


@on_a_loop
async def test_policies_that_are_off_are_not_in_the_way() -> None:
    off = dict.fromkeys(("fallback", "cache", "retry", "breaker", "bulkhead", "pause", "rate", "shed"))
    caller = Caller(Policies.model_validate(off))
    caller.fails["kb"] = Unavailable("away", retry_after=5.0)
    for _ in range(20):
        assert code(await replied(caller.send(ask(1)))) == "unavailable"
    assert len(caller.went) == 20 and list(caller.send.samples()) == []


async def _sent(caller: Caller, request: Request) -> Reply:
    return await replied(caller.send(request))


@on_a_loop
async def test_an_instance_whose_breaker_is_open_is_passed_over_and_if_all_are_the_call_is_told_so() -> None:
    ill, went = {"pc2"}, []

    async def remote(request: Request, host: str) -> Reply:
        went.append(host)
        lost = Unreachable(f"{request.target}: the connection is lost", began="unknown")
        return Reply(error=lost) if host in ill else Reply(request.body)

    clock, directory = FakeClock(), Directory(clock=FakeClock())
    directory.replace(1, 1, {
        "settled": True, "desired": [], "overrides": [],
        "hosts": [HostRecord(name, 1, "127.0.0.1", 1, 2, "", "", "ok", 0).to_wire() for name in ("pc2", "pc3")],
        "instances": [InstanceRecord("kb", name, 1, "ready").to_wire() for name in ("pc2", "pc3")],
    })
    rules = RuleBook(Policies.model_validate({"balance": "round_robin", "breaker": {"failures": 2}}), lambda _: None)
    resolver = Resolver(directory, "mainpc", clock, settling=lambda: False, changed=clock.sleep)
    send = Outgoing(rules, resolver, "mainpc", local=remote_none, remote=remote, clock=clock)
    for _ in range(4):
        await replied(send(ask()))
    assert went.count("pc2") == 2
    went.clear()
    assert [code(await replied(send(ask()))) for _ in range(6)] == [""] * 6 and set(went) == {"pc3"}
    ill.add("pc3")
    assert [code(await replied(send(ask()))) for _ in range(2)] == ["unreachable"] * 2
    reply = await replied(send(ask()))
    assert code(reply) == "circuit_open" and reply.error is not None and reply.error.details["retry_after"] == 60.0


async def remote_none(request: Request) -> Reply:
    raise AssertionError(f"{request.target} is not here")


def test_the_rules_of_a_version_change_with_those_of_its_service() -> None:
    told = [Policies(), Policies.model_validate({"retry": None})]
    rules = RuleBook(Policies(), lambda service: told[0])
    assert rules.of("kb", "find").retry is not None and rules.of("kb:v2", "find").retry is not None
    told.pop(0)
    rules.forget("kb")
    assert rules.of("kb", "find").retry is None and rules.of("kb:v2", "find").retry is None
