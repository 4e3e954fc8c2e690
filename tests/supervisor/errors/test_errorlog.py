"""What a host reported is still there after it died, and no number is ever given twice."""

from __future__ import annotations

import asyncio
import queue
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mesh.errorbus import ErrorDetail, Gap, Joiner, Severity, Standing, describe
from mesh.errors import InvalidArgument
from mesh.supervisor.errors.errorlog import BLOCK, KEEP, ErrorLog
from mesh.testing import FakeClock
from tests.eventually import wait_until

LIMIT = 30.0


class Told:
    """What the log said about its own storing."""

    def __init__(self) -> None:
        self.messages: queue.Queue[tuple[Severity, str]] = queue.Queue()

    def __call__(self, severity: Severity, message: str) -> None:
        self.messages.put((severity, message))

    def next(self) -> tuple[Severity, str]:
        return self.messages.get(timeout=LIMIT)


def silent(severity: Severity, message: str) -> None:
    raise AssertionError(f"unexpected: {severity}: {message}")


@contextmanager
def opened(folder: Path, tell: Callable[[Severity, str], None] = silent, **options: Any) -> Iterator[ErrorLog]:
    log = ErrorLog(folder, "pc2", tell, **options)
    log.open()
    try:
        yield log
    finally:
        log.close(timeout=LIMIT)


@contextmanager
def full_disk() -> Iterator[None]:
    """Limit the size of every file this process writes; SQLite meets it at its write, as it meets a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def report(text: str = "dark", **fields: Any) -> ErrorDetail:
    return describe(text, **{"service": "nlu", "host": "pc2", "time": 100.0, **fields})


def ids(records: list[ErrorDetail]) -> list[str]:
    return [record.id for record in records]


def test_numbers_grow_from_one(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        numbered = [log.append(report()) for _ in range(3)]
    assert [(record.id, record.seq, record.skipped) for record in numbered] == [
        ("pc2-000001", 1, 0), ("pc2-000002", 2, 0), ("pc2-000003", 3, 0),
    ]


def test_a_record_can_be_read_at_once_with_everything_known_of_it(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        kept = log.append(report(operation="parse", trace_id="ab", context={"text": "hi"}))
        assert log.one(kept.id) == kept
        assert log.one("pc2-000099") is None


def test_everything_is_there_after_a_restart_and_numbers_go_on(tmp_path: Path) -> None:
    try:
        raise ValueError("no such fact")
    except ValueError as error:
        raised = describe(error, service="nlu", host="pc2", time=1.5, operation="parse", trace_id="ab",
                          context={"query": "lamp", "share": float("inf")})
    with opened(tmp_path) as log:
        kept = log.append(raised)
        log.decide(kept.id, "restart in 0.1 s")
    with opened(tmp_path) as log:
        assert log.one(kept.id) == kept.model_copy(update={"decision": "restart in 0.1 s"})
        assert "ValueError: no such fact" in kept.traceback
        following = log.append(report())
    assert (following.id, following.skipped) == ("pc2-000002", 0)


def test_only_the_last_thousand_are_kept_here_and_on_disk(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        for _ in range(KEEP + 50):
            log.append(report())
        assert len(log.since(None)) == KEEP
        assert log.one("pc2-000050") is None and log.one("pc2-000051") is not None
    with opened(tmp_path) as log:
        assert ids(log.since(None))[0] == "pc2-000051" and len(log.since(None)) == KEEP
        assert not log.decide("pc2-000001", "too late")
        assert log.append(report()).seq == KEEP + 51


def test_since_gives_what_came_after_an_id_in_order(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        for _ in range(4):
            log.append(report())
        assert ids(log.since("pc2-000002")) == ["pc2-000003", "pc2-000004"]
        assert log.since("pc2-000004") == []
        with pytest.raises(InvalidArgument, match="error of host mainpc"):
            log.since("mainpc-000001")


def test_groups_can_be_chosen_by_service_and_least_severity(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append(report("lamp 1 dark", time=1.0))
        log.append(report("lamp 2 dark", time=2.0))
        log.append(report("slow", service="chitchat", severity=Severity.WARNING, time=3.0))
        assert [(group.service, group.count) for group in log.groups()] == [("chitchat", 1), ("nlu", 2)]
        assert [group.message for group in log.groups(service="nlu")] == ["lamp 2 dark"]
        assert [group.service for group in log.groups(severity=Severity.ERROR)] == ["nlu"]
        assert [group.service for group in log.groups(limit=1)] == ["chitchat"]


def test_recent_errors_are_counted_from_error_upwards(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append(report(time=10.0))
        log.append(report(time=20.0, severity=Severity.CRITICAL))
        log.append(report(time=20.0, severity=Severity.WARNING))
        assert (log.count(since=15.0), log.count(since=5.0), log.count(since=5.0, severity=Severity.DEBUG)) == (1, 2, 3)


def test_an_acknowledged_group_is_new_when_it_happens_again_and_a_muted_one_is_not(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        dark, slow = log.append(report("dark")), log.append(report("slow"))
        log.judge(dark.fingerprint, Standing("acknowledged"))
        log.judge(slow.fingerprint, Standing("muted"))
    with opened(tmp_path) as log:
        assert {group.message: group.state for group in log.groups()} == {"dark": "acknowledged", "slow": "muted"}
        log.append(report("dark"))
        log.append(report("slow"))
        assert {group.message: group.state for group in log.groups()} == {"dark": "new", "slow": "muted"}
    with opened(tmp_path) as log:
        assert {group.message: group.state for group in log.groups()} == {"dark": "new", "slow": "muted"}


def test_a_record_says_whether_it_opens_its_group(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        first, again = log.append(report("dark")), log.append(report("dark"))
        log.judge(first.fingerprint, Standing("acknowledged"))
        back, more = log.append(report("dark")), log.append(report("dark"))
        assert [each.opens for each in (first, again, back, more)] == [True, False, True, False]
    with opened(tmp_path) as log:
        assert (log.append(report("dark")).opens, log.append(report("slow")).opens) == (False, True)


def test_a_muted_group_is_counted_and_left_out_until_its_time_is_over(tmp_path: Path) -> None:
    clock = FakeClock()
    with opened(tmp_path, clock=clock) as log:
        record = log.append(report("dark"))
        group = log.judge(record.fingerprint, Standing("muted", clock.time() + 60))
        assert group is not None and (group.state, group.until) == ("muted", clock.time() + 60)
        asyncio.run(clock.advance(30))
        quiet = log.append(report("dark"))
        assert (quiet.muted, quiet.opens) == (True, False)
        assert log.groups(muted=False) == [] and [each.count for each in log.groups()] == [2]
    with opened(tmp_path, clock=clock) as log:
        assert log.groups()[0].state == "muted"
        asyncio.run(clock.advance(31))
        assert [(each.state, each.until) for each in log.groups(muted=False)] == [("new", None)]
        loud, more = log.append(report("dark")), log.append(report("dark"))
        assert [(each.muted, each.opens) for each in (loud, more)] == [(False, True), (False, False)]


def test_what_is_not_kept_can_be_muted_but_not_acknowledged(tmp_path: Path) -> None:
    fingerprint = report("dark").fingerprint
    with opened(tmp_path) as log:
        assert log.judge(fingerprint, Standing("acknowledged")) is None
        assert log.append(report("dark")).muted is False
    with opened(tmp_path / "other") as log:
        assert log.judge(fingerprint, Standing("muted")) is None
        assert log.append(report("dark")).muted
        unmuted = log.judge(fingerprint, Standing("new"))
        assert unmuted is not None and unmuted.state == "new" and not log.append(report("dark")).muted


def test_a_group_whose_records_were_all_forgotten_opens_anew(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append(report("dark"))
        for _ in range(KEEP):
            log.append(report("slow"))
        assert log.append(report("dark")).opens


def test_a_file_of_the_version_before_is_read(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        record = log.append(report("dark"))
        log.judge(record.fingerprint, Standing("muted"))
    with sqlite3.connect(tmp_path / "errors.db") as connection:
        connection.execute("ALTER TABLE states DROP COLUMN until")
        connection.execute("PRAGMA user_version=1")
    connection.close()
    with opened(tmp_path) as log:
        assert [(each.message, each.state, each.until) for each in log.groups()] == [("dark", "muted", None)]


REPORTER = """
import sys
from pathlib import Path
from mesh.errorbus import describe
from mesh.supervisor.errors.errorlog import ErrorLog
log = ErrorLog(Path(sys.argv[1]), "pc2", print)
log.open()
for index in range(int(sys.argv[2])):
    print(log.append(describe("dark", service="nlu", host="pc2", time=1.0)).id, flush=True)
