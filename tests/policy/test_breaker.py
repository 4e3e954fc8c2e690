"""A breaker opens exactly by its rule, lets a few try after a while, and closes when they succeed."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mesh.config import BreakerRule
from mesh.errors import WIRE_ERRORS, MeshError
from mesh.policy.breaker import SHORT, SLICES, TRIAL, Breaker, counts


def outcomes(breaker: Breaker, told: str, now: float) -> list[str]:
    """Have calls begin and end one after the other, `.` well and `x` not; return the states the breaker went to."""
    states = []
    for one in told:
        if breaker.retry_after(now) > 0.0:
            states.append("refused")
            continue
        before = breaker.state
        if now >= breaker.next_look:
            breaker.look(now)
        breaker.admit(now)
        breaker.failed(breaker.turn, now) if one == "x" else breaker.succeeded(breaker.turn, now)
        if breaker.state != before:
            states.append(breaker.state)
    return states


# -- what counts

COUNTED = {"unreachable", "deadline_exceeded", "remote_failure", "invalid_result", "protocol_error", "engine_missing"}


@pytest.mark.parametrize("code", WIRE_ERRORS)
def test_what_speaks_against_an_instance(code: str) -> None:
    error = WIRE_ERRORS[code]("as it is")
    assert counts(error, granted=1.0) == (code in COUNTED)
    assert not counts(WIRE_ERRORS[code]("as it is", began="yes", through="memory.add"), granted=1.0)


def test_a_caller_in_a_hurry_says_nothing_about_the_callee() -> None:
    late = WIRE_ERRORS["deadline_exceeded"]("late", began="unknown")
    assert counts(late, SHORT) and not counts(late, SHORT - 0.001)


def test_a_callee_whose_own_server_is_full_is_ill_one_that_is_full_itself_is_not() -> None:
    assert counts(WIRE_ERRORS["overloaded"]("the model server is full", began="yes"), 1.0)
    assert not counts(WIRE_ERRORS["overloaded"]("its inbox is full"), 1.0)


# -- opening

@pytest.mark.parametrize(("told", "opens"), [
    ("xxxxx", True), ("xxxx", False), ("xxxx.xxxx", False), (".xxxxx", True),  # in a row
    (".x" * 10, True), (".x" * 9 + ".", False), ("x." * 9 + ".x", True), ("x." * 8 + "..x", False),
    ("..x" * 10, False), ("xxxx." * 2 + "." * 7 + "x.x", True),
])
def test_it_opens_on_failures_in_a_row_or_on_their_share(told: str, opens: bool) -> None:
    breaker = Breaker(BreakerRule(), 0.0)
    assert ("open" in outcomes(breaker, told, 3.0)) is opens


def test_a_share_is_opened_by_a_failure_never_by_a_success() -> None:
    breaker = Breaker(BreakerRule(failures=100), 0.0)
    outcomes(breaker, "x" * 12 + "." * 8, 0.0)
    assert breaker.window() == (20, 12) and breaker.state == "closed"
    assert outcomes(breaker, "x", 0.0) == ["open"]


def test_what_was_before_the_window_is_forgotten() -> None:
    breaker = Breaker(BreakerRule(failures=100), 0.0)
    outcomes(breaker, "x" * 12, 0.5)
    assert outcomes(breaker, "." * 7 + "x", 10.5) == [] and breaker.window() == (8, 1)
    breaker = Breaker(BreakerRule(failures=100), 0.0)
    outcomes(breaker, "x" * 12, 0.5)
    assert outcomes(breaker, "." * 7 + "x", 9.9) == ["open"]


# -- open, half-open, closed

def opened(rule: BreakerRule | None = None, at: float = 0.0) -> Breaker:
    breaker = Breaker(rule or BreakerRule(), at)
    assert outcomes(breaker, "xxxxx", at) == ["open"]
    return breaker


def test_open_it_says_when_to_come_back() -> None:
    breaker = opened(at=100.0)
    assert breaker.retry_after(100.0) == 60.0
    assert breaker.retry_after(159.5) == pytest.approx(0.5)
    assert breaker.retry_after(160.0) == 0.0


def test_half_open_lets_only_its_trials_through() -> None:
    breaker = opened(BreakerRule(trials=2, successes=3))
    assert breaker.admit(60.0) and breaker.retry_after(60.0) == 0.0
    assert not breaker.admit(60.0) and breaker.retry_after(60.0) == TRIAL
    breaker.passed(breaker.turn)
    assert breaker.retry_after(61.0) == 0.0


def test_successes_close_it_and_one_failure_opens_it_again() -> None:
    breaker = opened()
    assert outcomes(breaker, ".", 60.0) == ["half_open"]
    assert outcomes(breaker, ".", 60.1) == ["closed"]
    assert breaker.window() == (0, 0) and outcomes(breaker, "xxxx", 60.2) == []
    breaker = opened()
    assert outcomes(breaker, ".x.", 60.0) == ["half_open", "open", "refused"]
    assert breaker.retry_after(60.0) == 60.0


def test_what_began_in_an_earlier_state_is_no_news() -> None:
    breaker = Breaker(BreakerRule(), 0.0)
    early = breaker.turn
    assert outcomes(breaker, "xxxxx", 0.0) == ["open"]
    assert not breaker.succeeded(early, 1.0) and not breaker.failed(early, 1.0)
    assert breaker.retry_after(1.0) == 59.0
    assert outcomes(breaker, "..", 60.0)[-1] == "closed"
    for _ in range(9):
        assert not breaker.failed(early, 60.0)
    assert breaker.state == "closed" and breaker.failures == 0


def test_another_rule_holds_from_now_on() -> None:
    breaker = opened()
    breaker.tune(BreakerRule(open_s=5.0, successes=1), 1.0)
    assert breaker.retry_after(1.0) == 5.0
    assert outcomes(breaker, ".", 6.0) == ["closed"]
    breaker.tune(BreakerRule(failures=2), 7.0)
    assert outcomes(breaker, "xx", 7.0) == ["open"]


# -- whatever happens

class BreakerMachine(RuleBasedStateMachine):
    """Calls that begin, end well, ill or neither, and time, against the rule written down as a list of outcomes."""

    @initialize(failures=st.integers(1, 6), share=st.sampled_from([0.1, 0.5, 1.0]), of=st.integers(1, 12),
                trials=st.integers(1, 3), successes=st.integers(1, 4))
    def begin(self, failures: int, share: float, of: int, trials: int, successes: int) -> None:
        self.now = 7.3
        self.rule = BreakerRule(failures=failures, share=share, of=of, open_s=4.0, trials=trials, successes=successes)
        self.breaker = Breaker(self.rule, self.now)
        self.running: list[int] = []
        self.told: list[tuple[int, bool]] = []  # slice and whether it was well, since it closed
        self.slice = self.place()
        self.trials: set[int] = set()
        self.number = 0
        self.well = 0
        self.calls: dict[int, int] = {}
        self.opened_at = 0.0
        self.state = "closed"

    def place(self) -> int:
        return int(self.now / (10.0 / SLICES))

    @rule()
    def call(self) -> None:
        if self.breaker.retry_after(self.now) > 0.0:
            assert self.state == "half_open" or self.now < self.opened_at + 4.0
            assert self.state != "closed"
            return
        assert self.state != "open" or self.now >= self.opened_at + 4.0
        if self.now >= self.breaker.next_look:
            self.breaker.look(self.now)
            self.slice = self.place()
        changed = self.breaker.admit(self.now)
        assert changed == (self.state == "open")
        if changed:
            self.state, self.well, self.trials = "half_open", 0, set()
        self.number += 1
        self.calls[self.number] = self.breaker.turn
        if self.state == "half_open":
            self.trials.add(self.number)

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 100), end=st.sampled_from([".", ".", "x", "x", "?"]))
    def ends(self, which: int, end: str) -> None:
        number = sorted(self.calls)[which % len(self.calls)]
        turn = self.calls.pop(number)
        current = turn == self.breaker.turn
        if end == "?":
            self.breaker.passed(turn)
            self.trials.discard(number)
            return
        told = self.breaker.succeeded(turn, self.now) if end == "." else self.breaker.failed(turn, self.now)
        before, self.state = self.state, self.expected(end, number) if current else self.state
        assert told == (before != self.state)
        self.trials.discard(number)
        if told:
            self.opened_at, self.told, self.trials = self.now, [], set()

    def expected(self, end: str, number: int) -> str:
        """Return the state that the rule asks for after a call of the present turn has ended."""
        if self.state == "half_open":
            self.well += end == "."
            return "open" if end == "x" else "closed" if self.well >= self.rule.successes else "half_open"
        if end == "x":
            self.slice = self.place()
        self.told.append((self.slice, end == "."))
        if end == ".":
            return "closed"
        row = [well for _, well in self.told][-self.rule.failures:]
        recent = [well for place, well in self.told if place > self.slice - SLICES]
        many = len(recent) >= self.rule.of and recent.count(False) >= self.rule.share * len(recent)
        return "open" if many or (len(row) == self.rule.failures and not any(row)) else "closed"

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.9, 1.0, 3.9, 4.0, 9.0, 10.0, 30.0]))
    def waits(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def is_well_again(self) -> None:
        """It never stays open when successes come: so many later, all of them in turn, it is closed."""
        for number in list(self.calls):
            self.breaker.passed(self.calls.pop(number))
            self.trials.discard(number)
        if self.state == "open":
            self.now = max(self.now, self.opened_at + 4.0)
        for _ in range(self.rule.successes):
            self.call()
            while self.calls:
                self.ends(0, ".")
        assert self.breaker.state == self.state == "closed"

    @invariant()
    def it_is_as_the_rule_says(self) -> None:
        if hasattr(self, "breaker"):
            assert self.breaker.state == self.state
            assert self.state != "half_open" or self.breaker.trials == len(self.trials) <= self.rule.trials


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


def test_an_error_without_a_code_speaks_against_who_raised_it() -> None:
    assert counts(MeshError("what is this"), 1.0)
