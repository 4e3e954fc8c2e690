"""One launcher per host: who holds which hosts of a project, and which processes it keeps for them.

A lock on `run/<host>.lock` decides, since the kernel releases it with the process; `run/<host>.json` beside it only
tells others who that is (`mesh down`, and the refusal of another `mesh up`). A file `run/<host>.leave` and SIGUSR1 ask
the launcher to give one host up and to keep the rest.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections import ChainMap
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import psutil

from mesh.errors import MeshError, StartError

LEAVE = signal.SIGUSR1
# A process's start is computed from the wall clock, which may be set meanwhile.
START_TOLERANCE_S = 2.0


@dataclass(frozen=True)
class Running:
    """A launcher that lives: its process, when that began (Unix seconds), its hosts and the processes it keeps."""

    pid: int
    started: float
    hosts: tuple[str, ...]
    children: dict[str, int]


@dataclass(frozen=True)
class _Told:
    """What the file of one host says: its launcher, and the processes that this keeps for the host."""

    pid: int
    started: float
    children: dict[str, int]


def running(home: Path) -> list[Running]:
    """Return the launchers of a project's home folder that live, each with the hosts it holds, in order of name."""
    found: dict[tuple[int, float], dict[str, _Told]] = {}
    for path in sorted(_folder(home).glob("*.json")):
        told = _read(path)
        if told is not None:
            found.setdefault((told.pid, told.started), {})[path.stem] = told
    return [
        Running(pid, started, tuple(hosts), dict(ChainMap(*(told.children for told in hosts.values()))))
        for (pid, started), hosts in found.items() if _lives(pid, started)
    ]


def ensure_unclaimed(home: Path, hosts: Sequence[str]) -> None:
    """Raise `StartError` if another launcher holds one of `hosts`: its pid, its hosts, the command that stops it."""
    holders = [one for one in running(home) if {*one.hosts} & {*hosts}]
    if not holders:
        return
    told = " and ".join(f"as pid {one.pid}, for {', '.join(one.hosts)}" for one in holders)
    taken = [host for host in hosts if any(host in one.hosts for one in holders)]
    free = [host for host in hosts if host not in taken]
    advice = (f"stop {taken[0]} with `mesh down --host {taken[0]}`" if len(taken) == 1
              else "stop them with `mesh down`, or one of them with `mesh down --host NAME`")
    rest = f", or start {free[0]} alone with `mesh up --host {free[0]}`" if free else " first"
    raise StartError(f"`mesh up` already runs here {told}; {advice}{rest}")


def ask_to_leave(home: Path, launcher: Running, host: str) -> None:
    """Have a launcher drain and stop one of its hosts and give it up; it ends when that was the last one."""
    path = _file(home, host).with_suffix(".leave")
    try:
        path.write_text(str(launcher.pid))
    except OSError as error:
        raise StartError(f"{path} cannot be written: {error}; make its folder writable") from None
    tell_launcher(launcher, LEAVE)


def tell_launcher(launcher: Running, number: signal.Signals) -> None:
    """Send a launcher a signal; one that has just ended needs none. Raises `MeshError` for another user's."""
    try:
        os.kill(launcher.pid, number)
    except ProcessLookupError:
        return
    except PermissionError:
        raise MeshError(f"`mesh up` with pid {launcher.pid} belongs to another user; stop it as that user") from None


class Claim:
    """The right to start some hosts of a home folder; each is held until it is released or the process ends."""

    def __init__(self, home: Path, hosts: Sequence[str]) -> None:
        self._home = home
        self._hosts = tuple(hosts)
        me = psutil.Process()
        self._pid, self._started = me.pid, me.create_time()  # once: a clock that is set later would change it
        self._locks: dict[str, IO[str]] = {}
        self._told: set[str] = set()

    @property
    def held(self) -> tuple[str, ...]:
        """The hosts that are held now."""
        return tuple(self._locks)

    def take(self) -> list[psutil.Process]:
        """Hold every host, or none; raises `StartError` naming who holds one, or why the folder cannot be used.

        Returns the processes that an earlier launcher kept for these hosts and that have not ended yet, although it
        has.
        """
        with ExitStack() as taken:
            locks = {host: taken.enter_context(self._locked(host)) for host in sorted(self._hosts)}
            taken.pop_all()
        self._locks = locks
        return [process for host in locks for process in _leftovers(self._home, host)]

    def asked_to_leave(self) -> list[str]:
        """Return the held hosts that `ask_to_leave` was called for since the last time."""
        asked = []
        for host in self._locks:
            path = _file(self._home, host).with_suffix(".leave")
            with suppress(OSError):
                if path.read_text() == str(self._pid):  # else another launcher was asked, which is gone
                    path.unlink()
                    asked.append(host)
        return asked

    def tell(self, host: str, children: Mapping[str, int]) -> None:
        """Write down who holds a host and by which processes; readers see the old or the new file, whole."""
        fresh = _file(self._home, host).with_suffix(".new")
        fresh.write_text(json.dumps(asdict(_Told(self._pid, self._started, dict(children)))))
        os.replace(fresh, _file(self._home, host))
        self._told.add(host)

    def release(self, host: str) -> None:
        """Give a host up; another launcher may take it at once."""
        if host in self._told:  # else the file is of an earlier launcher, and names what that left
            self._told.discard(host)
            with suppress(OSError):
                _file(self._home, host).unlink()
        self._locks.pop(host).close()

    def _locked(self, host: str) -> IO[str]:
        path = _file(self._home, host).with_suffix(".lock")
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
            ensure_unclaimed(self._home, self._hosts)
            raise StartError(f"another `mesh up` is just starting or stopping {host} in {self._home}; "
                             "try again in a moment") from None
        return lock


def _read(path: Path) -> _Told | None:
    """Return what a file says, None where there is none or it is no such file."""
    try:
        told = json.loads(path.read_text())
        children = {str(name): int(pid) for name, pid in told["children"].items()}
        return _Told(int(told["pid"]), float(told["started"]), children)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _lives(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < START_TOLERANCE_S and process.status() != psutil.STATUS_ZOMBIE
    except (ValueError, OverflowError, psutil.Error):
        return False


def _leftovers(home: Path, host: str) -> list[psutil.Process]:
    told, left = _read(_file(home, host)), []
    for pid in told.children.values() if told else ():
        with suppress(OSError, ValueError, OverflowError, psutil.Error):
            process = psutil.Process(pid)
            # a child leads its session and is younger than its launcher; another process of that pid hardly is both
            if told and os.getsid(pid) == pid and process.create_time() > told.started - START_TOLERANCE_S:
                left.append(process)
    return left


def _folder(home: Path) -> Path:
    return home / "run"


def _file(home: Path, host: str) -> Path:
    return _folder(home) / f"{host}.json"
