"""The store: what it keeps through anything, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from mesh.errors import StoreError
from registry.changes import UNSET, DesiredChange, OverrideChange
from registry.sqlite_store import SqliteStore
from registry.store import Stored, next_epoch
from tests.registry.disk import small_disk

T = TypeVar("T")
STOPPED = DesiredChange("nlu", "pc2", "stopped")
LIMIT = OverrideChange("nlu", "limits.inbox", {"a": [1, None, 0.5, True]})


def using(path: Path, work: Callable[[SqliteStore, Stored], Awaitable[T]]) -> T:
    """Open a store, do something with it, close it."""

    async def run() -> T:
        store = SqliteStore(path)
        try:
            return await work(store, await store.open())
        finally:
            await store.close()

    return asyncio.run(run())


async def stored(_: SqliteStore, found: Stored) -> Stored:
    return found


def test_what_was_saved_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "pc2" / "state" / "registry.db"

    async def save(store: SqliteStore, found: Stored) -> None:
        assert found == Stored(0, (), ())
        await store.save_epoch(77)
        for change in (DesiredChange("nlu", "pc2", "running"), STOPPED, LIMIT, OverrideChange("tts", "voice", "a")):
            await store.save(change)
        await store.save(OverrideChange("tts", "voice", UNSET))

    using(path, save)
    assert using(path, stored) == Stored(77, (STOPPED,), (LIMIT,))


def test_the_epoch_grows_whatever_the_clock_and_the_file_say() -> None:
    assert next_epoch(0, 1790000000.5) == 1790000000500
    assert next_epoch(1790000000500, 1790000000.5) == 1790000000501
    assert next_epoch(1790000000500, 5.0) == 1790000000501


def test_what_was_accepted_outlives_a_kill(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys, time; from pathlib import Path\n"
        "from registry.sqlite_store import SqliteStore; from registry.changes import DesiredChange\n"
        "async def main():\n"
        "    store = SqliteStore(Path(sys.argv[1])); await store.open()\n"
        "    await store.save(DesiredChange('nlu', 'pc2', 'stopped'))\n"
        "    print('accepted', flush=True); await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    path = tmp_path / "registry.db"
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "accepted\n"
        process.send_signal(signal.SIGKILL)
    assert using(path, stored).desired == (STOPPED,)


def test_a_full_disk_refuses_the_write_keeps_the_rest_and_recovers(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    other = DesiredChange("tts", "pc2", "stopped")

    async def work(store: SqliteStore, _: Stored) -> None:
        await store.save(STOPPED)
        with disk.full():
            with pytest.raises(StoreError) as caught:
                for number in range(100):  # a page may still have room
                    await store.save(DesiredChange(f"service_{number}", "pc2", "stopped"))
            assert str(path) in caught.value.message and "disk" in caught.value.message
            assert store.problem == caught.value.message
        await store.save(other)
        assert store.problem is None

    with small_disk(tmp_path) as disk:
        using(path, work)
        assert {STOPPED, other} <= set(using(path, stored).desired)


# files that cannot be used


def refused(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        using(path, stored)
    return caught.value.message


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Give up root's rights, who may write everywhere, for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_without_write_permission_is_named_with_what_to_do() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        with ordinary_user():
            message = refused(folder / "registry.db")
            deeper = refused(folder / "state" / "registry.db")
        folder.chmod(0o755)
    assert f"{folder}/registry.db" in message and "folder" in message
    assert f"{folder}/state/registry.db" in deeper and "Permission denied" in deeper


def test_a_file_that_may_only_be_read_is_named_with_what_to_do() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        using(folder / "registry.db", stored)
        folder.chmod(0o555)
        (folder / "registry.db").chmod(0o444)
        with ordinary_user():
            message = refused(folder / "registry.db")
        folder.chmod(0o755)
    assert f"{folder}/registry.db" in message and "permission" in message


def test_a_path_through_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    assert str(tmp_path / "state" / "registry.db") in refused(tmp_path / "state" / "registry.db")


def test_a_file_that_is_no_database_or_a_damaged_one_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(b"this is no database, and it is long enough to be looked at " * 100)
    assert str(path) in refused(path) and "move it away" in refused(path)
    path.unlink()

    async def save(store: SqliteStore, _: Stored) -> None:
        for number in range(50):
            await store.save(OverrideChange("nlu", f"key_{number}", "x" * 1000))

    using(path, save)
    data = bytearray(path.read_bytes())
    data[8192:-4096] = b"\xff" * (len(data) - 12288)
    path.write_bytes(data)
    assert "damaged" in refused(path) and "move it away" in refused(path)


def test_rows_that_nobody_could_have_stored_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    using(path, stored)
    for sql in ("INSERT INTO desired VALUES ('nlu', 'pc2', 'paused')",
                "INSERT INTO overrides VALUES ('nlu', 'a', '{')"):
        with sqlite3.connect(path) as connection:
            connection.execute(sql)
        connection.close()
        assert "damaged" in refused(path)
        with sqlite3.connect(path) as connection:
            connection.executescript("DELETE FROM desired; DELETE FROM overrides")
        connection.close()


def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    using(path, stored)
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO registry VALUES ('version', 99)")
    connection.close()
    assert "later version" in refused(path)


def test_a_second_registry_on_the_same_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.database.BUSY_S", 0.05)
    path = tmp_path / "registry.db"

    async def again(store: SqliteStore, _: Stored) -> None:
        await store.save_epoch(1)
        second = SqliteStore(path)
        with pytest.raises(StoreError, match="another process holds the file"):
            await second.open()
        await second.close()

    using(path, again)
