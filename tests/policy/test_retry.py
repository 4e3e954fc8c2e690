"""A call is asked again when that is safe, of use, in time and within the budget; else its error is told at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.config import RetryRule
from mesh.errors import WIRE_ERRORS, MeshError
from mesh.message import Reply, Request, encode
from mesh.policy.budget import Budget
from mesh.policy.options import CallOptions
from mesh.policy.retry import Retry, may_repeat, wait_before
from mesh.testing import FakeClock
from mesh.testing.clock import settle
from tests.policy.calls import ask, code, on_a_loop
from tests.policy.passages import over


def made(code: str, **details: object) -> MeshError:
    """Return an error of a code."""
    return WIRE_ERRORS[code]("as it is", **details)


# -- what may be asked again

NEVER_BEGAN = {"unavailable", "circuit_open", "overloaded", "rate_limited"}


@pytest.mark.parametrize("code", WIRE_ERRORS)
def test_only_what_never_began_or_may_be_done_twice_is_asked_again(code: str) -> None:
    lost = {code} & {"unreachable"}
    assert may_repeat(made(code), idempotent=False) == (code in NEVER_BEGAN)
    assert may_repeat(made(code), idempotent=True) == (code in NEVER_BEGAN | lost)
    assert may_repeat(made(code, began="no"), idempotent=False) == (code in NEVER_BEGAN | lost)
    assert may_repeat(made(code, began="unknown"), idempotent=True) == (code in NEVER_BEGAN | lost)
    assert not may_repeat(made(code, began="unknown"), idempotent=False)
    assert not may_repeat(made(code, began="yes"), idempotent=False)


@pytest.mark.parametrize("code", WIRE_ERRORS)
def test_what_a_callee_passes_on_was_asked_again_by_the_callee(code: str) -> None:
    assert not may_repeat(made(code, began="yes", through="memory.add"), idempotent=True)


# -- how long to wait

@pytest.mark.parametrize(("attempts", "asked", "left", "draw", "wait"), [
    (1, None, 30.0, 1.0, 0.1), (2, None, 30.0, 1.0, 0.2),  # twice as long each time
    (1, None, 30.0, 0.25, 0.025), (1, None, 30.0, 0.0, 0.0),  # a lot of it
    (3, None, 30.0, 1.0, None),  # three attempts were made
    (1, 0.5, 30.0, 0.0, 0.5), (1, 0.5, 30.0, 1.0, 0.6),  # never before it is told to come back
    (1, 1.01, 30.0, 0.0, None),  # to come back then is the caller's own affair
    (1, None, 0.1, 1.0, None), (1, None, 0.11, 1.0, 0.1),  # the deadline comes first, or the attempt does
    (1, -1.0, 30.0, 1.0, None), (1, "soon", 30.0, 1.0, None),  # no peer is trusted to make sense
])
def test_the_wait_before_an_attempt(attempts: int, asked: object, left: float, draw: float, wait: float | None) -> None:
    error = made("overloaded", **({} if asked is None else {"retry_after": asked}))
    found = wait_before(RetryRule(), attempts, error, left, draw)
    assert found == (None if wait is None else pytest.approx(wait))


def test_no_wait_grows_over_the_longest() -> None:
    rule = RetryRule(attempts=10)
    assert wait_before(rule, 9, made("overloaded"), 1e9, 1.0) == 1.0


def test_the_jitter_is_full() -> None:
    """Callers who failed together come back spread over the whole wait, not together after it."""
    random = Random(7)
    waits = [wait_before(RetryRule(), 2, made("overloaded"), 30.0, random.random()) or 0.0 for _ in range(2000)]
    tenths = [sum(1 for wait in waits if low <= wait * 50 < low + 1) for low in range(10)]
    assert min(tenths) > 150 and max(tenths) < 250


# -- asking

class Asked:
    """A callee that answers with what it is given, on a clock that the test turns."""

    def __init__(self, *answers: MeshError | str, rule: RetryRule | None = None, idempotent: bool = False,
                 reserve: int = 10) -> None:
        self.clock = FakeClock()
        self.budget = Budget(0.0, reserve, self.clock.monotonic())
        self.attempts: list[float] = []
        self._answers = list(answers)
        again = Retry(rule or RetryRule(), self.budget, lambda: idempotent, self.clock, Random(1))
        self.handle = over(self._answer, self.clock, retry=again)

    async def _answer(self, request: Request) -> Reply:
        self.attempts.append(self.clock.monotonic() - 1000.0)
        answer = self._answers.pop(0)
        return Reply(encode(answer)) if isinstance(answer, str) else Reply(error=answer)

    async def reply(self, **fields: Any) -> Reply:
        task = asyncio.ensure_future(self.handle(ask(**fields)))
        for _ in range(400):
            await settle(4)
            if task.done():
                break
            await self.clock.advance(0.01)
        return await task


@on_a_loop
async def test_an_answer_is_an_answer() -> None:
    it = Asked("fine")
    reply = await it.reply()
    assert (reply.value(), reply.attempts, it.attempts, it.budget.calls) == ("fine", 1, [0.0], 1)


@on_a_loop
async def test_a_refusal_is_asked_again_until_it_is_answered() -> None:
    it = Asked(made("overloaded", retry_after=0.3), made("unavailable", retry_after=0.2), "fine")
    reply = await it.reply()
    assert (reply.value(), reply.attempts, it.budget.retries) == ("fine", 3, 2)
    first, second, third = it.attempts
    assert 0.3 <= second - first <= 0.42 and 0.2 <= third - second <= 0.42


@on_a_loop
async def test_a_call_may_want_fewer_attempts_or_more() -> None:
    for wanted, made_of_it in ((False, 1), (2, 2), (5, 5), (True, 3), (None, 3)):
        it = Asked(*[made("overloaded")] * 5)
        reply = await it.reply(options=CallOptions(retry=wanted).to_wire())
        assert (reply.attempts, len(it.attempts)) == (made_of_it, made_of_it)


@on_a_loop
async def test_the_last_error_is_told_with_the_attempts_it_took() -> None:
    it = Asked(made("overloaded"), made("overloaded"), made("unavailable"))
    reply = await it.reply()
    assert (code(reply), reply.attempts, len(it.attempts)) == ("unavailable", 3, 3)


@on_a_loop
async def test_what_may_have_begun_is_asked_again_only_if_it_may_be_done_twice() -> None:
    lost = made("unreachable", began="unknown")
    assert (await Asked(lost).reply()).attempts == 1
    assert (await Asked(lost, "fine", idempotent=True).reply()).attempts == 2


@on_a_loop
async def test_an_error_that_cannot_be_mended_in_time_is_told_at_once() -> None:
    it = Asked(made("overloaded", retry_after=0.5))
    reply = await it.reply(deadline=1000.5)
    assert (code(reply), reply.attempts, it.clock.monotonic()) == ("overloaded", 1, 1000.0)


@on_a_loop
async def test_without_budget_the_error_is_told_at_once() -> None:
    it = Asked(made("overloaded"), reserve=0)
    assert (await it.reply()).attempts == 1
    assert (it.budget.retries, it.budget.refused) == (0, 1)


@on_a_loop
async def test_a_caller_who_gives_up_while_waiting_asks_no_more() -> None:
    it = Asked(made("overloaded", retry_after=0.5), "fine")
    task = asyncio.ensure_future(it.handle(ask()))
    await settle()
    task.cancel()
    await it.clock.advance(5.0)
    assert task.cancelled() and len(it.attempts) == 1


# -- whatever happens

CODES = st.sampled_from(sorted(WIRE_ERRORS))
ERRORS = st.builds(
    lambda code, details: made(code, **details), CODES,
    st.fixed_dictionaries({}, optional={"began": st.sampled_from(["no", "yes", "unknown"]),
                                        "retry_after": st.floats(0.0, 3.0), "through": st.just("memory.add")}),
)
RULES = st.builds(RetryRule, attempts=st.integers(1, 8), first_s=st.floats(0.001, 2.0), factor=st.floats(1.0, 4.0),
                  most_s=st.floats(0.01, 2.0))


class Sleeper(FakeClock):
    """A clock on which every wait is over at once, exactly when it ends."""

    async def sleep(self, delay: float) -> None:
        self._go_to(self.monotonic() + delay)


@given(RULES, st.lists(st.one_of(ERRORS, st.just("fine")), min_size=9, max_size=9), st.booleans(),
       st.integers(0, 10), st.floats(0.001, 20.0), st.integers())
@settings(deadline=None)
def test_attempts_waits_and_budget_are_kept_whatever_happens(
    rule: RetryRule, answers: Iterable[MeshError | str], idempotent: bool, reserve: int, grant: float, seed: int
) -> None:
    clock, told, moments = Sleeper(), iter(answers), []
    budget = Budget(0.0, reserve, clock.monotonic())
    ended: list[Reply] = []

    async def callee(_: Request) -> Reply:
        moments.append(clock.monotonic())
        answer = next(told)
        ended.append(Reply(encode(answer)) if isinstance(answer, str) else Reply(error=answer))
        return ended[-1]

    deadline = clock.monotonic() + grant
    handle = over(callee, clock, retry=Retry(rule, budget, lambda: idempotent, clock, Random(seed)))

    async def asked() -> Reply:
        return await handle(ask(deadline=deadline))

    reply = asyncio.run(asked())
    assert reply == ended[-1]._replace(attempts=len(moments))
    assert 1 <= len(moments) <= rule.attempts
    assert len(moments) - 1 == budget.retries <= reserve + reserve * grant / 60
    assert clock.monotonic() < deadline and moments[-1] == clock.monotonic()  # no wait leads nowhere
    for answer, before, after in zip(ended, moments, moments[1:], strict=False):
        assert answer.error is not None and may_repeat(answer.error, idempotent)
        assert after - before >= (answer.error.details.get("retry_after") or 0.0) - 1e-9
