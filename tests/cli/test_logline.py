"""A line of the log fits the terminal and cannot change it, whatever was logged."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.logline import Printer
from mesh.config import HostConfig, MeshConfig
from mesh.config.model import RegistryConfig

HOSTS = {name: HostConfig(name=name, address="127.0.0.1", port=1, events_port=2, metrics_port=3)
         for name in ("mainpc", "pc2")}


def printed(capsys: pytest.CaptureFixture[str], as_json: bool = False, **fields: Any) -> list[str]:
    config = MeshConfig(mesh="home", registry=RegistryConfig(host="pc2", port=1), hosts=HOSTS, root=Path(),
                        home=Path())
    line = {"time": time.strftime("%Y-%m-%dT12:00:00.123456+00:00", time.gmtime()), "level": "info", "host": "pc2",
            "service": "kb", "operation": "find", "trace_id": None, "message": "found", **fields}
    Printer(config, as_json=as_json)("pc2", line)
    return capsys.readouterr().out.splitlines()


def test_the_columns_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = printed(capsys, level="warning", trace_id="ab" * 16)
    (other,) = printed(capsys, host="mainpc", service=None, operation=None)
    assert line.split()[1:] == ["pc2", "warning", "kb.find", "found", "[abababababab]"]
    assert line.index("warning") == other.index("info") and "  -  found" in other and ".123  " in line


def test_programs_get_the_line_as_it_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = printed(capsys, as_json=True, host=None, extra=1)
    told = json.loads(line)
    assert (told["host"], told["message"], told["extra"]) == ("pc2", "found", 1)


def test_further_lines_and_tracebacks_are_indented(capsys: pytest.CaptureFixture[str]) -> None:
    first, *rest = printed(capsys, message="one\ntwo", traceback="Traceback:\n  ValueError: x\n")
    assert first.endswith("one") and rest == ["    two", "    Traceback:", "      ValueError: x"]


def test_no_line_is_wider_than_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = printed(capsys, message="word " * 40 + "x" * 200)
    assert all(len(line) <= 60 for line in lines) and sum(line.count("x") for line in lines) == 200
    assert all(line.startswith("    ") for line in lines[1:])


def test_what_would_change_the_terminal_is_shown_and_not_done(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = printed(capsys, message="\x1b[2J gone", service="\x07bell")
    assert "\x1b" not in line and "\x07" not in line and "\\x1b[2J gone" in line


def test_a_line_without_a_time_is_shown_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, time="", level=None)[0].endswith("kb.find  found")
