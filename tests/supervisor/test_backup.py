"""A home folder becomes one file and comes back whole; whatever is not whole, or not ours, is refused untouched."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mesh.config import MeshConfig, load
from mesh.errors import MeshError, StartError
from mesh.supervisor import backup
from mesh.supervisor.backup import FORMAT, restore, save
from tests.project import Project, project

NOW = 1_790_000_000.0


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Project]:
    with project(tmp_path / "project") as given:
        yield given


@pytest.fixture
def config(made: Project) -> MeshConfig:
    """A project whose home holds a key, a state, a log and a lock."""
    for name, text, mode in (("keys/mainpc.key", "secret", 0o600), ("mainpc/state/lamp/notes.txt", "a note", 0o640),
                             ("mainpc/logs/supervisor.log", "line", 0o644), ("run/mainpc.lock", "", 0o644)):
        path = made.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
    return load(made.root)


def database(path: Path, *pragmas: str) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}").fetchone()
    connection.execute("CREATE TABLE IF NOT EXISTS notes (number INTEGER)")
    return connection


def numbers(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT number FROM notes ORDER BY number")]


def wipe(config: MeshConfig) -> None:
    config.home.rename(config.home.with_name("gone"))


def rewritten(archive: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> Path:
    """Write an archive anew, each member as `change` wants it."""
    other = archive.with_name("other")
    with tarfile.open(archive) as source, tarfile.open(other, "w:gz") as target:
        for member in source:
            file = source.extractfile(member)
            assert file is not None
            changed = change(member.name, file.read())
            if changed is not None:
                member.name, data = changed
                member.size = len(data)
                target.addfile(member, io.BytesIO(data))
    return other


def test_what_was_saved_comes_back_with_its_rights(config: MeshConfig, tmp_path: Path) -> None:
    archive = tmp_path / "saved"
    assert sorted(save(config, archive, NOW).files) == ["keys/mainpc.key", "mainpc/state/lamp/notes.txt"]
    assert archive.stat().st_mode & 0o777 == 0o600
    wipe(config)
    made, aside = restore(config, archive, NOW, force=False)
    assert aside is None and len(made.files) == 2
    assert (config.home / "keys" / "mainpc.key").read_text() == "secret"
    assert (config.home / "keys" / "mainpc.key").stat().st_mode & 0o777 == 0o600
    assert (config.home / "mainpc" / "state" / "lamp" / "notes.txt").stat().st_mode & 0o777 == 0o640
    assert (config.home / "keys").stat().st_mode & 0o777 == 0o700
    assert not (config.home / "run").exists()


def test_a_database_is_saved_with_what_is_still_in_its_log(config: MeshConfig, tmp_path: Path) -> None:
    path = config.home / "mainpc" / "state" / "errors.db"
    with closing(database(path, "journal_mode = WAL", "wal_autocheckpoint = 0")) as connection:
        connection.execute("INSERT INTO notes VALUES (7)")
        assert save(config, tmp_path / "saved", NOW).databases == 1
        wipe(config)
    made, _ = restore(config, tmp_path / "saved", NOW, force=False)
    assert numbers(path) == [7] and not [name for name in made.files if name.endswith(("-wal", "-shm"))]


@pytest.mark.parametrize("pragmas", [("journal_mode = WAL",), ("journal_mode = DELETE",),
                                     ("locking_mode = EXCLUSIVE", "journal_mode = WAL")])
def test_a_database_in_use_is_saved_at_one_moment(config: MeshConfig, tmp_path: Path, pragmas: tuple[str, ...]) -> None:
    path = config.home / "mainpc" / "state" / "busy.db"
    stop = threading.Event()
    with closing(database(path, *pragmas)) as connection:
        def write() -> None:
            number = 0
            while not stop.wait(0.02):  # two rows at a time: one without the other would show a torn copy
                with closing(connection.cursor()) as cursor:
                    cursor.execute("BEGIN IMMEDIATE")
                    cursor.executemany("INSERT INTO notes VALUES (?)", [(number,), (number,)])
                    cursor.execute("COMMIT")
                number += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            assert save(config, tmp_path / "saved", NOW).damaged == []
        finally:
            stop.set()
            writer.join()
        wipe(config)
    restore(config, tmp_path / "saved", NOW, force=False)
    found = numbers(path)
    assert found == sorted([*range(len(found) // 2)] * 2)


def test_a_damaged_database_is_copied_as_it_is_and_told(config: MeshConfig, tmp_path: Path) -> None:
    path = config.home / "mainpc" / "state" / "broken.db"
    with closing(database(path)) as connection:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO notes VALUES (?)", [(number,) for number in range(5000)])
        connection.execute("COMMIT")
    data = bytearray(path.read_bytes())
    data[4096:12288] = os.urandom(8192)
    path.write_bytes(data)
    made = save(config, tmp_path / "saved", NOW)
    assert len(made.damaged) == 1 and made.damaged[0].startswith("mainpc/state/broken.db: ")
    assert "mainpc/state/broken.db" in made.files


def test_a_folder_that_holds_something_is_moved_aside_only_when_asked(config: MeshConfig, tmp_path: Path) -> None:
    save(config, tmp_path / "saved", NOW)
    with pytest.raises(MeshError, match="--force moves it aside"):
        restore(config, tmp_path / "saved", NOW, force=False)
    (config.home / "keys" / "mainpc.key").write_text("another")
    _, aside = restore(config, tmp_path / "saved", NOW, force=True)
    assert aside is not None and (aside / "keys" / "mainpc.key").read_text() == "another"
    assert (config.home / "keys" / "mainpc.key").read_text() == "secret"


def test_nothing_is_restored_over_a_running_host(config: MeshConfig, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    save(config, tmp_path / "saved", NOW)
    monkeypatch.setattr(backup, "unlisted", lambda root, home: {"pc2": None})
    with pytest.raises(StartError, match="pc2 of this project runs here; stop it first: mesh down"):
        restore(config, tmp_path / "saved", NOW, force=True)


def changed_file(name: str, data: bytes) -> tuple[str, bytes]:
    return name, b"altered" if name == "keys/mainpc.key" else data


def without_tail(name: str, data: bytes) -> tuple[str, bytes] | None:
    return None if name == "contents.json" else (name, data)


def out_of_the_folder(name: str, data: bytes) -> tuple[str, bytes]:
    return ("../outside" if name == "keys/mainpc.key" else name), data


def of_another_mesh(name: str, data: bytes) -> tuple[str, bytes]:
    return name, json.dumps({**json.loads(data), "mesh": "other"}).encode() if name == "backup.json" else data


def of_a_later_version(name: str, data: bytes) -> tuple[str, bytes]:
    return name, json.dumps({**json.loads(data), "format": FORMAT + 1}).encode() if name == "backup.json" else data


@pytest.mark.parametrize(("change", "words"), [
    (changed_file, "its files are not those"), (without_tail, "its files are not those"),
    (out_of_the_folder, "leads out of the folder"), (of_another_mesh, "is of mesh 'other'"),
    (of_a_later_version, "saves in another way")])
def test_what_is_not_whole_or_not_ours_is_refused(
    config: MeshConfig, tmp_path: Path, change: Callable[[str, bytes], tuple[str, bytes] | None], words: str,
) -> None:
    save(config, tmp_path / "saved", NOW)
    before = (config.home / "keys" / "mainpc.key").read_text()
    with pytest.raises(MeshError, match=words):
        restore(config, rewritten(tmp_path / "saved", change), NOW, force=True)
    assert (config.home / "keys" / "mainpc.key").read_text() == before
    assert not list(tmp_path.rglob("outside"))


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_file_that_is_no_backup_is_refused(config: MeshConfig, tmp_path: Path, content: bytes | None) -> None:
    save(config, tmp_path / "saved", NOW)
    (tmp_path / "other").write_bytes((tmp_path / "saved").read_bytes()[:-60] if content is None else content)
    with pytest.raises(MeshError, match="is no backup of a mesh, or is damaged"):
        restore(config, tmp_path / "other", NOW, force=True)
    with pytest.raises(MeshError, match="there is no file"):
        restore(config, tmp_path / "nowhere", NOW, force=True)


def test_there_must_be_something_to_save_and_somewhere_to_put_it(made: Project, tmp_path: Path) -> None:
    config = load(made.root)
    with pytest.raises(MeshError, match="there is nothing to save"):
        save(config, tmp_path / "saved", NOW)
    (made.home / "keys").mkdir(parents=True)
    with pytest.raises(MeshError, match="cannot be written"):
        save(config, tmp_path / "no" / "folder", NOW)
