"""One SQLite file behind one worker: transactions, cancellation, and errors an operator can act on."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from mesh.database import Database, Written
from mesh.errors import StoreError

SCHEMA = "CREATE TABLE IF NOT EXISTS facts (id INTEGER PRIMARY KEY, text TEXT UNIQUE);"


def open_at(path: Path) -> Database:
    return Database(path, schema=SCHEMA)


async def texts(database: Database) -> list[str]:
    return [row["text"] for row in await database.query("SELECT text FROM facts ORDER BY id")]


def test_rows_are_written_and_read_as_dicts(tmp_path: Path) -> None:
    async def scenario() -> tuple[Any, ...]:
        database = open_at(tmp_path / "deep" / "facts.db")
        written = await database.execute("INSERT INTO facts (text) VALUES (?)", ("moon",))
        returned = await database.query("INSERT INTO facts (text) VALUES (:text) RETURNING id", {"text": "sun"})
        changed = await database.execute("UPDATE facts SET text = upper(text)")
        rows = await database.query("SELECT * FROM facts ORDER BY id")
        await database.close()
        return written, returned, changed.rows, rows

    assert asyncio.run(scenario()) == (
        Written(rows=1, row_id=1), [{"id": 2}], 2, [{"id": 1, "text": "MOON"}, {"id": 2, "text": "SUN"}],
    )


def test_what_was_written_is_there_after_a_new_start(tmp_path: Path) -> None:
    async def write() -> None:
        database = open_at(tmp_path / "facts.db")
        await database.execute("INSERT INTO facts (text) VALUES ('moon')")
        await database.close()

    async def read() -> list[str]:
        database = open_at(tmp_path / "facts.db")
        found = await texts(database)
        await database.close()
        return found

    asyncio.run(write())
    assert asyncio.run(read()) == ["moon"]


def test_a_transaction_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    def two(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO facts (text) VALUES ('one')")
        connection.execute("INSERT INTO facts (text) VALUES ('two')")
        return "both"

    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO facts (text) VALUES ('three')")
        raise ValueError("no")

    async def scenario() -> tuple[str, list[str]]:
        database = open_at(tmp_path / "facts.db")
        result = await database.write(two)
        with pytest.raises(ValueError, match="no"):
            await database.write(broken)
        found = await texts(database)
        await database.close()
        return result, found

    assert asyncio.run(scenario()) == ("both", ["one", "two"])


def test_concurrent_transactions_do_not_mix(tmp_path: Path) -> None:
    def raise_count(connection: sqlite3.Connection) -> None:
        count = connection.execute("SELECT count(*) FROM facts").fetchone()[0]
        connection.execute("INSERT INTO facts (text) VALUES (?)", (str(count),))

    async def scenario() -> list[str]:
        database = open_at(tmp_path / "facts.db")
        await asyncio.gather(*(database.write(raise_count) for _ in range(50)))
        found = await texts(database)
        await database.close()
        return found

    assert asyncio.run(scenario()) == [str(number) for number in range(50)]


def test_the_event_loop_is_free_while_the_worker_works(tmp_path: Path) -> None:
    async def scenario() -> bool:
        database = open_at(tmp_path / "facts.db")
        release = threading.Event()

        async def let_go() -> None:
            release.set()  # would come too late if the write held the loop

        done, _ = await asyncio.gather(database.write(lambda connection: release.wait(10)), let_go())
        await database.close()
        return done

    assert asyncio.run(scenario()) is True


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def test_a_statement_nobody_waits_for_is_interrupted(tmp_path: Path) -> None:
    async def scenario() -> list[str]:
        database = open_at(tmp_path / "facts.db")
        await database.execute("INSERT INTO facts (text) VALUES ('moon')")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await database.query(ENDLESS)
        found = await texts(database)  # waits for the worker, which would never come back
        await database.close()
        return found

    assert asyncio.run(scenario()) == ["moon"]


def test_a_transaction_nobody_waits_for_is_rolled_back(tmp_path: Path) -> None:
    started, release = threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO facts (text) VALUES ('moon')")
        started.set()
        release.wait(10)

    async def scenario() -> list[str]:
        database = open_at(tmp_path / "facts.db")
        writing = asyncio.ensure_future(database.write(slow))
        await asyncio.to_thread(started.wait, 10)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        release.set()
        found = await texts(database)
        await database.close()
        return found

    assert asyncio.run(scenario()) == []


def test_a_mistake_in_the_sql_stays_what_it_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        database = open_at(tmp_path / "facts.db")
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            await database.query("SELECT * FROM nowhere")
        await database.execute("INSERT INTO facts (text) VALUES ('moon')")
        with pytest.raises(sqlite3.IntegrityError):
            await database.execute("INSERT INTO facts (text) VALUES ('moon')")
        await database.close()

    asyncio.run(scenario())


def test_a_closed_file_says_so_and_closing_twice_is_fine(tmp_path: Path) -> None:
    async def scenario() -> None:
        database = open_at(tmp_path / "facts.db")
        await database.close()
        await database.close()
        with pytest.raises(StoreError, match="is closed"):
            await database.query("SELECT 1")

    asyncio.run(scenario())


def failure(path: Path, prepare: str = "") -> StoreError:
    """Return what writing a megabyte at `path` fails with."""

    async def scenario() -> StoreError:
        database = open_at(path)
        try:
            with pytest.raises(StoreError) as caught:
                if prepare:
                    await database.script(prepare)
                await database.execute("INSERT INTO facts (text) VALUES (?)", ("x" * 1_000_000,))
        finally:
            await database.close()
        return caught.value

    return asyncio.run(scenario())


def test_a_full_disk_is_told_with_path_and_advice(tmp_path: Path) -> None:
    error = failure(tmp_path / "facts.db", prepare="PRAGMA max_page_count = 10")
    assert error.message.startswith(f"{tmp_path / 'facts.db'}: the disk is full; free space there, nothing was written")


def test_writing_works_again_when_there_is_room(tmp_path: Path) -> None:
    async def scenario() -> list[str]:
        database = open_at(tmp_path / "facts.db")
        await database.script("PRAGMA max_page_count = 10")
        with pytest.raises(StoreError, match="the disk is full"):
            await database.write(lambda connection: connection.execute(
                "INSERT INTO facts (text) VALUES (?)", ("x" * 1_000_000,)).rowcount)
        await database.script("PRAGMA max_page_count = 1000000")
        await database.execute("INSERT INTO facts (text) VALUES ('moon')")
        found = await texts(database)
        await database.close()
        return found

    assert asyncio.run(scenario()) == ["moon"]


def test_a_file_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    error = failure(tmp_path / "facts.db", prepare="PRAGMA query_only = ON")
    assert "may not be written; give this user write permission" in error.message


def test_a_folder_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    assert "check that its folder exists and that the path is no folder" in failure(tmp_path).message


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    assert "cannot be opened: " in failure(tmp_path / "taken" / "facts.db").message


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "facts.db").write_bytes(b"not a database, just text" * 100)
    assert "is no SQLite database; move it away" in failure(tmp_path / "facts.db").message


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    async def fill() -> None:
        database = open_at(tmp_path / "facts.db")
        await database.write(lambda connection: connection.executemany(
            "INSERT INTO facts (text) VALUES (?)", [(f"{number}" * 50,) for number in range(2000)]).rowcount)
        await database.close()

    asyncio.run(fill())
    data = bytearray((tmp_path / "facts.db").read_bytes())
    data[4096:] = b"\xaa" * (len(data) - 4096)
    (tmp_path / "facts.db").write_bytes(data)
    assert "the file is damaged; restore a copy" in failure(tmp_path / "facts.db").message


def test_a_file_held_by_another_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.database.BUSY_S", 0.01)
    holder = sqlite3.connect(tmp_path / "facts.db", isolation_level=None)
    holder.executescript(f"PRAGMA journal_mode = WAL; {SCHEMA} BEGIN IMMEDIATE;")
    try:
        assert "another process holds the file" in failure(tmp_path / "facts.db").message
    finally:
        holder.close()
