"""Settings that operators changed while the mesh runs; they win over every file.

A value is what a config file could hold: null, true or false, a number, text, a list, a map.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from mesh.address import NAME
from mesh.errors import InvalidArgument
from mesh.message import encode
from registry.changes import UNSET, OverrideChange

KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,15}\Z")

MAX_VALUE = 64 * 1024
"""Bytes of one value, encoded: every host holds every override in memory."""
MAX_ROWS = 10_000
"""Overrides in all, for the same reason."""

_PLAIN = (str, int, float, bool, type(None))


class Overrides:
    """The changed settings of every service."""

    def __init__(self, stored: Iterable[OverrideChange] = ()) -> None:
        self._rows = {(row.service, row.key): row for row in stored}

    def change(self, service: str, key: str, value: Any) -> OverrideChange | None:
        """Return what setting `key` would change, None if it is so already; raises `InvalidArgument`."""
        if not NAME.match(service):
            raise InvalidArgument(f"service is {service!r}, which is no name of a service", path="service")
        if not KEY.match(key) or len(key) > 200:
            raise InvalidArgument(
                f"key is {key!r:.80}, expected names joined by dots, such as engine.timeout_s", path="key"
            )
        _check(value, "value")
        size = len(encode(value))
        if size > MAX_VALUE:
            raise InvalidArgument(f"value takes {size} bytes, an override may take {MAX_VALUE}", path="value")
        if len(self._rows) >= MAX_ROWS and (service, key) not in self._rows:
            raise InvalidArgument(f"there are {MAX_ROWS} overrides already; unset some first", path="key")
        row = OverrideChange(service, key, value)
        return None if self._rows.get((service, key)) == row else row

    def removal(self, service: str, key: str) -> OverrideChange | None:
        """Return what unsetting `key` would change, None if it is not set."""
        return OverrideChange(service, key, UNSET) if (service, key) in self._rows else None

    def take(self, change: OverrideChange) -> None:
        """Let a change count."""
        if change.value is UNSET:
            self._rows.pop((change.service, change.key), None)
        else:
            self._rows[change.service, change.key] = change

    def by_service(self) -> dict[str, dict[str, Any]]:
        """Return every override as service -> key -> value."""
        found: dict[str, dict[str, Any]] = {}
        for row in self._rows.values():
            found.setdefault(row.service, {})[row.key] = row.value
        return found

    def rows(self) -> list[OverrideChange]:
        """Return every row."""
        return list(self._rows.values())


def _check(value: Any, path: str) -> None:
    if isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check(item, f"{path}.{key}")
    elif type(value) not in _PLAIN:
        raise InvalidArgument(f"{path} is {type(value).__name__}, which no config file could hold", path=path)