sys.stdin.read()
"""


def reported_until_killed(folder: Path, count: int, before_kill: Callable[[], object] = lambda: None) -> list[str]:
    """Report `count` errors in a process of their own, kill it right after the last, and return their ids."""
    with subprocess.Popen(
        [sys.executable, "-c", REPORTER, str(folder), str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        given = [process.stdout.readline().strip() for _ in range(count)]
        before_kill()
        process.send_signal(signal.SIGKILL)
    return given


def stored(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "errors.db")) as connection:
        count: int = connection.execute("SELECT count(*) FROM records").fetchone()[0]
        return count


def test_what_was_stored_survives_the_killing_of_the_process(tmp_path: Path) -> None:
    given = reported_until_killed(tmp_path, 3, before_kill=lambda: wait_until(lambda: stored(tmp_path) == 3, LIMIT))
    with opened(tmp_path) as log:
        assert ids(log.since(None)) == given


def test_no_number_is_given_twice_when_the_process_is_killed(tmp_path: Path) -> None:
    given: list[str] = []
    for count in (1, 3, 2 * BLOCK + 7, 2):
        given += reported_until_killed(tmp_path, count)
    with opened(tmp_path) as log:
        given.append(log.append(report()).id)
    assert len(set(given)) == len(given)
    assert given == sorted(given)


def test_the_numbers_a_killed_process_left_unused_are_no_gap_for_a_reader(tmp_path: Path) -> None:
    joiner = Joiner()
    for _ in range(3):
        reported_until_killed(tmp_path, 5)
        with opened(tmp_path) as log:
            log.append(report())
            assert not [item for item in joiner.history("pc2", log.since(None)) if isinstance(item, Gap)]


def test_a_damaged_file_is_set_aside_and_told_and_numbers_go_on(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append(report())
    (tmp_path / "errors.db").write_bytes(b"this is no database" * 500)
    told = Told()
    with opened(tmp_path, told) as log:
        severity, message = told.next()
        assert severity is Severity.ERROR
        assert "file is not a database" in message and "set aside as errors.db.damaged" in message
        assert log.append(report()).id == "pc2-000002"
    assert (tmp_path / "errors.db.damaged").read_bytes().startswith(b"this is no database")
    with opened(tmp_path) as log:
        assert ids(log.since(None)) == ["pc2-000002"]


@pytest.mark.parametrize("damage", ["UPDATE records SET record = '{\"id\": 7}'", "PRAGMA user_version = 99"])
def test_a_file_with_other_contents_is_set_aside_too(tmp_path: Path, damage: str) -> None:
    with opened(tmp_path) as log:
        log.append(report())
    connection = sqlite3.connect(tmp_path / "errors.db")
    with connection:
        connection.execute(damage)
    connection.close()
    told = Told()
    with opened(tmp_path, told) as log:
        assert "set aside" in told.next()[1]
        assert log.since(None) == []


def test_damage_while_running_loses_nothing_that_is_in_memory(tmp_path: Path) -> None:
    told = Told()
    with opened(tmp_path, told, retry_s=0.3) as log:
        with full_disk():
            for _ in range(100):
                log.append(report(context={"body": "x" * 2_000}))
            assert told.next()[0] is Severity.CRITICAL
            (tmp_path / "errors.db").write_bytes(b"this is no database" * 500)
        assert "set aside" in told.next()[1]
        assert told.next()[0] is Severity.INFO
    with opened(tmp_path) as log:
        assert [record.seq for record in log.since(None)] == list(range(1, 101))


def test_without_mark_and_with_a_damaged_file_numbers_start_far_beyond(tmp_path: Path) -> None:
    (tmp_path / "errors.db").write_bytes(b"this is no database" * 500)
    with opened(tmp_path, Told()) as log:
        assert log.append(report()).seq > 1_600_000_000


@pytest.mark.parametrize("text", ["", "many"])
def test_an_unreadable_mark_does_not_repeat_numbers(tmp_path: Path, text: str) -> None:
    with opened(tmp_path) as log:
        log.append(report())
    (tmp_path / "errors.mark").write_text(text)
    with opened(tmp_path) as log:
        assert log.append(report()).seq > 1_600_000_000
        assert len(log.since(None)) == 2


def test_a_folder_that_cannot_be_written_is_told_once_and_everything_is_stored_later(tmp_path: Path) -> None:
    told, state = Told(), tmp_path / "state"
    state.write_text("in the way")
    with opened(state, told, retry_s=0.01) as log:
        severity, message = told.next()
        assert severity is Severity.CRITICAL
        assert "cannot be" in message and "free space or make" in message
        for _ in range(KEEP + 5):
            log.append(report())
        assert len(log.since(None)) == KEEP
        state.unlink()
        assert told.next()[0] is Severity.INFO
        kept = ids(log.since(None))
    assert told.messages.empty()
    with opened(state) as log:
        assert ids(log.since(None)) == kept


def test_a_full_disk_is_told_and_storing_goes_on_once_there_is_space(tmp_path: Path) -> None:
    told = Told()
    with opened(tmp_path, told, retry_s=0.01) as log:
        log.append(report())
        with full_disk():
            for _ in range(300):
                log.append(report(context={"body": "x" * 2_000}))
            severity, message = told.next()
        assert severity is Severity.CRITICAL and "kept in memory only" in message
        assert len(log.since(None)) == 301
        assert told.next()[0] is Severity.INFO
    with opened(tmp_path) as log:
        assert len(log.since(None)) == 301


def test_reporting_trouble_through_the_log_itself_is_fine(tmp_path: Path) -> None:
    """As the supervisor does: what the log tells becomes a record of the same log."""
    state = tmp_path / "state"
    state.write_text("in the way")
    recovered = threading.Event()

    def tell(severity: Severity, message: str) -> None:
        log.append(report(message, severity=severity, service="supervisor"))
        if severity is Severity.INFO:
            recovered.set()

    log = ErrorLog(state, "pc2", tell, retry_s=0.01)
    log.open()
    assert [group.severity for group in log.groups(service="supervisor")] == ["critical"]
    state.unlink()
    assert recovered.wait(LIMIT)
    log.close(LIMIT)
    with opened(state) as again:
        assert [record.severity for record in again.since(None)] == ["critical", "info"]


def test_many_threads_report_at_once(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        threads = [threading.Thread(target=lambda: [log.append(report()) for _ in range(50)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with opened(tmp_path) as log:
        assert [record.seq for record in log.since(None)] == list(range(1, 401))
