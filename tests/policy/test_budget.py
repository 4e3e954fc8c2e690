"""Retries stay within their budget: a share of the calls, and a reserve that fills up in a minute."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mesh.policy.budget import KEPT, REFILL, Budget


def taken(budget: Budget, wanted: int, now: float) -> int:
    """Return how many of so many retries the budget allows."""
    return sum(budget.take(now) for _ in range(wanted))


@pytest.mark.parametrize(("calls", "later", "allowed"), [
    (0, 0.0, 10),  # the reserve, and nothing else
    (1000, 0.0, 210),  # a fifth of the calls besides
    (10_000, 0.0, 210),  # what was saved up is bounded
    (0, REFILL, 10),  # a full reserve does not grow
])
def test_a_fifth_of_the_calls_and_the_reserve_are_asked_again(calls: int, later: float, allowed: int) -> None:
    budget = Budget(0.2, 10, 0.0)
    budget.calls += calls
    assert taken(budget, 5000, later) == allowed
    assert (budget.retries, budget.refused) == (allowed, 5000 - allowed)


def test_an_empty_reserve_is_full_again_after_a_minute() -> None:
    budget = Budget(0.2, 10, 0.0)
    assert taken(budget, 20, 0.0) == 10
    assert taken(budget, 20, REFILL / 2) == 5
    assert taken(budget, 20, REFILL * 9) == 10


def test_without_share_and_reserve_nothing_is_asked_again() -> None:
    budget = Budget(0.0, 0, 0.0)
    budget.calls += 1000
    assert not budget.take(1000.0)


def test_a_budget_that_is_changed_counts_on() -> None:
    budget = Budget(0.0, 1, 0.0)
    assert budget.take(0.0) and not budget.take(0.0)
    budget.tune(0.5, 1)
    budget.calls += 10
    assert taken(budget, 20, 0.0) == 5


class BudgetMachine(RuleBasedStateMachine):
    """Calls, retries and time in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 5.0
        self.budget = Budget(0.2, 10, self.now)
        self.granted: list[tuple[float, int]] = []  # when, and after how many calls

    @rule(count=st.integers(1, 3000))
    def calls(self, count: int) -> None:
        self.budget.calls += count

    @rule(count=st.integers(1, 300))
    def wants(self, count: int) -> None:
        for _ in range(count):
            if self.budget.take(self.now):
                self.granted.append((self.now, self.budget.calls))

    @rule(seconds=st.floats(0.0, 200.0))
    def waits(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.granted)
    @invariant()
    def retries_never_go_over_it(self) -> None:
        """From any moment on, not only since the start: what was saved, what was called, what was refilled."""
        latest, total = self.granted[-1], len(self.granted)
        for index, (began, calls) in enumerate(self.granted):
            saved = 10 + 0.2 * (KEPT if index else 0)
            if not index:
                calls, began = 0, 5.0
            allowed = saved + 0.2 * (latest[1] - calls) + 10 * (latest[0] - began) / REFILL
            assert total - index <= allowed + 1e-6


TestBudgetMachine = BudgetMachine.TestCase
TestBudgetMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
