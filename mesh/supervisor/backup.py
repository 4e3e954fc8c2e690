"""A project's home folder as one file, and back: keys, desired state, error history and what the agents keep.

Rules this file holds to:
- It may be written while everything runs: a database is copied by SQLite itself, at one moment and with what is still
  in its log. One that its owner holds for itself alone (the registry's) is read with its log until two readings are
  alike, and put in order as after a crash. Every other file is copied as it is.
- Logs, sockets and locks are of the moment and left out.
- Nothing is restored over a host that runs. What was there before is moved aside, never deleted.
- The first member of the archive says what it is; the last says of each file what its content must be, so an archive
  that was cut off or altered is refused before anything is touched.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from mesh import __version__
from mesh.config import MeshConfig
from mesh.errors import MeshError, StartError
from mesh.launcher.claim import running
from mesh.launcher.unlisted import unlisted

FORMAT = 1
HEAD, TAIL = "backup.json", "contents.json"
OF_THE_MOMENT = frozenset({"run", "logs"})
SQLITE = b"SQLite format 3\0"
ASIDE = ("-wal", "-shm", "-journal")
HELD_SECONDS = 0.5
READINGS = 50


@dataclass
class Backup:
    """What was saved or restored: names below the home folder, bytes, and databases that could only be copied raw."""

    files: list[str] = field(default_factory=list)
    size: int = 0
    databases: int = 0
    damaged: list[str] = field(default_factory=list)


# --- saving -----------------------------------------------------------------------------------------------------------


def save(config: MeshConfig, target: Path, now: float) -> Backup:
    """Write the home folder to `target`, readable by this user only; an older file there is replaced when it is whole.

    Raises `MeshError` if there is nothing to save or the file cannot be written.
    """
    if not config.home.is_dir():
        raise MeshError(f"there is nothing to save: no {config.home}; the mesh never ran here")
    made = Backup()
    try:
        with tempfile.TemporaryDirectory(prefix=".mesh-backup-", dir=target.absolute().parent) as folder:
            fresh = Path(folder, "archive")
            with os.fdopen(os.open(fresh, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file, \
                    tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as archive:
                _write(config, archive, Path(folder), made, now)
            os.replace(fresh, target)
    except OSError as error:
        raise MeshError(f"{target} cannot be written: {error.strerror or error}; name a file in a folder that "
                        "exists and has room") from None
    return made


def _write(config: MeshConfig, archive: tarfile.TarFile, folder: Path, made: Backup, now: float) -> None:
    head = {"format": FORMAT, "mesh": config.mesh, "version": __version__, "time": now,
            "hosts": sorted(path.parent.name for path in config.home.glob("*/state"))}
    _add(archive, HEAD, json.dumps(head).encode(), 0o600, now)
    contents: dict[str, str] = {}
    for path in _kept(config.home):
        name = path.relative_to(config.home).as_posix()
        try:
            data = _database(path, folder) if _is_database(path) else path.read_bytes()
            made.databases += _is_database(path)
        except sqlite3.Error as error:
            data = path.read_bytes()
            made.damaged.append(f"{name}: {error}")
        except FileNotFoundError:  # the agent has just removed it
            continue
        _add(archive, name, data, path.stat().st_mode & 0o777, now)
        contents[name] = hashlib.sha256(data).hexdigest()
        made.files.append(name)
        made.size += len(data)
    _add(archive, TAIL, json.dumps(contents).encode(), 0o600, now)


def _kept(home: Path) -> Iterator[Path]:
    """Yield the files to save, in order of name."""
    for path in sorted(home.rglob("*")):
        parts = path.relative_to(home).parts
        if path.is_symlink() or not path.is_file() or OF_THE_MOMENT & {*parts[:2]}:
            continue
        if not any(path.name.endswith(end) and path.with_name(path.name.removesuffix(end)).exists() for end in ASIDE):
            yield path


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(SQLITE)) == SQLITE


class _Held(Exception):
    """The owner of a database lets nobody else read it."""


def _database(path: Path, folder: Path) -> bytes:
    """Return one moment of a database that others may be writing to; raises `sqlite3.Error` if it is damaged."""
    copy = folder / "database"
    try:
        _copy(path, copy)
    except _Held:
        _copy_held(path, copy)
    with closing(sqlite3.connect(copy)) as target:
        target.execute("PRAGMA journal_mode = DELETE").fetchone()
        verdict = target.execute("PRAGMA quick_check").fetchone()[0]
    if verdict != "ok":
        raise sqlite3.DatabaseError(str(verdict))
    return copy.read_bytes()


def _copy(path: Path, copy: Path) -> None:
    """Copy a database as SQLite does it; raises `_Held` if nobody may read it for a while."""
    until = time.monotonic() + HELD_SECONDS

    def progress(status: int, remaining: int, total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > until:
            raise _Held

    _clear(copy)
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=0.2)) as source, \
            closing(sqlite3.connect(copy)) as target:
        source.backup(target, progress=progress, sleep=0.05)


def _copy_held(path: Path, copy: Path) -> None:
    """Copy a database and its log as they lie there, between two writes of their owner."""
    log = path.with_name(f"{path.name}-wal")
    for _ in range(READINGS):
        first = _content_of(path), _content_of(log)
        if first == (_content_of(path), _content_of(log)):
            _clear(copy)
            copy.write_bytes(first[0])
            copy.with_name(f"{copy.name}-wal").write_bytes(first[1])
            return
    raise sqlite3.OperationalError("its owner writes to it without a pause and lets nobody read it")


def _content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _clear(copy: Path) -> None:
    for end in ("", *ASIDE):
        copy.with_name(f"{copy.name}{end}").unlink(missing_ok=True)


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int, now: float) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(data), mode, int(now)
    archive.addfile(member, io.BytesIO(data))


# --- restoring --------------------------------------------------------------------------------------------------------


def restore(config: MeshConfig, source: Path, now: float, *, force: bool) -> tuple[Backup, Path | None]:
    """Put the home folder back as `source` has it; returns what, and where the folder is that was there before.

    Raises `StartError` while a host of this project runs here, `MeshError` for a folder that holds something (unless
    `force`) and for an archive that is none, is damaged, or belongs to another mesh.
    """
    _refuse_running(config)
    if not force and _holds_something(config.home):
        raise MeshError(f"{config.home} holds the keys or the state of hosts; --force moves it aside first")
    made, aside = Backup(), None
    config.home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mesh-restore-", dir=config.home.parent) as folder:
        fresh = Path(folder, "home")
        fresh.mkdir(mode=0o700)
        _read(config, source, fresh, made)
        if config.home.exists():
            aside = config.home.with_name(f"{config.home.name}.before-{int(now)}")
            config.home.rename(aside)
        try:
            fresh.rename(config.home)
        except OSError:
            if aside is not None:
                aside.rename(config.home)
            raise
    if aside is not None and not _holds_something(aside):
        shutil.rmtree(aside, ignore_errors=True)  # locks and logs alone
        aside = None
    return made, aside


def _refuse_running(config: MeshConfig) -> None:
    hosts = [host for one in running(config.home) for host in one.hosts]
    hosts += [host for host in unlisted(config.root, config.home) if host not in hosts]
    if hosts:
        one = len(hosts) == 1
        raise StartError(f"{', '.join(sorted(hosts))} of this project {'runs' if one else 'run'} here; stop "
                         f"{'it' if one else 'them'} first: mesh down")


def _holds_something(home: Path) -> bool:
    return home.is_dir() and any(True for _ in _kept(home))


def _read(config: MeshConfig, source: Path, fresh: Path, made: Backup) -> None:
    """Write every file of an archive below `fresh`; nothing of one that is not whole is trusted."""
    digests: dict[str, str] = {}
    contents: Any = None
    try:
        with tarfile.open(source, "r:gz") as archive:
            _check_head(config, source, _json(archive, archive.next()))
            for member in archive:
                if member.name == HEAD:
                    continue
                if member.name == TAIL:
                    contents = _json(archive, member)
                    continue
                data = _content(archive, member)
                digests[member.name] = hashlib.sha256(data).hexdigest()
                _put(fresh, member, data)
                made.files.append(member.name)
                made.size += len(data)
    except FileNotFoundError:
        raise MeshError(f"there is no file {source}") from None
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        raise MeshError(f"{source} is no backup of a mesh, or is damaged: {error}") from None
    if contents != digests:
        raise MeshError(f"{source} is damaged: its files are not those it was made of")


def _check_head(config: MeshConfig, source: Path, head: Any) -> None:
    if not isinstance(head, dict) or type(head.get("format")) is not int:
        raise ValueError("it does not begin with what a backup begins with")
    if head["format"] > FORMAT:
        raise MeshError(f"{source} was made by mesh {head.get('version')}, which saves in another way; restore it with "
                        "that version")
    if head.get("mesh") != config.mesh:
        raise MeshError(f"{source} is of mesh {head.get('mesh')!r}, this project's is {config.mesh!r}")


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member) if member.isreg() else None
    if file is None:
        raise ValueError(f"{member.name} in it is no file")
    return file.read()


def _json(archive: tarfile.TarFile, member: tarfile.TarInfo | None) -> Any:
    if member is None:
        raise ValueError("it is empty")
    return json.loads(_content(archive, member))


def _put(fresh: Path, member: tarfile.TarInfo, data: bytes) -> None:
    """Write one file with the rights it had; a name that leads out of the folder is refused."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"{member.name!r} in it leads out of the folder")
    path = fresh / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, member.mode & 0o777), "wb") as file:
        file.write(data)
    path.chmod(member.mode & 0o777)
