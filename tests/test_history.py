"""The judge of the fault matrix is judged first: what it must find, what it must let pass, and what it is told by whom.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.history import (
    Broken,
    Call,
    Circumstances,
    Execution,
    Journal,
    Outcome,
    calls_of,
    check,
    entries,
    executions_of,
    summary,
)
from mesh.message import Handler, Reply, Request, decode
from mesh.transport.exchange import Exchange
from tests.transport.ends import ask, on_a_loop, outcome, two_hosts

CALLER, CALLEE = 11, 22
CALL = Call("a", "far.work", 10.0, 12.0, CALLER, outcomes=(Outcome(10.5, "ok", answer="a"),))
RUN = Execution("a", 10.1, CALLEE, 10.4, "returned")
AROUND = Circumstances(over=60.0)


def ended(code: str, at: float = 10.5, *, began: str | None = None, lag: float = 0.0, **more: object) -> Call:
    return replace(CALL, outcomes=(Outcome(at, code, began, lag=lag),), **more)  # type: ignore[arg-type]


def promises(call: Call, *runs: Execution, around: Circumstances = AROUND) -> list[str]:
    return [each.promise for each in check([call], runs, around)]


def test_a_call_that_went_well_is_no_case() -> None:
    assert check([CALL], [RUN], AROUND) == []


@pytest.mark.parametrize(("call", "runs", "around", "promise"), [
    (replace(CALL, outcomes=()), [RUN], AROUND, "one outcome"),
    (replace(CALL, outcomes=CALL.outcomes * 2), [RUN], AROUND, "one outcome"),
    (ended("deadline_exceeded", 12.2, meant=frozenset({"deadline_exceeded"})), [], AROUND, "in time"),
    (ended("deadline_exceeded", 12.15, lag=0.04, meant=frozenset({"deadline_exceeded"})), [], AROUND, "in time"),
    (CALL, [RUN, replace(RUN, began=10.2)], AROUND, "at most once"),
    (ended("cancelled", 10.5, meant=frozenset({"cancelled"})), [replace(RUN, began=10.7, ended=10.8)], AROUND,
     "nothing for nobody"),
    (ended("cancelled", 10.5, meant=frozenset({"cancelled"})), [replace(RUN, ended=13.0)], AROUND, "cancelled"),
    (ended("cancelled", 10.5, meant=frozenset({"cancelled"})), [replace(RUN, ended=None)], AROUND, "cancelled"),
    (CALL, [], AROUND, "ok is executed"),
    (CALL, [replace(RUN, ended=None, how=None)], replace(AROUND, deaths={CALLEE: 11.0}), "ok is executed"),
    (CALL, [replace(RUN, how="cancelled")], AROUND, "ok is executed"),
    (replace(CALL, outcomes=(Outcome(10.5, "ok", answer="b"),)), [RUN], AROUND, "its own answer"),
    (ended("unreachable", began="no", meant=frozenset({"unreachable"})), [RUN], AROUND, "never begun"),
    (ended("overloaded", meant=frozenset({"overloaded"})), [RUN], AROUND, "never begun"),
    (ended("deadline_exceeded", 12.0), [RUN], AROUND, "no reply lost"),
    (ended("unreachable", began="unknown"), [], AROUND, "no failure without a cause"),
    (ended("unreachable"), [], replace(AROUND, troubles=((8.0, 9.0),)), "no failure without a cause"),
    (ended("overloaded"), [], replace(AROUND, troubles=((5.0, 6.0),)), "no failure without a cause"),
    (CALL, [RUN], replace(AROUND, strays=1), "one outcome"),
])
def test_each_promise_that_is_broken_is_named(
    call: Call, runs: list[Execution], around: Circumstances, promise: str
) -> None:
    assert promises(call, *runs, around=around) == [promise]


@pytest.mark.parametrize(("call", "runs", "around"), [
    (replace(CALL, outcomes=()), [RUN], replace(AROUND, deaths={CALLER: 10.3})),
    (replace(CALL, outcomes=()), [RUN], replace(AROUND, over=11.0)),
    (ended("deadline_exceeded", 12.5, lag=0.5, meant=frozenset({"deadline_exceeded"})), [], AROUND),
    (replace(CALL, idempotent=True), [RUN, replace(RUN, began=10.2)], AROUND),
    (ended("unreachable", began="no", idempotent=True), [RUN], replace(AROUND, troubles=((9.0, 10.2),))),
    (ended("cancelled", meant=frozenset({"cancelled"})), [replace(RUN, ended=None)],
     replace(AROUND, deaths={CALLEE: 11.0})),
    (ended("deadline_exceeded", 12.0), [RUN], replace(AROUND, troubles=((10.3, 10.6),))),
    (ended("overloaded"), [], replace(AROUND, troubles=((8.0, 9.0),))),
    (ended("remote_failure", meant=frozenset({"remote_failure"})), [replace(RUN, how="raised")], AROUND),
    (ended("cancelled", meant=frozenset({"cancelled"})), [replace(RUN, began=11.0, ended=11.1)],
     replace(AROUND, troubles=((10.4, 10.9),))),
])
def test_what_has_an_excuse_is_no_case(call: Call, runs: list[Execution], around: Circumstances) -> None:
    assert promises(call, *runs, around=around) == []


def test_no_trouble_excuses_an_execution_that_began_after_the_deadline() -> None:
    call = ended("deadline_exceeded", 12.0)
    around = replace(AROUND, troubles=((9.0, 20.0),))
    assert promises(call, replace(RUN, began=12.2, ended=12.3), around=around) == ["nothing for nobody"]


def test_what_runs_for_a_dead_caller_is_found() -> None:
    dead = replace(AROUND, deaths={CALLER: 10.3})
    call = replace(CALL, outcomes=())
    assert promises(call, replace(RUN, began=10.9, ended=11.0), around=dead) == ["nothing for nobody"]
    assert promises(call, replace(RUN, ended=14.0), around=dead) == ["cancelled"]


def test_an_execution_that_nobody_asked_for_is_found() -> None:
    assert [str(each) for each in check([], [RUN], AROUND)] == [
        "a: asked for: was executed, and nobody has asked for it"]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 2)), max_size=30))
def test_every_call_without_its_one_outcome_is_named_and_no_other(
    plan: list[tuple[float, bool, int]],
) -> None:
    calls, runs = [], []
    for number, (began, idempotent, outcomes) in enumerate(plan):
        name = str(number)
        calls.append(Call(name, "far.work", began, began + 1, CALLER, idempotent,
                          outcomes=(Outcome(began + 0.5, "ok", answer=name),) * outcomes))
        runs.append(Execution(name, began + 0.1, CALLEE, began + 0.4, "returned"))
    wrong = {str(number) for number, (_, _, outcomes) in enumerate(plan) if outcomes != 1}
    assert {each.call for each in check(calls, runs, AROUND)} == wrong


# -- the journals


def test_a_journal_is_read_back_as_calls_and_executions_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    asked, ran = Journal(tmp_path / "caller"), Journal(tmp_path / "callee")
    asked.write("asked", "a", 1.0, target="far.work", deadline=3.0, idempotent=False, meant=["ok"])
    ran.write("begin", "a", 1.1, run=1)
    ran.write("begin", "b", 1.2, run=2)
    ran.write("end", "a", 1.3, run=1, how="returned")
    asked.write("ended", "a", 1.4, code="ok", answer="a", lag=0.001)
    with (tmp_path / "callee").open("a") as torn:
        torn.write('{"kind": "end", "id": "b", "at"')
    for journal in (asked, ran):
        journal.close()
    (call,) = calls_of(entries(tmp_path / "caller"))
    runs = executions_of(entries(tmp_path / "callee"))
    assert (call.id, call.by, call.outcomes) == ("a", os.getpid(), (Outcome(1.4, "ok", None, "a", 0.001),))
    assert [(run.id, run.ended, run.how) for run in runs] == [("a", 1.3, "returned"), ("b", None, None)]
    assert check([call], runs[:1], Circumstances(over=9.0)) == []


def test_a_journal_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert entries(tmp_path / "nobody") == []


def test_a_summary_counts_what_was_broken() -> None:
    assert summary([]) == "none"
    assert summary(check([CALL, replace(CALL, id="b")], [], AROUND)).startswith("2 times ok is executed")


# -- seeded bugs, in calls over real connections

CALLS = 40
TIMEOUT = 0.6


class Callee:
    """Answers with the id it was asked with, and writes down when it did."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._runs = 0

    async def __call__(self, request: Request) -> Reply:
        name = decode(request.body)
        self._runs += 1
        run = self._runs
        self._journal.write("begin", name, time.monotonic(), run=run)
        await asyncio.sleep(0)
        self._journal.write("end", name, time.monotonic(), run=run, how="returned")
        return Reply(request.body)


