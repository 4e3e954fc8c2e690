"""What every way of carrying calls keeps to, run against real connections (CURVE, TCP) and their in-memory twin."""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import Any

import pytest

from mesh.clock import Clock
from mesh.errors import (
    WIRE_ERRORS,
    Cancelled,
    DeadlineExceeded,
    MeshError,
    ProtocolError,
    RemoteFailure,
)
from mesh.message import Reply, Request, encode
from mesh.testing.clock import settle
from mesh.tracing import Trace
from tests.eventually import eventually
from tests.slack import Slack
from tests.transport.ends import ask, echo
from tests.transport.stages import STAGES, Line, Stage


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest) -> Stage:
    return STAGES[request.param]


class Callee:
    """Answers as the arguments say, and remembers what happened to each call."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.cancelled: list[Any] = []

    async def __call__(self, request: Request) -> Reply:
        how, name = Reply(request.body).value()
        self.begun.append(name)
        match how:
            case "answer":
                return Reply(encode(name))
            case "later":
                await settle(1)
                return Reply(encode(name))
            case "refuse":
                return Reply(error=WIRE_ERRORS["unavailable"](str(name), retry_after=0.1))
            case "raise":
                raise KeyError(name)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            if how == "stubborn":
                return Reply(encode("too late"))
            raise
        raise AssertionError("never set")


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_value_comes_back(stage: Stage) -> None:
    async def scenario(line: Line) -> None:
        values: list[Any] = [None, "text", {"a": [1, 2.5, b"\x00"]}, []]
        for value in values:
            assert (await line.exchange(ask(value))).value() == value

    stage.play(echo, scenario)


def test_a_request_arrives_with_everything_it_carries(stage: Stage) -> None:
    seen: list[Request] = []

    async def note(request: Request) -> Reply:
        seen.append(request)
        return Reply(request.body, host="mainpc")

    async def scenario(line: Line) -> None:
        sent = Request("kb", "find", encode({"a": 1}), Clock().monotonic() + 5, Trace.new(sampled=True).child(),
                       "nlu@pc2", ("gateway.ask", "nlu.parse"), "mainpc")
        reply = await line.exchange(sent)
        assert reply.host == "mainpc"
        got = seen[0]
        assert got._replace(via="", deadline=0.0) == sent._replace(deadline=0.0)
        assert got.deadline == pytest.approx(sent.deadline, abs=0.1)

    stage.play(note, scenario)


@pytest.mark.parametrize("code", WIRE_ERRORS)
def test_an_error_comes_back_as_its_class_with_its_details(stage: Stage, code: str) -> None:
    kind = WIRE_ERRORS[code]
    details = {name: [name, 1.5] for name in kind.carries}

    async def fail(request: Request) -> Reply:
        return Reply(error=kind("what was asked, what was found", **details))

    async def scenario(line: Line) -> None:
        error = (await line.exchange(ask())).error
        assert type(error) is kind
        assert (str(error), error.details) == ("what was asked, what was found", details)

    stage.play(fail, scenario)


def test_what_the_callee_raises_comes_back_as_a_remote_failure(stage: Stage) -> None:
    async def scenario(line: Line) -> None:
        error = (await line.exchange(ask(["raise", 1]))).error
        assert type(error) is RemoteFailure
        assert error.details == {"type": "KeyError"}

    stage.play(Callee(), scenario)


def test_a_result_that_does_not_decode_fails_that_call_alone(stage: Stage) -> None:
    async def garbage(request: Request) -> Reply:
        return Reply(b"\xc1" if Reply(request.body).value() == "garbage" else request.body)

    async def scenario(line: Line) -> None:
        for _ in range(5):
            with pytest.raises(ProtocolError, match="does not decode"):
                (await line.exchange(ask("garbage"))).value()
        assert (await line.exchange(ask("fine"))).value() == "fine"

    stage.play(garbage, scenario)


def test_big_bodies_go_both_ways(stage: Stage) -> None:
    async def scenario(line: Line) -> None:
        big = os.urandom(5_000_000)
        replies = await asyncio.gather(*(line.exchange(ask([number, big], timeout=20)) for number in range(3)))
        assert [reply.value() for reply in replies] == [[number, big] for number in range(3)]

    stage.play(echo, scenario)


def test_a_thousand_calls_at_once_get_each_its_own_answer(stage: Stage) -> None:
    async def shuffled(request: Request) -> Reply:
        for _ in range(random.randrange(4)):
            await settle(1)
        return Reply(request.body)

    async def scenario(line: Line) -> None:
        replies = await asyncio.gather(*(line.exchange(ask(number, timeout=20)) for number in range(1000)))
        assert [reply.value() for reply in replies] == list(range(1000))

    stage.play(shuffled, scenario)


def test_calls_of_one_caller_begin_in_the_order_in_which_they_were_made(stage: Stage) -> None:
    callee = Callee()

    async def scenario(line: Line) -> None:
        calls = [ask(["later", [caller, number]], caller=f"{caller}@pc2", timeout=20)
                 for number in range(300) for caller in "abc"]
        await asyncio.gather(*map(line.exchange, calls))
        for caller in "abc":
            assert [number for who, number in callee.begun if who == caller] == list(range(300))

    stage.play(callee, scenario)


# --- ends -------------------------------------------------------------------------------------------------------------


def test_a_call_ends_at_its_deadline_and_the_callee_is_told(stage: Stage) -> None:
    callee = Callee()

    async def scenario(line: Line) -> None:
        with Slack() as slack:  # the promise of 100 ms is to a caller whose own loop turns
            begun = time.monotonic()
            error = (await line.exchange(ask(["wait", 1], timeout=0.2))).error
            took = time.monotonic() - begun
        assert type(error) is DeadlineExceeded
        assert error.details == {"began": "unknown"}
        assert 0.2 <= took <= 0.3 + slack.lost
        await eventually(lambda: callee.cancelled == [1])

    stage.play(callee, scenario)


def test_cancelling_the_callers_task_cancels_the_callees(stage: Stage) -> None:
    callee = Callee()

    async def scenario(line: Line) -> None:
        call = asyncio.ensure_future(line.exchange(ask(["wait", 1])))
        other = asyncio.ensure_future(line.exchange(ask(["wait", 2])))
        await eventually(lambda: callee.begun == [1, 2])
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await eventually(lambda: callee.cancelled == [1])
        assert not other.done()
        other.cancel()

    stage.play(callee, scenario)


def test_a_call_cancelled_before_it_left_is_not_run(stage: Stage) -> None:
    callee = Callee()

    async def scenario(line: Line) -> None:
        call = asyncio.ensure_future(line.exchange(ask(["answer", "never"])))
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert (await line.exchange(ask(["answer", "after"]))).value() == "after"
        assert callee.begun == ["after"]

    stage.play(callee, scenario)


def test_an_answer_nobody_waits_for_any_more_is_ignored(stage: Stage) -> None:
    callee = Callee()

    async def scenario(line: Line) -> None:
        assert type((await line.exchange(ask(["stubborn", 1], timeout=0.1))).error) is DeadlineExceeded
        await eventually(lambda: callee.cancelled == [1])
        for number in range(5):
            assert (await line.exchange(ask(["answer", number]))).value() == number

    stage.play(callee, scenario)


def test_a_callee_that_stops_answers_cancelled(stage: Stage) -> None:
    async def scenario(line: Line) -> None:
        call = asyncio.ensure_future(line.exchange(ask(["wait", 1])))
        await eventually(lambda: callee.begun)
        line._running.cancel_all()
        assert type((await call).error) is Cancelled

    callee = Callee()
    stage.play(callee, scenario)


def test_every_call_ends_in_exactly_one_way_whatever_happens(stage: Stage) -> None:
    made = random.Random(7)
    callee = Callee()
    outcomes: dict[int, list[str]] = {}

    async def call(line: Line, number: int, how: str) -> None:
        timeout = made.uniform(0.05, 0.3) if how in ("wait", "stubborn") else 10.0
        try:
            reply = await line.exchange(ask([how, number], timeout=timeout))
            outcome = type(reply.error).__name__ if reply.error else f"value {reply.value()}"
        except asyncio.CancelledError:
            outcome = "given up"
        outcomes.setdefault(number, []).append(outcome)

    async def scenario(line: Line) -> None:
        ways = [made.choice(["answer", "later", "refuse", "raise", "wait", "stubborn"]) for _ in range(400)]
        tasks = [asyncio.ensure_future(call(line, number, how)) for number, how in enumerate(ways)]
        given_up = made.sample(range(400), 40)
        for number in given_up:
            await settle(1)
            tasks[number].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        expected = {"refuse": {"Unavailable"}, "raise": {"RemoteFailure"}, "wait": {"DeadlineExceeded"},
                    "stubborn": {"DeadlineExceeded"}}
        for number, how in enumerate(ways):
            told = outcomes.get(number, ["given up"])  # a task cancelled before its first step tells nothing
            allowed = expected.get(how, {f"value {number}"}) | ({"given up"} if number in given_up else set())
            assert len(told) == 1, number
            assert told[0] in allowed, (number, how)
        assert len(callee.begun) == len(set(callee.begun)), "nothing was run twice"

    stage.play(callee, scenario)


def test_errors_are_returned_and_not_raised(stage: Stage) -> None:
    async def scenario(line: Line) -> None:
        reply = await line.exchange(ask(["refuse", "busy"]))
        assert isinstance(reply.error, MeshError)
        with pytest.raises(MeshError, match="busy"):
            reply.value()

    stage.play(Callee(), scenario)
