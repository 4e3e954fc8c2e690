"""The logs of a host are read as one, in order, every line once, whatever is rotated or restarted meanwhile."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mesh.logs import log_file
from mesh.supervisor.showing.logbook import LogBook, Page, Wanted, moment_of
from tests.eventually import wait_until

ALL = Wanted()


def line(time: float, message: str, **fields: Any) -> str:
    told = {"time": moment_of(time), "level": "info", "host": "pc2", "service": "kb", "operation": None,
            "trace_id": None, "logger": "x", "message": message, **fields}
    return json.dumps(told) + "\n"


def write(folder: Path, name: str, *lines: str) -> None:
    folder.mkdir(exist_ok=True)
    with (folder / name).open("a") as file:
        file.writelines(lines)


def rotate(folder: Path, name: str) -> None:
    for number in (2, 1, 0):
        path = folder / (f"{name}.log" + (f".{number}" if number else ""))
        if path.exists():
            path.replace(folder / f"{name}.log.{number + 1}")


def told(page: Page) -> list[str]:
    return [each["message"] for each in page.lines]


@contextmanager
def logging_to(folder: Path, name: str = "supervisor", max_bytes: int = 3000) -> Iterator[logging.Handler]:
    handler = log_file(name, folder, host="pc2", max_bytes=max_bytes)
    try:
        yield handler
    finally:
        handler.close()


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("mesh", logging.INFO, "", 0, "%s", (message,), None)


# --- order ------------------------------------------------------------------------------------------------------------


def test_several_logs_are_one_in_order_of_time(tmp_path: Path) -> None:
    write(tmp_path, "supervisor.log", line(1, "a"), line(3, "c"), line(5, "e"))
    write(tmp_path, "registry.log", line(2, "b"), line(4, "d"))
    book = LogBook(tmp_path)
    assert told(book.after({}, ALL)) == ["a", "b", "c", "d", "e"]
    assert told(book.latest(ALL, 3)) == ["c", "d", "e"]
    assert told(book.latest(ALL, 100)) == ["a", "b", "c", "d", "e"]


def test_full_files_come_before_the_one_that_is_written(tmp_path: Path) -> None:
    write(tmp_path, "supervisor.log.2", line(1, "a"))
    write(tmp_path, "supervisor.log.1", line(2, "b"))
    write(tmp_path, "supervisor.log", line(3, "c"))
    book = LogBook(tmp_path)
    assert told(book.after({}, ALL)) == told(book.latest(ALL, 10)) == ["a", "b", "c"]


def test_a_folder_without_logs_has_none(tmp_path: Path) -> None:
    assert LogBook(tmp_path / "none").latest(ALL, 10) == Page()
    assert LogBook(tmp_path).after({}, ALL) == Page()


# --- cursors ----------------------------------------------------------------------------------------------------------


def test_a_cursor_goes_on_where_the_page_ended(tmp_path: Path) -> None:
    book = LogBook(tmp_path)
    write(tmp_path, "supervisor.log", *(line(number, str(number)) for number in range(10)))
    seen, page = list[str](), book.after({}, ALL, 4)
    while page.more:
        seen += told(page)
        page = book.after(page.cursor, ALL, 4)
    assert [*seen, *told(page)] == [str(number) for number in range(10)]
    assert told(book.after(page.cursor, ALL)) == []
    write(tmp_path, "supervisor.log", line(11, "new"))
    write(tmp_path, "cell-nlu.log", line(12, "first of a new log"))
    assert told(book.after(page.cursor, ALL)) == ["new", "first of a new log"]


def test_the_latest_lines_come_with_a_cursor_that_repeats_none(tmp_path: Path) -> None:
    book = LogBook(tmp_path)
    write(tmp_path, "supervisor.log", line(1, "a"), line(2, "b"))
    page = book.latest(ALL, 1)
    write(tmp_path, "supervisor.log", line(3, "c"))
    assert told(page) == ["b"] and told(book.after(page.cursor, ALL)) == ["c"]


def test_a_cursor_outlives_rotation(tmp_path: Path) -> None:
    book = LogBook(tmp_path)
    write(tmp_path, "supervisor.log", line(1, "a"))
    page = book.after({}, ALL)
    write(tmp_path, "supervisor.log", line(2, "b"))
    rotate(tmp_path, "supervisor")
    write(tmp_path, "supervisor.log", line(3, "c"))
    rotate(tmp_path, "supervisor")
    write(tmp_path, "supervisor.log", line(4, "d"))
    page = book.after(page.cursor, ALL)
    assert told(page) == ["b", "c", "d"] and page.lost == []


def test_what_was_rotated_away_unread_is_told(tmp_path: Path) -> None:
    book = LogBook(tmp_path)
    write(tmp_path, "supervisor.log", line(1, "a"))
    page = book.after({}, ALL)
    (tmp_path / "supervisor.log").unlink()
    write(tmp_path, "supervisor.log", line(9, "much later"))
    page = book.after(page.cursor, ALL)
    assert told(page) == ["much later"] and page.lost == ["supervisor"]
    assert book.after(page.cursor, ALL).lost == []


def test_no_line_is_lost_or_doubled_while_a_process_writes_and_rotates(tmp_path: Path) -> None:
    book, seen, count = LogBook(tmp_path), list[str](), 1500
    with logging_to(tmp_path, max_bytes=20_000) as handler:
        handler.handle(record("begin"))
        page = book.latest(ALL, 1)
        done = threading.Event()

        def kept_up(number: int) -> bool:
            """Who reads may fall behind, not by three files."""
            return number - len(seen) < 150

        def write_on() -> None:
            for number in range(count):
                handler.handle(record(str(number)))
                wait_until(partial(kept_up, number), 20)
            done.set()

        writer = threading.Thread(target=write_on)
        writer.start()
        while True:
            over = done.is_set()
            page = book.after(page.cursor, ALL, 37)
            assert page.lost == []
            seen += told(page)
            if over and not page.more and not page.lines:
                break
        writer.join()
    assert seen == [str(number) for number in range(count)]
    assert len(list(tmp_path.iterdir())) == 3


def test_an_unfinished_line_waits_for_its_end(tmp_path: Path) -> None:
    book, whole = LogBook(tmp_path), line(2, "b")
    write(tmp_path, "supervisor.log", line(1, "a"), whole[:30])
    page = book.after({}, ALL)
    assert told(page) == ["a"] == told(book.latest(ALL, 5))
    write(tmp_path, "supervisor.log", whole[30:])
    assert told(book.after(page.cursor, ALL)) == ["b"]


def test_what_is_no_line_is_shown_where_it_stands(tmp_path: Path) -> None:
    write(tmp_path, "supervisor.log", line(1, "a"), '{"time": "2026-01-01T0', line(3, "c"), "\x00\xff\n", line(5, "e"))
    write(tmp_path, "registry.log", line(2, "b"), line(4, "d"))
    forwards, backwards = LogBook(tmp_path).after({}, ALL), LogBook(tmp_path).latest(ALL, 20)
    for page in (forwards, backwards):
        assert [text for text in told(page) if len(text) == 1] == ["a", "b", "d", "e"]
        assert len(page.lines) == 6 and all(each["time"] for each in page.lines)


# --- what is wanted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "messages"), [
    (Wanted(service="nlu"), ["n", "m"]), (Wanted(level="warning"), ["m", "x"]), (Wanted(trace="ab12"), ["m"]),
    (Wanted(since=3.0), ["m", "x"]), (Wanted(service="nlu", level="error"), ["m"]), (Wanted(service="none"), []),
])
def test_only_what_is_wanted_is_told(tmp_path: Path, wanted: Wanted, messages: list[str]) -> None:
    write(tmp_path, "supervisor.log", line(1, "a ab12"), line(2, "n", service="nlu"),
          line(3, "m", service="nlu", level="error", trace_id="ab12cd"), line(4, "x", level="warning"))
    book = LogBook(tmp_path)
    assert told(book.after({}, wanted)) == messages == told(book.latest(wanted, 10))


def test_a_page_is_bounded_in_bytes_and_goes_on(tmp_path: Path) -> None:
    write(tmp_path, "supervisor.log", *(line(number, "x" * 100_000) for number in range(50)))
    page = LogBook(tmp_path).after({}, ALL)
    assert page.more and 15 < len(page.lines) < 30


def test_lines_longer_than_a_block_are_read_from_either_end(tmp_path: Path) -> None:
    messages = ["a" * 200_000, "b", "c" * 65_536, "d" * 131_000, "e"]
    write(tmp_path, "supervisor.log", *(line(at, text) for at, text in enumerate(messages)))
    book = LogBook(tmp_path)
    assert told(book.after({}, ALL)) == messages == told(book.latest(ALL, 10))
