"""The family `policies`: what a policy costs a call in which it has nothing to do, in µs of processor time.

Each policy's figure is that of the whole onion with every rule on less that of the onion without this one, both made by
`policy/stack.py` and called in turn. What no rule takes out (circles and the choice of an instance on the caller's
side; figures, inbox and deadline on the callee's) is told together, without a promise.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator, Mapping
from typing import Any

from benchmarks.effort import Effort
from benchmarks.row import Row
from mesh.clock import Clock
from mesh.config import Policies
from mesh.directory import Directory
from mesh.message import Reply, Request, Responder
from mesh.policy.deadline import DeadlineGuard
from mesh.policy.inbox import Inbox
from mesh.policy.measure import CallStats
from mesh.policy.rate import Rates
from mesh.policy.resolve import Resolver
from mesh.policy.rules import RuleBook
from mesh.policy.stack import Outgoing, incoming
from mesh.records import HostRecord, InstanceRecord
from mesh.tracing import SpanRing, Trace
from mesh.transport.deadlines import Deadlines

COUNT = 40_000
PROMISE = 0.3
ON: Mapping[str, Any] = {
    "fallback": {"value": "sorry"}, "retry": {}, "breaker": {}, "bulkhead": {}, "pause": {},
    "rate": {"calls": 10**9, "per_s": 1.0},
}
CALLER = ("fallback", "retry", "breaker", "bulkhead", "pause")
ANSWER = Reply(b"\xc0")


def rows(effort: Effort) -> Iterator[Row]:
    """Yield a row per policy, and one for each side of what is always there."""
    found = asyncio.run(_measured(effort))
    for name in (*CALLER, "rate"):
        side = "caller" if name in CALLER else "callee"
        costs = [whole - without for whole, without in zip(found[side], found[f"{side} without {name}"], strict=True)]
        yield Row(f"{name}, with nothing to do", costs, PROMISE, higher_is_better=False, unit="µs",
                  figures={"with": found[side], "without": found[f"{side} without {name}"]})
    for side, what in (("caller", "circles and choice of an instance"), ("callee", "figures, inbox and deadline")):
        costs = [bare - method for bare, method in zip(found[f"{side}, no rule"], found["method"], strict=True)]
        yield Row(f"{what} of the {side}, together", costs, unit="µs")


async def _measured(effort: Effort) -> dict[str, list[float]]:
    """Return the µs of a call through each onion, by round."""
    onions: dict[str, Responder] = {"method": _method}
    for side, of in (("caller", _caller), ("callee", _callee)):
        onions[side] = of(ON)
        for name in CALLER if side == "caller" else ("rate",):
            onions[f"{side} without {name}"] = of({**ON, name: None})
        onions[f"{side}, no rule"] = of(dict.fromkeys(ON))
    clock = Clock()
    request = Request("kb", "find", b"\x80", clock.monotonic() + 1e6, Trace.new(), "nlu@mainpc")
    count = effort.of(COUNT, 200)
    found: dict[str, list[float]] = {name: [] for name in onions}
    for _ in range(effort.rounds):
        best = dict.fromkeys(onions, float("inf"))
        for _ in range(5):  # a processor that turns to other work only ever adds
            for name, onion in onions.items():
                began = time.thread_time()
                for _ in range(count // 5):
                    answer = onion(request)
                    if not isinstance(answer, Reply):
                        await answer
                best[name] = min(best[name], (time.thread_time() - began) / (count // 5) * 1e6)
        for name, cost in best.items():
            found[name].append(cost)
    return found


async def _method(request: Request) -> Reply:
    return ANSWER


def _carry(request: Request, host: str) -> Awaitable[Reply]:
    return _method(request)


def _rules(told: Mapping[str, Any]) -> RuleBook:
    policies = Policies.model_validate(told)
    return RuleBook(Policies(), lambda _: policies)


def _caller(told: Mapping[str, Any]) -> Responder:
    """Return a caller's onion; its call goes to another host, which answers at once."""
    clock = Clock()
    directory = Directory(clock=clock)
    directory.replace(1, 1, {
        "settled": True, "desired": [], "overrides": [],
        "hosts": [HostRecord(name, 1, "127.0.0.1", 1, 2, "", "", "ok", 0).to_wire() for name in ("mainpc", "pc2")],
        "instances": [InstanceRecord("kb", "pc2", 1, "ready").to_wire()],
    })
    resolver = Resolver(directory, "mainpc", clock, settling=lambda: False, changed=clock.sleep)
    return Outgoing(_rules(told), resolver, "mainpc", local=_method, remote=_carry, clock=clock)


def _callee(told: Mapping[str, Any]) -> Responder:
    """Return a callee's onion around a method that returns at once."""
    clock = Clock()
    return incoming(_method, service="kb", rules=_rules(told), stats=CallStats(), spans=SpanRing(), host="pc2",
                    inbox=Inbox(waiting=64, concurrency=64, clock=clock),
                    guard=DeadlineGuard(Deadlines(clock), clock), clock=clock, rates=Rates())
