"""An error tail shows each record once and in order, whoever answers late, not at all, or twice."""

from __future__ import annotations

from mesh.cli.story import AGAIN, Story
from mesh.errorbus import ErrorRecord, Gap, Severity, make_id


def record(host: str, number: int, time: float = 0.0) -> ErrorRecord:
    return ErrorRecord(id=make_id(host, number), seq=number, time=time or float(number), severity=Severity.ERROR,
                       host=host, service="lamp", type="ValueError", message="m", fingerprint="f" * 12)


def ids(items: list[ErrorRecord | Gap]) -> list[str]:
    return [item.id if isinstance(item, ErrorRecord) else f"gap of {item.count}" for item in items]


def opened(*hosts: str) -> Story:
    story = Story()
    story.open(hosts)
    assert set(story.to_ask(0.0)) == set(hosts)
    return story


def test_the_histories_of_all_hosts_are_shown_together_in_the_order_of_time() -> None:
    story = opened("mainpc", "pc2")
    assert story.history("mainpc", [record("mainpc", 1, 10.0), record("mainpc", 2, 30.0)], 0.0) == []
    assert ids(story.history("pc2", [record("pc2", 1, 20.0)], 0.0)) == ["mainpc-000001", "pc2-000001", "mainpc-000002"]


def test_what_comes_live_during_the_opening_waits_and_is_not_shown_twice() -> None:
    story = opened("mainpc")
    assert story.live(record("mainpc", 2)) == []
    assert ids(story.history("mainpc", [record("mainpc", 1), record("mainpc", 2)], 0.0)) == [
        "mainpc-000001", "mainpc-000002"]
    assert ids(story.live(record("mainpc", 3))) == ["mainpc-000003"]
    assert story.live(record("mainpc", 3)) == []


def test_a_host_that_does_not_answer_holds_nobody_up_and_is_asked_again() -> None:
    story = opened("mainpc", "pc2")
    story.history("mainpc", [record("mainpc", 1)], 0.0)
    assert ids(story.history("pc2", None, 0.0)) == ["mainpc-000001"]
    assert story.to_ask(AGAIN / 2) == {}
    assert story.to_ask(AGAIN) == {"pc2": None}
    assert ids(story.history("pc2", [record("pc2", 1)], AGAIN)) == ["pc2-000001"]


def test_live_records_of_a_host_that_does_not_answer_are_shown_all_the_same() -> None:
    story = opened("mainpc")
    story.live(record("mainpc", 7))
    assert ids(story.history("mainpc", None, 0.0)) == ["mainpc-000007"]


def test_a_loss_on_the_way_is_asked_for_and_told_only_if_the_host_has_it_no_more() -> None:
    story = opened("mainpc")
    story.history("mainpc", [record("mainpc", 1)], 0.0)
    assert story.live(record("mainpc", 4)) == []
    assert story.to_ask(0.0) == {"mainpc": "mainpc-000001"}
    shown = story.history("mainpc", [record("mainpc", 3), record("mainpc", 4)], 0.0)
    assert ids(shown) == ["gap of 1", "mainpc-000003", "mainpc-000004"]


def test_after_a_lost_connection_it_goes_on_from_the_last_record_of_each_host() -> None:
    story = opened("mainpc", "pc2")
    story.history("mainpc", [record("mainpc", 5)], 0.0)
    story.history("pc2", [], 0.0)
    story.open(["mainpc", "pc2"])
    assert story.to_ask(0.0) == {"mainpc": "mainpc-000005", "pc2": None}
    story.history("pc2", [], 0.0)
    assert ids(story.history("mainpc", [record("mainpc", 6)], 0.0)) == ["mainpc-000006"]


def test_what_waits_when_the_connection_is_lost_during_the_opening_is_still_shown() -> None:
    story = opened("mainpc", "pc2")
    story.history("mainpc", [record("mainpc", 1)], 0.0)
    assert ids(story.rest()) == ["mainpc-000001"] and story.rest() == []


def test_a_host_nobody_knew_of_is_asked_when_it_is_first_heard() -> None:
    story = opened("mainpc")
    story.history("mainpc", [], 0.0)
    assert story.live(record("pc3", 2)) == []
    assert story.to_ask(0.0) == {"pc3": None}
    assert ids(story.history("pc3", [record("pc3", 1), record("pc3", 2)], 0.0)) == ["pc3-000001", "pc3-000002"]
