"""Values laid over each other (file, environment section, environment variables), knowing where each came from.

Mappings are merged key by key; lists and single values are replaced whole. What was laid in is never changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mesh.config.findings import Place
from mesh.config.source import KeyPath
from mesh.config.validation import PlaceOf


class Layers:
    """The values in force of one file and the place each was written at."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._places: dict[KeyPath, PlaceOf] = {}

    def lay(self, values: Mapping[str, Any], place: PlaceOf) -> None:
        """Put `values` over what is there; `place` tells where a path of them was written."""
        self._places.setdefault((), place)
        self._merge(self.values, values, (), place)

    def place(self, path: KeyPath) -> Place:
        """Return where the value at `path` was written, or the nearest one around it."""
        for length in range(len(path), -1, -1):
            if place := self._places.get(path[:length]):
                return place(path)
        raise LookupError("nothing was laid")

    def get(self, path: KeyPath) -> Any:
        """Return the value at `path`, None where there is none."""
        value: Any = self.values
        for step in path:
            try:
                value = value[step]
            except (LookupError, TypeError):
                return None
        return value

    def origins(self) -> Iterator[tuple[str, str]]:
        """Yield the dotted key of every single value and the origin it shows."""
        for path in _leaves(self.values, ()):
            yield ".".join(map(str, path)), self.place(path).origin

    def _merge(self, target: dict[str, Any], values: Mapping[str, Any], path: KeyPath, place: PlaceOf) -> None:
        for key, value in values.items():
            here = (*path, key)
            there = target.get(key)
            if isinstance(value, dict):
                if not isinstance(there, dict):
                    target[key] = there = {}
                    self._places[here] = place
                self._merge(there, value, here, place)
                continue
            if isinstance(there, dict):
                self._forget(here)
            target[key] = value
            self._places[here] = place

    def _forget(self, path: KeyPath) -> None:
        """Drop the places of a mapping that a single value replaces."""
        self._places = {known: place for known, place in self._places.items() if known[: len(path)] != path}


def _leaves(values: Mapping[str, Any], path: KeyPath) -> Iterator[KeyPath]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key)
