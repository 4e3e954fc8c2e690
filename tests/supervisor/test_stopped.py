"""A host keeps in a file what operators have stopped."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mesh.supervisor.stopped import Stopped


def test_what_was_stopped_is_known_after_a_restart_until_it_is_wanted_again(tmp_path: Path) -> None:
    file = tmp_path / "stopped.json"
    kept = Stopped(file)
    kept.note("nlu", "stopped")
    kept.note("nlu#2", "stopped")
    assert "nlu" in Stopped(file) and "nlu#2" in Stopped(file) and "tts" not in Stopped(file)
    kept.note("nlu", "running")
    assert "nlu" not in Stopped(file) and "nlu#2" in Stopped(file)


def test_that_the_registry_says_nothing_changes_nothing(tmp_path: Path) -> None:
    kept = Stopped(tmp_path / "stopped.json")
    kept.note("nlu", "stopped")
    kept.note("nlu", None)
    assert "nlu" in kept and "nlu" in Stopped(tmp_path / "stopped.json")


@pytest.mark.parametrize("text", ["", "{", "7"])
def test_a_file_that_does_not_read_is_told_of_and_holds_nobody_up(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "stopped.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        assert "nlu" not in Stopped(tmp_path / "stopped.json")
    assert "only the registry knows what operators have stopped" in caplog.text