async def history(folder: Path, handler: Callable[[Handler], Handler] = lambda inner: inner) -> list[Broken]:
    """Make calls from one host to another, whose handler `handler` may spoil; returns what the judge says of them."""
    asked, ran = Journal(folder / "caller"), Journal(folder / "callee")
    async with two_hosts(handler(Callee(ran))) as (callee, caller):

        async def one(name: str) -> None:
            request = ask(name, timeout=TIMEOUT)
            asked.write("asked", name, time.monotonic(), target=request.target, deadline=request.deadline,
                        idempotent=False, meant=["ok"])
            reply = await outcome(caller, request, callee.name)
            asked.write("ended", name, time.monotonic(), code=reply.error.code if reply.error else "ok",
                        answer=None if reply.error else reply.value())

        await asyncio.gather(*(one(f"call {number}") for number in range(CALLS)))
        await one("last")  # behind it nothing of the others is under way
        strays = caller.traffic.strays
    for journal in (asked, ran):
        journal.close()
    return check(calls_of(entries(folder / "caller")), executions_of(entries(folder / "callee")),
                 Circumstances(over=time.monotonic(), strays=strays, slack=1.0))


@on_a_loop
async def test_calls_over_a_real_connection_keep_every_promise(tmp_path: Path) -> None:
    assert await history(tmp_path) == []


