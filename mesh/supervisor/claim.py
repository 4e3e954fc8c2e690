"""One launcher per project: who holds it, and which processes it keeps.

A lock on a file decides, since the kernel releases it with the process; `launcher.json` beside it only tells others
who it is (`mesh down`, and the refusal of a second `mesh up`).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import psutil

from mesh.errors import StartError

# A process's start is computed from the wall clock, which may be set meanwhile.
START_TOLERANCE_S = 2.0


@dataclass(frozen=True)
class Running:
    """A launcher that lives: its process, when that began (Unix seconds), its hosts and the processes it keeps."""

    pid: int
    started: float
    hosts: tuple[str, ...]
    children: dict[str, int]


def running(home: Path) -> Running | None:
    """Return the launcher of a project's home folder, None if none lives."""
    found = _written(home)
    if found is None:
        return None
    try:
        began: float = psutil.Process(found.pid).create_time()
    except (ValueError, psutil.Error):
        return None
    return found if abs(began - found.started) < START_TOLERANCE_S else None


class Claim:
    """The right to be the launcher of a home folder; held until `release` or the end of the process."""

    def __init__(self, home: Path, hosts: Sequence[str]) -> None:
        self._home = home
        self._hosts = tuple(hosts)
        self._lock: IO[str] | None = None

    def take(self) -> list[psutil.Process]:
        """Become the launcher; raises `StartError` naming the one that lives, or why the folder cannot be used.

        Returns the processes that an earlier launcher kept and that have not ended yet, although it has.
        """
        path = _file(self._home).with_suffix(".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("a")
        except OSError as error:
            raise StartError(f"{path} cannot be written: {error}; make its folder writable, "
                             "or set MESH_HOME to one that is") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise StartError(self._refusal()) from None
        self._lock = lock
        return _leftovers(self._home)

    def tell(self, children: Mapping[str, int]) -> None:
        """Write down who is launcher and which processes it keeps; readers see the old or the new file, whole."""
        me = psutil.Process()
        told = Running(me.pid, me.create_time(), self._hosts, dict(children))
        fresh = _file(self._home).with_suffix(".new")
        fresh.write_text(json.dumps(asdict(told)))
        os.replace(fresh, _file(self._home))

    def release(self) -> None:
        """Stop being the launcher."""
        if self._lock is not None:
            _file(self._home).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def _refusal(self) -> str:
        found = running(self._home)
        if found is None:
            return f"another `mesh up` is just starting or ending in {self._home}; try again in a moment"
        hosts = ", ".join(found.hosts)
        return f"`mesh up` already runs here as pid {found.pid}, for {hosts}; stop it with `mesh down` first"


def _written(home: Path) -> Running | None:
    """Return what the file says, None where there is none or it is no such file."""
    try:
        told = json.loads(_file(home).read_text())
        children = {str(name): int(pid) for name, pid in told["children"].items()}
        return Running(int(told["pid"]), float(told["started"]), tuple(told["hosts"]), children)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _leftovers(home: Path) -> list[psutil.Process]:
    found, left = _written(home), []
    for pid in found.children.values() if found else ():
        with suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(pid)
            # a child leads its session and is younger than its launcher; another process of that pid hardly is both
            if found and os.getsid(pid) == pid and process.create_time() > found.started - START_TOLERANCE_S:
                left.append(process)
    return left


def _file(home: Path) -> Path:
    return home / "run" / "launcher.json"
