"""What is remembered of a wish, so that exactly the instances it is for run, or do not, from then on."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from mesh.records import DesiredState
from mesh.supervisor.remembered import remembered

WISHES = st.lists(st.tuples(st.sampled_from([None, 1, 2, 3]), st.sampled_from(["running", "stopped"])), max_size=12)


def after(wishes: Sequence[tuple[int | None, DesiredState]]) -> dict[str, str]:
    """Return what is remembered when these were wished one after another of a service with three instances."""
    kept: dict[str, str] = {}
    for number, wanted in wishes:
        kept.update(remembered("nlu", (1, 2, 3), number, wanted, lambda name: kept.get(name, "running")))
    return kept


def running(kept: dict[str, str]) -> set[int]:
    return {number for number in (1, 2, 3) if "stopped" not in (kept.get("nlu"), kept.get(f"nlu#{number}"))}


@given(WISHES)
def test_the_last_wish_for_an_instance_counts_whatever_was_wished_before(
    wishes: list[tuple[int | None, DesiredState]]
) -> None:
    expected = {number: next((wanted for meant, wanted in reversed(wishes) if meant in (None, number)), "running")
                for number in (1, 2, 3)}
    assert running(after(wishes)) == {number for number, wanted in expected.items() if wanted == "running"}


def test_a_service_with_one_instance_is_remembered_under_its_name_alone() -> None:
    assert remembered("nlu", (1,), None, "stopped", lambda _: "running") == [("nlu", "stopped")]
    assert remembered("nlu", (1,), None, "running", lambda _: "running") == [("nlu", "running")]
