"""What pydantic found wrong with a value, said in the words of the mesh: where, what was expected, what was found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

_SHOWN = 60
_SECRET = re.compile(r"password|secret|token|api_?key|credential", re.IGNORECASE)
_ABSENT = ("missing", "extra_forbidden")


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One thing wrong with a value: `path` such as `facts[0].name`, pydantic's `kind` of error, and what was there."""

    path: str
    kind: str
    complaint: str
    found: str

    @property
    def name(self) -> str:
        """The first name of the path."""
        return re.split(r"[.\[]", self.path, maxsplit=1)[0]

    @property
    def last(self) -> str:
        """The last name of the path."""
        return self.path.rpartition(".")[2]


def mismatches(error: ValidationError, value: Any) -> list[Mismatch]:
    """Return what `error` says about `value`, one entry per place (a union complains once per member)."""
    found: dict[str, Mismatch] = {}
    for line in error.errors(include_url=False, include_context=False):
        path = _path(line["loc"], value, line["type"])
        complaint = line["msg"][:1].lower() + line["msg"][1:]
        found.setdefault(path, Mismatch(path, line["type"], complaint, shown(path, line["input"])))
    return list(found.values())


def shown(path: str, value: Any) -> str:
    """Return a short text of a value and its type; what a secret's name stands before is not shown."""
    kind = type(value).__name__
    if value is None:
        return "None"
    if _SECRET.search(path):
        return f"a {kind} (not shown)"
    text = repr(value) if isinstance(value, (str, int, float, bool, bytes)) else ""
    if not text:
        return f"a {kind}"
    return f"{text if len(text) <= _SHOWN else text[:_SHOWN] + '…'} ({kind})"


def _path(location: Sequence[int | str], value: Any, kind: str) -> str:
    """Return where `location` leads in `value`; the names of union members in it are left out."""
    path = ""
    for position, step in enumerate(location):
        last = position == len(location) - 1
        if isinstance(step, int) and isinstance(value, (list, tuple, set, frozenset)):
            path, value = f"{path}[{step}]", _item(value, step)
        elif isinstance(value, Mapping) and step in value:
            path, value = _below(path, step), value[step]
        elif last and kind in _ABSENT:
            path = _below(path, step)
        elif isinstance(step, str) and not isinstance(value, Mapping) and step in getattr(value, "__dict__", {}):
            path, value = _below(path, step), getattr(value, step)
    return path


def _below(path: str, step: int | str) -> str:
    return f"{path}.{step}" if path else str(step)


def _item(value: Any, index: int) -> Any:
    items = list(value)
    return items[index] if -len(items) <= index < len(items) else None
