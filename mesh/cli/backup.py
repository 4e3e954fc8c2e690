"""`mesh backup` and `mesh restore`: this machine's `.mesh` to one file and back."""

from __future__ import annotations

import time
from pathlib import Path

from mesh.cli.scope import Scope
from mesh.cli.screen import clean, document, note, say
from mesh.supervisor.backup import restore, save


def backup(scope: Scope, file: Path) -> int:
    """Save keys, desired state, error history and the agents' data; returns 1 if a database was damaged."""
    config = scope.config()
    made = save(config, file, time.time())
    if scope.json:
        document({"file": str(file), "files": made.files, "bytes": made.size, "databases": made.databases,
                  "damaged": made.damaged})
    else:
        say(f"saved {len(made.files)} files ({made.databases} databases, {made.size / 1024:.0f} KiB) of {config.home} "
            f"to {file}; it holds secret keys, keep it like them")
    for each in made.damaged:
        note(clean(f"warning: {each}; it was copied as it is, and is probably of no use"))
    return 1 if made.damaged else 0


def restored(scope: Scope, file: Path, force: bool) -> None:
    """Put back what `backup` saved."""
    config = scope.config()
    made, aside = restore(config, file, time.time(), force=force)
    if scope.json:
        document({"file": str(file), "files": made.files, "bytes": made.size,
                  "aside": None if aside is None else str(aside)})
        return
    say(f"restored {len(made.files)} files to {config.home}" + (f"; what was there is in {aside}" if aside else ""))
