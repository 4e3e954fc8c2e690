"""Tables fit the terminal, and nothing in them can play with it."""

from __future__ import annotations

import pytest

from mesh.cli.table import Column, table

COLUMNS = [Column("service"), Column("host", dispensable=1), Column("calls", number=True)]
ROWS: list[list[object]] = [["knowledge_base", "mainpc", 12], ["nlu", "pc2", None]]


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_numbers_are_right_and_text_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    table(COLUMNS, ROWS)
    assert printed(capsys) == [
        "service         host    calls",
        "knowledge_base  mainpc     12",
        "nlu             pc2         -",
    ]


def test_a_narrow_terminal_loses_what_is_dispensable_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    table(COLUMNS, ROWS)
    assert printed(capsys)[1] == "knowledge_base     12"


def test_then_the_widest_text_is_cut(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    table([Column("service"), Column("calls", number=True)], [["a_service_with_a_long_name", 1]])
    assert printed(capsys) == ["service        calls", "a_service_wi…      1"]


def test_text_of_several_lines_becomes_one(capsys: pytest.CaptureFixture[str]) -> None:
    table([Column("service")], [["nlu"]], {0: "line 7 is wrong:\n    import nlx"})
    assert printed(capsys)[2] == "    line 7 is wrong: import nlx"


def test_into_a_pipe_nothing_is_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    table([Column("text")], [["x" * 500]])
    assert printed(capsys)[1] == "x" * 500


def test_a_note_stands_below_its_row_within_the_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    table(COLUMNS, ROWS, {0: "waiting for " + "memory_orchestrator " * 4})
    lines = printed(capsys)
    assert lines[2].startswith("    waiting for") and len(lines[2]) == 30 and lines[2].endswith("…")


def test_control_characters_in_a_cell_are_shown_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    table([Column("text")], [["a\x1b[2Jb\nc"]])
    assert printed(capsys)[1] == "a\\x1b[2Jb c"
