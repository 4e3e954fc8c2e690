"""A child process is started, listened to and ended without ever waiting for it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from mesh.launcher.child import LAST_WORDS, MAX_OUTPUT, Child
from tests.eventually import wait_until

LIMIT = 30.0


def child(folder: Path, program: str) -> Child:
    return Child("pc2", [sys.executable, "-c", program], folder / "logs" / "supervisor.out")


def ended(of: Child) -> int:
    codes: list[int | None] = [None]

    def over() -> bool:
        codes[0] = of.ended(lambda _: None)
        return codes[0] is not None

    wait_until(over, LIMIT)
    assert codes[0] is not None
    return codes[0]


def test_the_exit_code_is_told_once(tmp_path: Path) -> None:
    process = child(tmp_path, "raise SystemExit(7)")
    process.start()
    assert ended(process) == 7
    assert process.ended(lambda _: None) is None and process.pid is None


def test_the_signal_that_killed_it_is_told_as_a_negative_code(tmp_path: Path) -> None:
    process = child(tmp_path, "import time; time.sleep(1000)")
    process.start()
    process.kill()
    assert ended(process) == -signal.SIGKILL


def test_lines_written_right_before_the_end_are_not_lost(tmp_path: Path) -> None:
    told = '{"event": "a"}\nnoise\n[1]\n{"event": "b"}\n{"ev'
    program = f"import os, sys; os.write(int(sys.argv[2]), {told.encode()!r})"
    process = child(tmp_path, program)
    forgotten: list[int] = []
    descriptor = process.start()
    while process.ended(forgotten.append) is None:
        pass
    assert [message["event"] for message in process.messages(forgotten.append)] == ["a", "b"]
    assert forgotten == [descriptor]
    assert process.messages(forgotten.append) == []


def test_it_can_be_started_again(tmp_path: Path) -> None:
    process = child(tmp_path, "print('here')")
    for _ in range(2):
        process.start()
        assert ended(process) == 0
    assert process.output.read_text() == "here\nhere\n"


def test_last_words_are_those_of_the_last_start(tmp_path: Path) -> None:
    process = child(tmp_path, "import sys; print('x' * 5000, flush=True); sys.exit('port 7410 is taken')")
    process.start()
    ended(process)
    assert len(process.last_words()) <= LAST_WORDS and process.last_words().endswith("x\nport 7410 is taken")
    quiet = Child("pc2", [sys.executable, "-c", ""], process.output)
    quiet.start()
    ended(quiet)
    assert quiet.last_words() == ""


def test_a_big_output_makes_room_at_the_next_start(tmp_path: Path) -> None:
    process = child(tmp_path, "print('new')")
    process.output.parent.mkdir()
    process.output.write_text("x" * (MAX_OUTPUT + 1))
    process.start()
    ended(process)
    assert process.output.read_text() == "new\n"
    assert process.output.with_name("supervisor.out.1").stat().st_size == MAX_OUTPUT + 1


def test_a_program_that_is_not_there_leaves_no_descriptor_open(tmp_path: Path) -> None:
    process = Child("pc2", ["/no/such/program"], tmp_path / "supervisor.out")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        process.start()
    assert len(os.listdir("/proc/self/fd")) == before and process.pid is None


def test_nothing_to_end_is_no_trouble(tmp_path: Path) -> None:
    process = child(tmp_path, "")
    process.ask_to_stop()
    process.kill()
    assert process.last_words() == ""
