"""Numbers that grow with every start: the newer of two that claim one name is known by the larger number."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from mesh.clock import Clock
from mesh.errors import StartError


def host_incarnation(path: Path, clock: Clock) -> int:
    """Return the next incarnation of a host and remember it in `path`.

    It is the larger of the last one plus one and the Unix time in milliseconds, so neither a clock that was set back
    nor a state folder that was deleted can lock a host out. Raises `StartError` for a folder that cannot be written.
    """
    stored = 0
    with contextlib.suppress(OSError, ValueError):
        stored = int(path.read_text())
    number = max(stored + 1, int(clock.time() * 1000))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(f"{number}\n")
        fresh.replace(path)
    except OSError as error:
        raise StartError(
            f"cannot write {path}: {error.strerror}; make the folder writable, or set MESH_HOME to one that is"
        ) from None
    return number


def counting(clock: Clock) -> Callable[[], int]:
    """Return a function that gives growing incarnations to the cells of one process."""
    last = 0

    def following() -> int:
        nonlocal last
        last = max(last + 1, int(clock.time() * 1000))
        return last

    return following
