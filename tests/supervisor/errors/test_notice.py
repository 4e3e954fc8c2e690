"""What is told, and when: a storm is one notification with a count, and what is refused is told later."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.errorbus import ErrorRecord, Severity
from mesh.supervisor.errors.notice import LISTED, Batch, Gathering, Notice, Occasion, is_news

ALL: tuple[Occasion, ...] = ("error", "quarantine", "host_dead")


def record(number: int = 1, **fields: Any) -> ErrorRecord:
    return ErrorRecord.model_validate({
        "id": f"pc2-{number:06d}", "seq": number, "time": float(number), "severity": "error", "host": "pc2",
        "service": "nlu", "type": "KeyError", "message": "dark", "fingerprint": "aa", "opens": True, **fields})


def notice(number: int = 1, occasion: Occasion = "error") -> Notice:
    return Notice(occasion, record(number))


def ids(batch: Batch | None) -> list[int]:
    assert batch is not None
    return [each.record.seq for each in batch.notices]


@pytest.mark.parametrize(("occasion", "fields", "news"), [
    ("error", {}, True), ("error", {"severity": "critical"}, True), ("error", {"severity": "warning"}, False),
    ("error", {"opens": False}, False), ("error", {"muted": True}, False), ("quarantine", {"opens": False}, True),
    ("quarantine", {"muted": True}, False), ("host_dead", {"opens": False}, True),
])
def test_only_news_are_told(occasion: Occasion, fields: dict[str, Any], news: bool) -> None:
    assert is_news(occasion, record(**fields), ALL) is news
    assert not is_news(occasion, record(**fields), [each for each in ALL if each != occasion])


def test_the_first_waits_for_its_like_and_then_there_is_quiet() -> None:
    gathering = Gathering(gather_s=2, quiet_s=60)
    assert gathering.wait(0.0) is None and gathering.take(0.0) is None
    gathering.add(notice(1), 0.0)
    gathering.add(notice(2), 1.5)
    assert gathering.wait(1.5) == 0.5 and gathering.take(1.9) is None
    assert ids(gathering.take(2.0)) == [1, 2]
    gathering.told(2.5)
    gathering.add(notice(3), 10.0)
    gathering.add(notice(4), 40.0)
    assert gathering.wait(40.0) == 22.5
    assert ids(gathering.take(62.5)) == [3, 4]
    gathering.told(63.0)
    gathering.add(notice(5), 500.0)
    assert gathering.wait(500.0) == 2.0


def test_a_dead_host_does_not_wait_for_the_quiet_after_an_error() -> None:
    gathering = Gathering(gather_s=2, quiet_s=60)
    gathering.add(notice(1), 0.0)
    gathering.take(2.0)
    gathering.told(2.0)
    gathering.add(notice(2), 3.0)
    assert gathering.wait(3.0) == 59.0
    gathering.add(notice(3, "host_dead"), 4.0)
    assert gathering.wait(4.0) == 3.0
    assert ids(gathering.take(7.0)) == [2, 3]


def test_what_comes_while_something_is_told_waits_for_the_quiet_to_end() -> None:
    gathering = Gathering(gather_s=2, quiet_s=60)
    gathering.add(notice(1), 0.0)
    gathering.take(2.0)
    gathering.add(notice(2), 3.0)
    gathering.told(4.0)
    assert gathering.take(63.0) is None and ids(gathering.take(64.0)) == [2]


def test_what_is_refused_is_due_again_with_what_came_meanwhile() -> None:
    gathering = Gathering(gather_s=2, again_s=30)
    gathering.add(notice(1), 0.0)
    batch = gathering.take(2.0)
    assert batch is not None
    gathering.add(notice(2), 5.0)
    gathering.refused(batch, 10.0)
    assert gathering.take(39.0) is None
    again = gathering.take(40.0)
    assert ids(again) == [1, 2] and again is not None and again.count == 2


def test_who_stops_has_what_waits_at_once() -> None:
    gathering = Gathering()
    gathering.add(notice(1), 0.0)
    gathering.hurry()
    assert gathering.wait(0.0) == 0.0 and ids(gathering.take(0.0)) == [1]


def test_a_storm_is_counted_and_what_is_rarer_is_not_left_out() -> None:
    batch = Batch()
    for number in range(500):
        batch.add(notice(number))
    batch.add(notice(900, "quarantine"))
    batch.add(notice(901, "host_dead"))
    document = batch.document("home", "mainpc", "production", 7.0)
    assert (document["count"], document["left_out"], document["counts"]) == (
        502, 502 - LISTED, {"error": 500, "quarantine": 1, "host_dead": 1})
    assert [each["occasion"] for each in document["notices"]][-2:] == ["quarantine", "host_dead"]
    assert len(document["notices"]) == LISTED
    assert document["text"].startswith(
        "home: 500 new errors, 1 host dead, 1 agent in quarantine, told by mainpc. nlu on pc2: KeyError: dark")


def test_a_batch_of_the_rarest_stays_bounded() -> None:
    batch = Batch()
    for number in range(100):
        batch.add(notice(number, "quarantine"))
    later = Batch()
    for number in range(30):
        later.add(notice(number))
    batch.merge(later)
    assert (len(batch.notices), batch.count) == (LISTED, 130)


def test_a_notice_tells_what_can_be_known() -> None:
    told = Notice("error", record(7, severity=Severity.CRITICAL, trace_id="ab" * 16, operation="find"), "restarted")
    assert told.plain() == {
        "occasion": "error", "severity": "critical", "service": "nlu", "host": "pc2", "operation": "find",
        "type": "KeyError", "message": "dark", "id": "pc2-000007", "fingerprint": "aa", "trace_id": "ab" * 16,
        "time": 7.0, "decision": "restarted"}
