"""Lines of several hosts come out in one order, each once, however late a host answers and whatever its clock says."""

from __future__ import annotations

import random
from typing import Any

import pytest

from mesh.cli.logmerge import Merge, seconds_of
from mesh.supervisor.showing.logbook import moment_of


def line(time: float, message: str = "") -> dict[str, Any]:
    return {"time": moment_of(time), "message": message or str(time)}


def told(merge: Merge, began: float | None = None) -> list[str]:
    return [each["message"] for _, each in merge.release(began)]


def take(merge: Merge, host: str, at: float, *lines: dict[str, Any], ahead: float = 0.0) -> None:
    merge.take(host, lines, now=at + 0.01 + ahead, asked=at, answered=at + 0.02)


def test_what_was_written_before_the_round_is_shown_and_the_rest_waits() -> None:
    merge = Merge()
    take(merge, "mainpc", 10.0, line(9.0, "b"), line(9.95, "d"))
    take(merge, "pc2", 10.0, line(8.0, "a"), line(9.5, "c"))
    assert told(merge, 10.0) == ["a", "b", "c"]
    take(merge, "pc2", 10.5, line(9.93, "before d"))
    assert told(merge, 10.5) == ["before d", "d"]
    assert told(merge) == []


def test_a_clock_that_differs_is_made_up_for_and_told() -> None:
    merge = Merge()
    take(merge, "mainpc", 100.0, line(98.0, "second"))
    take(merge, "pc2", 100.0, line(157.0, "first"), line(159.0, "third"), ahead=60.0)
    assert told(merge, 100.0) == ["first", "second", "third"]
    assert merge.ahead == {"mainpc": 0.0, "pc2": pytest.approx(60.0, abs=0.05)}
    take(merge, "pc3", 100.0, ahead=-5.0)
    assert merge.ahead["pc3"] == pytest.approx(-5.0, abs=0.05)


def test_a_small_difference_may_be_the_way_there_and_is_left_alone() -> None:
    merge = Merge()
    take(merge, "pc2", 100.0, ahead=0.2)
    assert merge.ahead["pc2"] == 0.0


def test_lines_of_the_same_moment_keep_their_order() -> None:
    merge = Merge()
    take(merge, "pc2", 10.0, *(line(9.0, str(number)) for number in range(20)))
    assert told(merge, 10.0) == [str(number) for number in range(20)]


def test_following_hosts_that_write_all_the_time_is_in_order_and_complete() -> None:
    chance = random.Random(7)
    written = {host: sorted(chance.uniform(0, 60) for _ in range(300)) for host in ("a", "b", "c")}
    merge, shown, read = Merge(), list[float](), dict.fromkeys(written, 0)
    moment = 0.0
    while moment < 61:
        began, moment = moment, moment + 0.3
        for host, times in written.items():
            looked = began + chance.uniform(0, 0.2)  # when the host looks into its files
            due = [time for time in times[read[host]:] if time <= looked]
            read[host] += len(due)
            take(merge, host, looked, *(line(time, repr(time)) for time in due))
        shown += [float(text) for text in told(merge, began)]
    shown += [float(text) for text in told(merge)]
    assert shown == pytest.approx(sorted(time for times in written.values() for time in times))
    assert [round(time, 2) for time in shown] == sorted(round(time, 2) for time in shown)


def test_a_line_without_time_comes_first() -> None:
    merge = Merge()
    take(merge, "pc2", 10.0, line(9.0, "b"), {"time": "", "message": "a"})
    assert told(merge) == ["a", "b"] and seconds_of("soon") == 0.0
