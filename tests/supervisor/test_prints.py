"""What agents print is logged line by line; too much of it is counted, and the file below Python stays small."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from mesh.supervisor.prints import SHARE, Allowance, Overflow, Printed
from mesh.testing import FakeClock


class Kept(logging.Handler):
    """Keeps the records it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler, logger = Kept(), logging.getLogger("stdout")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)


def printed(original: TextIO | None = None, *, echo: bool = False, clock: FakeClock | None = None) -> Printed:
    return Printed("stdout", logging.INFO, original or io.StringIO(), lambda: {"service": "kb", "operation": "find"},
                   clock or FakeClock(), echo=echo)


def test_each_line_is_a_record_with_the_place_it_was_printed_at(kept: Kept) -> None:
    stream = printed()
    print("one", 1, file=stream)
    print("two\nthree", file=stream)
    print("fo", end="", file=stream)
    print("ur %d", file=stream, flush=True)
    print(file=stream)
    assert kept.messages == ["one 1", "two", "three", "four %d"]
    assert {(vars(record)["service"], vars(record)["operation"]) for record in kept.records} == {("kb", "find")}


def test_threads_do_not_mix_their_lines(kept: Kept) -> None:
    stream = printed()
    stream.write("mine ")
    other = threading.Thread(target=lambda: print("other's", file=stream))
    other.start()
    other.join()
    stream.write("own\n")
    assert kept.messages == ["other's", "mine own"]


def test_a_line_without_end_is_cut(kept: Kept) -> None:
    stream = printed()
    stream.write("x" * 20_000)
    assert [len(message) for message in kept.messages] == [8192, 8192]


def test_by_hand_it_is_seen_as_well(kept: Kept) -> None:
    terminal = io.StringIO()
    print("seen", file=printed(terminal, echo=True))
    assert (terminal.getvalue(), kept.messages) == ("seen\n", ["seen"])
    print("unseen", file=printed(terminal))
    assert terminal.getvalue() == "seen\n"


def test_what_libraries_expect_of_a_terminal_is_there(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as original:
        stream = printed(original)
        stream.reconfigure(line_buffering=True)
        assert (stream.name, stream.encoding, stream.isatty(), stream.fileno()) == (
            original.name, "utf-8", False, original.fileno())
        assert stream.buffer is original.buffer and stream.writable() and not hasattr(stream, "_nothing")


def test_a_handler_that_prints_does_not_go_in_circles() -> None:
    terminal = io.StringIO()
    stream = printed(terminal)

    class Printing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print("inside", file=stream)

    handler = Printing()
    logging.getLogger("stdout").addHandler(handler)
    logging.getLogger("stdout").setLevel(logging.INFO)
    try:
        print("x", file=stream)
    finally:
        logging.getLogger("stdout").removeHandler(handler)
    assert terminal.getvalue() == "inside\n"


def test_a_flood_is_cut_to_its_share_and_counted(kept: Kept) -> None:
    clock = FakeClock()
    stream = printed(clock=clock)
    for _ in range(1000):
        print("x" * 1023, file=stream)
    assert sum(map(len, kept.messages)) <= SHARE
    shown = len(kept.messages)
    asyncio.run(clock.advance(2.0))
    print("again", file=stream)
    assert kept.messages[shown:] == [
        f"{1000 - shown} printed lines were left out: more than 64 KiB in a second", "again"]


def test_one_printer_does_not_use_up_the_share_of_another() -> None:
    allowance = Allowance()
    assert allowance.take("a", SHARE * 2, 0.0) == 0  # a single line of any size passes
    assert allowance.take("a", 1, 0.5) is None
    assert allowance.take("b", 1, 0.5) == 0
    assert allowance.take("a", 1, 1.0) == 1


PROGRAM = """
import logging, os, sys
from pathlib import Path
from mesh.clock import Clock
from mesh.logs import open_log
from mesh.supervisor.prints import log_prints
open_log("supervisor", Path(sys.argv[1]), host="pc2", service="supervisor", context=lambda: {"service": "kb"})
log_prints(lambda: {"service": "kb"}, Clock(), echo=False)
print("printed")
print("wrong", file=sys.stderr)
os.write(1, b"past Python\\n")
raise ValueError("the end")
"""


def test_a_process_logs_its_prints_and_dies_where_its_parent_looks(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in (tmp_path / "supervisor.log").read_text().splitlines()]
    assert [(line["logger"], line["level"], line["service"], line["message"]) for line in lines] == [
        ("stdout", "info", "kb", "printed"), ("stderr", "warning", "kb", "wrong"),
        ("mesh", "critical", "kb", "the process ends: ValueError: the end")]
    assert done.stdout == "past Python\n" and done.stderr.endswith("ValueError: the end\n")


# --- what is printed past Python --------------------------------------------------------------------------------------


def test_a_full_output_file_is_put_aside_and_nothing_written_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.out"
    number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        overflow = Overflow(path, limit=100, descriptors=(number,))
        os.write(number, b"a" * 80)
        assert not overflow.attend()
        os.write(number, b"b" * 40)
        assert overflow.attend() and not overflow.attend()
        os.write(number, b"c")
    finally:
        os.close(number)
    assert path.read_bytes() == b"c"
    assert (tmp_path / "supervisor.out.1").read_bytes() == b"a" * 80 + b"b" * 40


def test_output_that_goes_elsewhere_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.out"
    path.write_bytes(b"x" * 200)
    with (tmp_path / "other").open("wb") as other:
        assert not Overflow(path, limit=100, descriptors=(other.fileno(),)).attend()
    assert not Overflow(tmp_path / "none", limit=1).attend()
    assert path.stat().st_size == 200
