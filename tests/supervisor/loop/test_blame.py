"""The books of the loop: what is used, what is stolen, where, and how much of that in the last minute."""

from __future__ import annotations

from typing import Any

from mesh.supervisor.loop.blame import MARK_SECONDS, MOST_PLACES, SHOWN, Blame, User
from mesh.supervisor.loop.hold import LIMIT, Hold, Kind, Place


def place(service: str = "spinner", function: str = "spin", line: int = 12) -> Place:
    return Place(service, "spin", function, f"agents/{service}.py", line)


def hold(seconds: float, **where: Any) -> Hold:
    return Hold(place(**where), seconds, Kind.COMPUTING)


def users(**used: float) -> list[User]:
    return [User(service, "coroutine", seconds) for service, seconds in used.items()]


def rows(blame: Blame, now: float, **used: float) -> dict[str, dict[str, Any]]:
    return {row["service"]: row for row in blame.rows(now, users(**used))}


def test_used_is_shown_with_its_share_of_the_time() -> None:
    blame = Blame("mainpc", now=100.0)
    row = rows(blame, 110.0, lamp=2.5)["lamp"]
    assert (row["used_ms"], row["share"], row["stolen_ms"], row["holds"], row["places"]) == (2500.0, 0.25, 0.0, 0, [])
    assert (row["host"], row["isolation"]) == ("mainpc", "coroutine")


def test_stolen_is_what_went_over_the_limit() -> None:
    blame = Blame("mainpc", now=0.0)
    blame.note(hold(LIMIT + 0.5))
    tally = blame.note(hold(LIMIT + 1.0, line=13))
    assert (tally.count, tally.worst) == (2, LIMIT + 1.0)
    row = rows(blame, 10.0, spinner=3.0)["spinner"]
    assert (row["stolen_ms"], row["holds"]) == (1500.0, 2)
    (where,) = row["places"]
    assert (where["file"], where["line"], where["count"], where["worst_ms"], where["total_ms"]) == (
        "agents/spinner.py", 13, 2, 1250.0, 2000.0)
    assert where["kind"] == "computing"


def test_the_one_that_stole_most_comes_first_then_the_one_that_used_most() -> None:
    blame = Blame("mainpc", now=0.0)
    blame.note(hold(1.0, service="thief"))
    listed = [row["service"] for row in blame.rows(10.0, users(idle=0.1, busy=5.0, thief=1.0))]
    assert listed == ["thief", "busy", "idle"]


def test_the_mesh_itself_is_listed_only_if_it_held_the_loop() -> None:
    blame = Blame("mainpc", now=0.0)
    assert "supervisor" not in rows(blame, 1.0, lamp=0.0)
    blame.note(hold(1.0, service="supervisor"))
    assert rows(blame, 1.0, lamp=0.0)["supervisor"]["stolen_ms"] == 750.0


def test_the_last_minute_is_told_apart() -> None:
    blame = Blame("mainpc", now=0.0)
    blame.note(hold(LIMIT + 1.0))
    now = 0.0
    while now < 200.0:
        now += MARK_SECONDS
        blame.mark(now, users(spinner=10.0 + now / 100))
    row = rows(blame, now, spinner=12.6)["spinner"]
    assert blame.window(now) == {"window_s": 200.0, "minute_s": 60.0}
    assert (row["used_ms"], row["used_1m_ms"], row["share_1m"]) == (12600.0, 1200.0, 0.02)
    assert (row["stolen_ms"], row["stolen_1m_ms"]) == (1000.0, 0.0)


def test_before_a_minute_is_over_it_counts_from_the_start() -> None:
    blame = Blame("mainpc", now=0.0)
    blame.mark(5.0, users(lamp=1.0))
    assert blame.window(20.0)["minute_s"] == 20.0
    assert rows(blame, 20.0, lamp=4.0)["lamp"]["used_1m_ms"] == 4000.0


def test_places_without_number_take_bounded_memory_and_the_worst_are_shown() -> None:
    blame = Blame("mainpc", now=0.0)
    for number in range(3 * MOST_PLACES):
        blame.note(hold(1.0 + number / 1000, function=f"f{number}"))
    row = rows(blame, 10.0, spinner=0.0)["spinner"]
    assert row["holds"] == 3 * MOST_PLACES and len(row["places"]) == SHOWN
    assert row["places"][0]["function"] == f"f{3 * MOST_PLACES - 1}"


def test_who_held_the_loop_is_shown_to_prometheus() -> None:
    blame = Blame("mainpc", now=0.0)
    assert list(blame.samples()) == []
    blame.note(hold(LIMIT + 0.5))
    blame.note(hold(LIMIT + 1.0))
    assert {(sample.instrument.name, *sample.labels): sample.value for sample in blame.samples()} == {
        ("mesh_loop_holds_total", "spinner"): 2, ("mesh_loop_stolen_seconds_total", "spinner"): 1.5}
