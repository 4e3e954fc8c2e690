"""What operators have stopped on this host, in a file of the host's own.

The registry is the one that remembers; this is for the times when it cannot be asked, or has forgotten: what was
stopped is not started because a registry is slower than its host, or has lost its database.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

log = logging.getLogger("mesh.supervisor")


class Stopped:
    """Names of services, or of instances as `nlu#2`; without a `path` they are forgotten with the process."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._names: set[str] = set()
        try:
            self._names = {str(name) for name in json.loads(path.read_text())} if path is not None else set()
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError) as error:
            log.warning("%s cannot be read, so only the registry knows what operators have stopped: %s", path, error)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def note(self, name: str, desired: str | None) -> None:
        """Take over what the registry says of a name; that it says nothing changes nothing."""
        if desired is None or (desired == "stopped") == (name in self._names):
            return
        (self._names.add if desired == "stopped" else self._names.discard)(name)
        if self._path is None:
            return
        try:
            fresh = self._path.with_suffix(".new")
            fresh.write_text(json.dumps(sorted(self._names)))
            fresh.replace(self._path)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)
