"""Logs are lines of JSON in a file of bounded size, whatever an agent logs."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mesh.errors import StartError
from mesh.logs import close_log, log_file, open_log, trim


@contextmanager
def logging_to(folder: Path, **options: Any) -> Iterator[logging.Handler]:
    root = logging.getLogger()
    level = root.level
    handler = open_log("supervisor", folder, **{"host": "pc2", **options})
    try:
        yield handler
    finally:
        close_log(handler)
        root.setLevel(level)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "supervisor.log").read_text().splitlines()]


def test_a_line_tells_when_where_and_what(tmp_path: Path) -> None:
    with logging_to(tmp_path):
        logging.getLogger("mesh.membership").warning("lost %s", "mainpc")
    (line,) = lines(tmp_path)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning", "host": "pc2", "service": None, "operation": None, "trace_id": None,
        "logger": "mesh.membership", "message": "lost mainpc",
    }


def test_an_agents_logger_names_its_service_and_the_context_the_call(tmp_path: Path) -> None:
    with logging_to(tmp_path, context=lambda: {"service": "other", "operation": "parse", "trace_id": "ab"}):
        logging.getLogger("mesh.agent.nlu").info("heard")
        logging.getLogger("sklearn").warning("odd")
    nlu, library = lines(tmp_path)
    assert (nlu["service"], nlu["operation"], nlu["trace_id"]) == ("nlu", "parse", "ab")
    assert (library["service"], library["operation"]) == ("other", "parse")


def test_extra_fields_win_and_the_process_is_named_when_nobody_else_is(tmp_path: Path) -> None:
    with logging_to(tmp_path, service="supervisor", context=lambda: {"operation": "parse"}):
        logging.getLogger("mesh").warning("one", extra={"operation": "status", "service": "registry"})
        logging.getLogger("mesh").warning("two")
    assert [(line["service"], line["operation"]) for line in lines(tmp_path)] == [
        ("registry", "status"), ("supervisor", "parse"),
    ]


def test_an_exception_is_logged_with_its_traceback(tmp_path: Path) -> None:
    with logging_to(tmp_path):
        try:
            raise ValueError("dark")
        except ValueError:
            logging.getLogger("mesh").exception("failed")
    (line,) = lines(tmp_path)
    assert line["message"] == "failed" and line["traceback"].endswith("ValueError: dark")


def test_warnings_are_logged(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with logging_to(tmp_path):
            warnings.warn("old and tired", DeprecationWarning, stacklevel=1)
    (line,) = lines(tmp_path)
    assert line["logger"] == "py.warnings" and "old and tired" in line["message"]


def test_a_line_stays_one_line_of_json_whatever_is_logged(tmp_path: Path) -> None:
    with logging_to(tmp_path) as handler:  # handed over directly: the handlers of pytest refuse such records
        for message, arguments in (("two\nlines and a \udcff", ()), ("%d lamps", ("no",)), ({"a": object}, ())):
            handler.handle(logging.LogRecord("mesh", logging.WARNING, "x.py", 1, message, arguments, None))
    messages = [line["message"] for line in lines(tmp_path)]
    assert messages[0].startswith("two\nlines")
    assert messages[1] == "'%d lamps' ('no',) (TypeError: %d format: a real number is required, not str)"
    assert len(messages) == 3


def test_debug_is_left_out_unless_asked_for(tmp_path: Path) -> None:
    with logging_to(tmp_path):
        logging.getLogger("mesh").debug("hidden")
    assert lines(tmp_path) == []
    with logging_to(tmp_path, level="DEBUG"):
        logging.getLogger("mesh").debug("seen")
    assert [line["message"] for line in lines(tmp_path)] == ["seen"]


def test_nothing_reaches_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with logging_to(tmp_path):
        logging.getLogger("mesh").error("failed")
    assert capfd.readouterr() == ("", "")


def test_old_lines_make_room(tmp_path: Path) -> None:
    with logging_to(tmp_path, max_bytes=2_000):
        for number in range(100):
            logging.getLogger("mesh").warning("number %d", number)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["supervisor.log", "supervisor.log.1", "supervisor.log.2"]
    assert all(path.stat().st_size <= 2_000 for path in tmp_path.iterdir())
    assert lines(tmp_path)[-1]["message"] == "number 99"


def test_a_log_that_cannot_be_written_is_told_once_and_hurts_nobody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with logging_to(tmp_path, max_bytes=200):
        (tmp_path / "supervisor.log.1").mkdir()  # rotation cannot put the full file there
        (tmp_path / "supervisor.log.1" / "taken").touch()
        (tmp_path / "supervisor.log.2").mkdir()
        (tmp_path / "supervisor.log.2" / "taken").touch()
        for _ in range(10):
            logging.getLogger("mesh").error("x" * 100)
    out, err = capfd.readouterr()
    assert out == "" and err.count("cannot be written") == 1


def test_a_folder_that_cannot_be_made_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    with pytest.raises(StartError, match="set MESH_HOME"):
        open_log("supervisor", tmp_path / "logs", host="pc2")


def test_a_folder_over_its_limit_loses_its_oldest_full_files(tmp_path: Path) -> None:
    for age, name in enumerate(("kb.log.2", "supervisor.log.1", "kb.log.1", "supervisor.log", "kb.log", "x.out")):
        (tmp_path / name).write_bytes(b"x" * 100)
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    trim(tmp_path, 600)
    assert len(list(tmp_path.iterdir())) == 6
    trim(tmp_path, 450)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kb.log", "kb.log.1", "supervisor.log", "x.out"]
    trim(tmp_path, 10)  # what is written to stays
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kb.log", "supervisor.log", "x.out"]


def test_all_logs_of_a_folder_together_keep_its_limit(tmp_path: Path) -> None:
    handlers = [log_file(name, tmp_path, host="pc2", folder_bytes=50_000) for name in ("a", "b", "c", "d", "e")]
    for number in range(400):
        for handler in handlers:
            handler.handle(logging.LogRecord("mesh", logging.INFO, "", 0, "%s", (f"{number} " + "x" * 100,), None))
    for handler in handlers:
        handler.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 50_000 + 5 * 5_000
    assert all((tmp_path / f"{name}.log").stat().st_size <= 5_000 for name in "abcde")
