"""Structured logs of one process: a JSON object per line in a file that rotates, and nothing on the terminal.

Several processes of a host write below one folder, each its own file; whoever begins a new file removes the oldest
full ones of all of them while the folder is over its limit.

The fields are `time` (UTC), `level`, `host`, `service`, `operation`, `trace_id`, `logger`, `message` and, with an
exception, `traceback`. A logger called `mesh.agent.<service>` logs for that service.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from mesh.errors import StartError

MAX_BYTES = 10_000_000
FOLDER_BYTES = 100_000_000
FILES = 3
AGENT_LOGGER = "mesh.agent."

Context = Callable[[], Mapping[str, str | None]]


def open_log(
    name: str, folder: Path, *, host: str, service: str | None = None, level: str = "INFO", context: Context = dict,
    folder_bytes: int = FOLDER_BYTES, max_bytes: int = MAX_BYTES,
) -> logging.Handler:
    """Send everything this process logs to `folder/<name>.log`, three files of `max_bytes` at most.

    No file takes more than a tenth of `folder_bytes`, the limit of all files in the folder.

    `service` is who logs when no agent does. `context` tells `service`, `operation` and `trace_id` of what runs at the
    moment; what a call gives in `extra` wins. Warnings are logged too. Raises `StartError` if the file cannot be
    opened. Give the returned handler to `close_log`.
    """
    handler = log_file(name, folder, host=host, service=service, context=context, folder_bytes=folder_bytes,
                       max_bytes=max_bytes)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)
    return handler


def log_file(
    name: str, folder: Path, *, host: str, service: str | None = None, context: Context = dict,
    folder_bytes: int = FOLDER_BYTES, max_bytes: int = MAX_BYTES,
) -> logging.Handler:
    """Return what writes such a file, for records that somebody hands to it; raises `StartError`."""
    path = folder / f"{name}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(path, maxBytes=min(max_bytes, folder_bytes // 10), backupCount=FILES - 1, encoding="utf-8",
                           errors="backslashreplace")
    except OSError as error:
        raise StartError(f"the log {path} cannot be written: {error}; make its folder writable, "
                         "or set MESH_HOME to one that is") from None
    handler.folder_bytes = folder_bytes
    handler.setFormatter(_Lines(host, service, context))
    return handler


def close_log(handler: logging.Handler) -> None:
    """Undo `open_log`."""
    logging.getLogger().removeHandler(handler)
    logging.captureWarnings(False)
    handler.close()


class _LogFile(RotatingFileHandler):
    """A log file that says once on stderr that it cannot be written, and goes on trying in silence."""

    folder_bytes = FOLDER_BYTES
    _complained = False

    def doRollover(self) -> None:
        """Called by `logging` when the file is full."""
        super().doRollover()
        trim(Path(self.baseFilename).parent, self.folder_bytes)

    def handleError(self, record: logging.LogRecord) -> None:
        """Called by `logging` inside the `except` of a failed write."""
        if not self._complained:
            self._complained = True
            print(f"{self.baseFilename} cannot be written: {sys.exc_info()[1]}", file=sys.__stderr__)


def trim(folder: Path, limit: int) -> None:
    """Remove the oldest full files (`<name>.<number>`) until the folder's files are within `limit` bytes."""
    sizes = {path: status for path in folder.iterdir() if (status := _status(path)) is not None}
    whole = sum(status.st_size for status in sizes.values())
    for path in sorted(sizes, key=lambda path: sizes[path].st_mtime):
        if whole <= limit:
            return
        if path.suffix[1:].isdigit():
            path.unlink(missing_ok=True)
            whole -= sizes[path].st_size


def _status(path: Path) -> os.stat_result | None:
    try:
        status = path.stat()
    except OSError:  # renamed or removed by another process meanwhile
        return None
    return status if stat.S_ISREG(status.st_mode) else None


class _Lines(logging.Formatter):
    """One record as one line of JSON."""

    def __init__(self, host: str, service: str | None, context: Context) -> None:
        super().__init__()
        self._host = host
        self._service = service
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a message whose arguments do not fit is shown with them."""
        told = {**self._context(), **record.__dict__}
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "host": self._host,
            "service": _service_of(record.name) or told.get("service") or self._service,
            "operation": told.get("operation"),
            "trace_id": told.get("trace_id"),
            "logger": record.name,
            "message": _message_of(record),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=repr)


def _service_of(logger: str) -> str | None:
    return logger[len(AGENT_LOGGER):].partition(".")[0] if logger.startswith(AGENT_LOGGER) else None


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # a wrong format string in an agent must not cost the line
        return f"{record.msg!r} {record.args!r} ({type(error).__name__}: {error})"
