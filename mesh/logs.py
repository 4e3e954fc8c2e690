"""Structured logs of one process: a JSON object per line in a file that rotates, and nothing on the terminal.

The fields are `time` (UTC), `level`, `host`, `service`, `operation`, `trace_id`, `logger`, `message` and, with an
exception, `traceback`. A logger called `mesh.agent.<service>` logs for that service.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from mesh.errors import StartError

MAX_BYTES = 10_000_000
FILES = 3
AGENT_LOGGER = "mesh.agent."

Context = Callable[[], Mapping[str, str | None]]


def open_log(
    name: str, folder: Path, *, host: str, service: str | None = None, level: str = "INFO", context: Context = dict,
    max_bytes: int = MAX_BYTES,
) -> logging.Handler:
    """Send everything this process logs to `folder/<name>.log`, three files of `max_bytes` at most.

    `service` is who logs when no agent does. `context` tells `service`, `operation` and `trace_id` of what runs at the
    moment; what a call gives in `extra` wins. Warnings are logged too. Raises `StartError` if the file cannot be
    opened. Give the returned handler to `close_log`.
    """
    path = folder / f"{name}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(path, maxBytes=max_bytes, backupCount=FILES - 1, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise StartError(f"the log {path} cannot be written: {error}; make its folder writable, "
                         "or set MESH_HOME to one that is") from None
    handler.setFormatter(_Lines(host, service, context))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)
    return handler


def close_log(handler: logging.Handler) -> None:
    """Undo `open_log`."""
    logging.getLogger().removeHandler(handler)
    logging.captureWarnings(False)
    handler.close()


class _LogFile(RotatingFileHandler):
    """A log file that says once on stderr that it cannot be written, and goes on trying in silence."""

    _complained = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Called by `logging` inside the `except` of a failed write."""
        if not self._complained:
            self._complained = True
            print(f"{self.baseFilename} cannot be written: {sys.exc_info()[1]}", file=sys.stderr)


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
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
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
