"""What one failure means for the others of its group."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.config import RestartGroupConfig
from mesh.supervisor.restartgroup import RestartGroup, Spent, Together

ORDER = ("a", "b", "c", "d")


def group(strategy: str, **config: float) -> RestartGroup:
    found = RestartGroupConfig.model_validate({"agents": [*ORDER], "strategy": strategy, **config})
    return RestartGroup("speech", found, lambda: ORDER)


@pytest.mark.parametrize(("strategy", "failed", "together"), [
    ("one_for_one", "a", ()), ("one_for_one", "d", ()),
    ("one_for_all", "a", ("b", "c", "d")), ("one_for_all", "c", ("a", "b", "d")),
    ("rest_for_one", "a", ("b", "c", "d")), ("rest_for_one", "b", ("c", "d")), ("rest_for_one", "d", ()),
    ("one_for_all", "somebody else", ()),
])
def test_the_strategy_says_who_is_restarted_with_whom(strategy: str, failed: str, together: tuple[str, ...]) -> None:
    assert group(strategy).failed(failed, 0.0) == Together(together)


def test_one_failure_more_than_its_budget_spends_the_group() -> None:
    speech = group("one_for_all", budget=2, within_s=10.0)
    assert isinstance(speech.failed("a", 0.0), Together) and isinstance(speech.failed("b", 5.0), Together)
    assert speech.failed("c", 9.9) == Spent("the restart group speech failed 3 times in 10 s, its budget is 2")


def test_failures_leave_the_budget_with_time_and_by_an_operator() -> None:
    speech = group("one_for_one", budget=1, within_s=10.0)
    speech.failed("a", 0.0)
    assert isinstance(speech.failed("a", 10.0), Together) and speech.failures(10.0) == 1
    speech.renew()
    assert speech.failures(10.0) == 0 and isinstance(speech.failed("a", 10.1), Together)


@given(st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]), st.integers(0, 6), st.floats(1.0, 100.0),
       st.lists(st.tuples(st.floats(0.0, 60.0), st.sampled_from(ORDER)), max_size=40))
def test_no_window_holds_more_failures_than_the_budget_and_only_those_of_the_strategy_are_restarted(
    strategy: str, budget: int, within: float, happened: list[tuple[float, str]]
) -> None:
    speech, now = group(strategy, budget=budget, within_s=within), 0.0
    granted: list[float] = []
    for pause, name in happened:
        now += pause
        decision = speech.failed(name, now)
        if isinstance(decision, Spent):
            assert sum(now - at < within for at in granted) >= budget
            return
        granted.append(now)
        assert sum(now - at < within for at in granted) <= budget
        assert name not in decision.names
        if strategy == "rest_for_one":
            assert all(ORDER.index(each) > ORDER.index(name) for each in decision.names)
            assert len(decision.names) == len(ORDER) - 1 - ORDER.index(name)
