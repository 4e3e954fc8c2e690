"""The way onto the error bus: numbered, kept, published, logged; floods are told once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.errorbus import Severity, record_of
from mesh.supervisor.errors.errorlog import ErrorLog
from mesh.supervisor.errors.reporter import Reporter
from mesh.testing import FakeClock
from tests.figures import read


class Desk:
    """A reporter, what it published and where it keeps."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock(now=50.0, wall=1_800_000_000.0)
        self.log = ErrorLog(folder, "pc2", lambda *_: None, clock=self.clock)
        self.published: list[tuple[str, Any, str]] = []
        self.report = Reporter("pc2", self.log, self.clock, lambda *sent: self.published.append(sent))

    def messages(self) -> list[str]:
        return [record.message for record in self.log.since(None)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.log.open()
    yield made
    made.log.close()


def test_a_report_is_numbered_kept_and_published_under_its_topic(desk: Desk) -> None:
    try:
        raise ValueError("three")
    except ValueError as error:
        id = desk.report(error, severity="error", service="nlu", operation="analyze", trace_id="ab" * 16,
                         context={"text": "hello"}, decision="restart in 0.1 s")
    assert id == "pc2-000001"
    record = desk.log.one(id)
    assert record is not None and (record.type, record.message, record.time) == ("ValueError", "three", 1_800_000_000.0)
    assert "ValueError: three" in record.traceback
    assert record.context == {"text": "hello"} and record.decision == "restart in 0.1 s"
    ((topic, payload, origin),) = desk.published
    assert (topic, origin) == ("errors.error.pc2.nlu", "nlu@pc2")
    assert record_of(payload).id == id and payload["trace_id"] == "ab" * 16 and "traceback" not in payload


@pytest.mark.parametrize("severity", list(Severity))
def test_each_severity_has_its_topic_and_its_level_in_the_log(
    desk: Desk, severity: Severity, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "mesh.errors"):
        desk.report("noticed", severity=severity.value, service="nlu")
    assert desk.published[0][0] == f"errors.{severity}.pc2.nlu"
    (line,) = caplog.records
    assert line.levelname == severity.name and line.getMessage() == "pc2-000001 nlu: noticed"


def test_ids_grow(desk: Desk) -> None:
    assert [desk.report("a", severity="info", service="nlu") for _ in range(3)] == [
        "pc2-000001", "pc2-000002", "pc2-000003",
    ]


def test_a_flood_of_one_kind_is_told_once_in_ten_seconds_with_its_number(desk: Desk) -> None:
    for _ in range(100):
        desk.report.trouble("refused_key", "a stranger knocked")
    desk.report.trouble("link:pc3", "the link to pc3 is lost")
    assert desk.messages() == ["a stranger knocked", "the link to pc3 is lost"]
    desk.clock._now += 9.9
    desk.report.trouble("refused_key", "a stranger knocked")
    assert len(desk.messages()) == 2
    desk.clock._now += 0.2
    for _ in range(2):
        desk.report.trouble("refused_key", "a stranger knocked")
    assert desk.messages()[2:] == ["a stranger knocked (100 more like it since the last one told)"]
    assert {(topic, origin) for topic, _, origin in desk.published} == {
        ("errors.warning.pc2.supervisor", "supervisor@pc2")
    }


def test_trouble_has_the_severity_it_is_given(desk: Desk) -> None:
    desk.report.trouble("refused", "the registry refuses this host", severity="error")
    assert desk.published[0][0] == "errors.error.pc2.supervisor"


def test_reports_are_counted_by_service_and_severity_the_supervisors_from_the_start(desk: Desk) -> None:
    before = read(desk.report.samples())
    assert before == {("mesh_reports_total", "supervisor", severity.value): 0 for severity in Severity}
    for severity in ("error", "error", "warning"):
        desk.report("noticed", severity=severity, service="nlu")
    desk.report.trouble("door", "a stranger knocked")
    assert read(desk.report.samples()) == before | {
        ("mesh_reports_total", "nlu", "error"): 2, ("mesh_reports_total", "nlu", "warning"): 1,
        ("mesh_reports_total", "supervisor", "warning"): 1}
