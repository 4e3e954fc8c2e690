"""Who has to go for a newcomer, and what is said when nobody can."""

from __future__ import annotations

import pytest

from mesh.config import Budget
from mesh.errors import EngineMissing, Overloaded
from mesh.models import Ledger, Model
from mesh.models.ledger import IDLE_S

NOW = 1000.0


def ledger(*held: tuple[str, str, float, float], loaded: bool = True, **budget: object) -> Ledger:
    """Return a ledger whose models are given as name, device, MiB and seconds since last use."""
    made = Ledger(Budget.model_validate(budget))
    for name, device, size, ago in held:
        made.models["one", name] = Model(("one", name), device, size, NOW - ago, {"one"}, loaded=loaded)
    return made


@pytest.mark.parametrize(
    ("held", "wanted", "going"),
    [
        ([], 100, []),
        ([("a", "cpu", 60, 100)], 40, []),
        ([("a", "cpu", 60, 100)], 41, ["a"]),
        ([("a", "cpu", 30, 100), ("b", "cpu", 30, 300), ("c", "cpu", 30, 200)], 20, ["b"]),
        ([("a", "cpu", 30, 100), ("b", "cpu", 30, 300), ("c", "cpu", 30, 200)], 60, ["b", "c"]),
        ([("a", "cpu", 50, 1), ("b", "cpu", 50, 100)], 50, ["b"]),
        ([("a", "cpu", 60, 1), ("b", "cuda:0", 60, 100)], 40, []),
        ([("unmeasured", "cpu", 0, 900), ("b", "cpu", 90, 100)], 50, ["b"]),
    ],
)
def test_the_least_recently_used_go_and_no_more_than_must(
    held: list[tuple[str, str, float, float]], wanted: float, going: list[str]
) -> None:
    found = ledger(*held, memory_mb=100).room_for("new", "cpu", wanted, NOW)
    assert [name for _, name in found] == going


def test_without_a_budget_everything_fits() -> None:
    assert ledger(("a", "cpu", 10**6, 1)).room_for("new", "cuda:3", 10**9, NOW) == []


@pytest.mark.parametrize(("ago", "retry_after"), [(0.0, IDLE_S), (IDLE_S - 5, 5.0)])
def test_models_in_use_stay_and_the_refusal_says_who_holds_what_and_until_when(
    ago: float, retry_after: float
) -> None:
    with pytest.raises(Overloaded, match=r"new takes 50 MiB of cpu.* of 100 MiB is held by a of one 80 MiB") as caught:
        ledger(("a", "cpu", 80, ago), memory_mb=100).room_for("new", "cpu", 50, NOW)
    assert caught.value.details["retry_after"] == retry_after


def test_a_model_that_is_being_loaded_does_not_go() -> None:
    with pytest.raises(Overloaded):
        ledger(("a", "cpu", 80, 900), loaded=False, memory_mb=100).room_for("new", "cpu", 50, NOW)


def test_what_can_never_fit_is_the_operators_to_mend() -> None:
    with pytest.raises(EngineMissing, match="takes 101 MiB of cpu, and the budget has 100"):
        ledger(memory_mb=100).room_for("new", "cpu", 101, NOW)
    with pytest.raises(EngineMissing, match="wants the device cuda:1, and the budget of this host names cuda:0"):
        ledger(devices={"cuda:0": 10.0}).room_for("new", "cuda:1", 1, NOW)
