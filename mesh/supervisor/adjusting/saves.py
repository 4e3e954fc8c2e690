"""Tells a saved file from one that is being saved: it changed, and has rested since; decides by stamps and `now`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mesh.supervisor.adjusting.sources import Stamp

GONE = 1.0
"""Seconds a file must be away to count as removed: editors that save by renaming leave a gap."""


class Saves:
    """What was saved between looks; the first look only learns what there is."""

    def __init__(self) -> None:
        self._known: dict[Path, Stamp | None] | None = None
        self._moving: dict[Path, tuple[Stamp | None, float]] = {}

    def look(self, seen: Mapping[Path, Stamp | None], now: float) -> set[Path]:
        """Take the stamps of all files that count; returns those that were saved, each once."""
        if self._known is None:
            self._known = dict(seen)
            return set()
        saved = set()
        for path in {**self._known, **seen}:
            found = seen.get(path)
            if found == self._known.get(path):
                self._moving.pop(path, None)
                continue
            before, since = self._moving.get(path, (None, -1.0))
            if path not in self._moving or before != found:
                self._moving[path] = (found, now)
            elif found is not None or now - since >= GONE:
                del self._moving[path]
                self._known[path] = found
                saved.add(path)
        return saved