def test_a_reply_that_is_sent_twice_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Exchange._answer

    def twice(self: Exchange, number: int, request: Request, reply: Reply) -> None:
        answer(self, number, request, reply)
        if decode(request.body) in ("call 3", "call 30"):
            self.flush()
            answer(self, number, request, reply)

    monkeypatch.setattr(Exchange, "_answer", twice)
    found = on_a_loop_told(lambda: history(tmp_path))
    assert [str(each) for each in found] == ["-: one outcome: 2 answers came to nobody's question"]


def test_a_reply_that_is_lost_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Exchange._answer

    def loses(self: Exchange, number: int, request: Request, reply: Reply) -> None:
        if decode(request.body) != "call 7":
            answer(self, number, request, reply)

    monkeypatch.setattr(Exchange, "_answer", loses)
    (found,) = on_a_loop_told(lambda: history(tmp_path))
    assert (found.call, found.promise) == ("call 7", "no reply lost")
    assert "before the deadline, unheard" in found.told


def test_a_call_that_is_executed_twice_is_caught(tmp_path: Path) -> None:
    def doubled(inner: Handler) -> Handler:
        async def handle(request: Request) -> Reply:
            if decode(request.body) == "call 5":
                await inner(request)
            return await inner(request)

        return handle

    (found,) = on_a_loop_told(lambda: history(tmp_path, doubled))
    assert (found.call, found.promise) == ("call 5", "at most once")


def test_an_answer_that_goes_to_another_call_is_caught(tmp_path: Path) -> None:
    def confused(inner: Handler) -> Handler:
        answers: dict[str, Reply] = {}

        async def handle(request: Request) -> Reply:
            reply = answers[decode(request.body)] = await inner(request)
            return answers.get("call 1", reply) if decode(request.body) == "call 2" else reply

        return handle

    (found,) = on_a_loop_told(lambda: history(tmp_path, confused))
    assert (found.call, found.promise) == ("call 2", "its own answer")


def on_a_loop_told(scenario: Callable[[], Coroutine[Any, Any, list[Broken]]]) -> list[Broken]:
    """Run a scenario as `on_a_loop` does, and return what it told."""
    told: list[Broken] = []

    @on_a_loop
    async def run() -> None:
        told.extend(await scenario())

    run()
    return told
