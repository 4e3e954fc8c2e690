"""What is printed: JSON that any program reads, times and values that people read."""

from __future__ import annotations

import json
import time

import numpy
import pytest

from mesh.cli import screen


def test_json_holds_bytes_as_base64_arrays_as_lists_and_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    screen.document({"b": b"\x00\xff", "a": numpy.array([[1, 2]]), "n": float("nan"), "t": (1, "ü")})
    assert json.loads(capsys.readouterr().out) == {"b": "AP8=", "a": [[1, 2]], "n": None, "t": [1, "ü"]}


def test_one_line_of_json_has_no_line_break_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    screen.line({"text": "a\nb"})
    assert capsys.readouterr().out == '{"text": "a\\nb"}\n'


def test_people_see_text_as_it_is_and_a_summary_of_what_is_no_text() -> None:
    assert screen.readable("two\nlines") == "two\nlines"
    assert screen.readable(b"hello") == "<5 bytes: aGVsbG8=>"
    assert screen.readable({"picture": numpy.zeros((2, 3), dtype="uint8")}) == (
        '{\n  "picture": "<array of uint8, shape 2x3>"\n}')


def test_an_answer_cannot_clear_the_terminal() -> None:
    assert screen.readable("a\x1b[2J\x07b") == "a\\x1b[2J\\x07b"


def test_there_is_no_colour_off_a_terminal() -> None:
    assert screen.coloured("text", "red") == "text"


@pytest.mark.parametrize(("seconds", "text"), [
    (None, "-"), (0.0, "0.0 s"), (59.94, "59.9 s"), (61.2, "1 min"), (3600.0, "1 h 0 min"), (90_000.0, "1 d 1 h"),
])
def test_durations_are_as_exact_as_people_want_them(seconds: float | None, text: str) -> None:
    assert screen.duration(seconds) == text


def test_a_moment_of_today_has_no_date() -> None:
    now = time.time()
    assert screen.moment(now) == time.strftime("%H:%M:%S", time.localtime(now))
    assert len(screen.moment(now - 3 * 86_400)) == 19
