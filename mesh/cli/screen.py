"""What commands print: JSON for programs; tables, times and colour for people, colour only on a terminal."""

from __future__ import annotations

import base64
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from mesh.cli.patience import spoken

COLOURS: Mapping[str, str] = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}
OF_STATE: Mapping[str, str] = {
    "ok": "green", "ready": "green", "busy": "yellow", "suspect": "yellow", "degraded": "yellow", "starting": "yellow",
    "backoff": "yellow", "draining": "yellow", "leaving": "yellow", "stuck": "red", "dead": "red", "failed": "red",
    "quarantined": "red", "unreachable": "red", "absent": "red", "debug": "dim", "info": "dim", "warning": "yellow",
    "error": "red", "critical": "red",
}
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160)) if code not in (9, 10)}


def say(text: str = "") -> None:
    """Print for people, at once."""
    spoken()
    print(text, flush=True)


def note(text: str) -> None:
    """Print beside the result: on standard error, so that a program that reads the result is not disturbed."""
    spoken()
    print(text, file=sys.stderr, flush=True)


def document(value: Any) -> None:
    """Print one JSON document."""
    spoken()
    print(json.dumps(plain(value), ensure_ascii=False, indent=2 if sys.stdout.isatty() else None), flush=True)


def line(value: Any) -> None:
    """Print one JSON document on a line of its own, for commands that follow something."""
    spoken()
    print(json.dumps(plain(value), ensure_ascii=False), flush=True)


def plain(value: Any) -> Any:
    """Return `value` as JSON has it: bytes as base64, arrays as lists, what is no number as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return value


def readable(value: Any) -> str:
    """Return a value for people: text as it is, anything else as indented JSON, bytes and arrays as a summary."""
    told = _summarised(value)
    return clean(told if isinstance(told, str) else json.dumps(told, ensure_ascii=False, indent=2))


def _summarised(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _summarised(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_summarised(item) for item in value]
    if isinstance(value, bytes):
        return f"<{len(value)} bytes: {base64.b64encode(value[:24]).decode()}{'...' if len(value) > 24 else ''}>"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"<array of {value.dtype}, shape {'x'.join(map(str, value.shape)) or 'scalar'}>"
    return value


def clean(text: str) -> str:
    """Return `text` without what would move the cursor or change the terminal; it may come from anybody."""
    return text.translate(_CONTROL)


def coloured(text: str, colour: str | None, out: TextIO | None = None) -> str:
    """Return `text` in a colour if it goes to a terminal whose user wants colours."""
    code = COLOURS.get(colour or "")
    if code is None or "NO_COLOR" in os.environ or not (out or sys.stdout).isatty():
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def state(word: str) -> str:
    """Return a state or severity in its colour."""
    return coloured(word, OF_STATE.get(word.strip()))


def moment(seconds: float) -> str:
    """Return a wall-clock time for people: the time of today, the date before that."""
    then = time.localtime(seconds)
    today = time.strftime("%Y-%m-%d", then) == time.strftime("%Y-%m-%d")
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", then)


def duration(seconds: float | None) -> str:
    """Return seconds for people: `4.2 s`, `3 min`, `5 h 12 min`, `2 d 3 h`."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
