"""One SQLite file behind one worker thread: nobody waits for the disk on the event loop, and nothing runs at once.

- Each statement is a transaction of its own; `write` makes one of several.
- The connection is opened on first use, with WAL, in the worker.
- What a cancelled caller started is interrupted, and rolled back when it was writing.
- What the operator must see to (full, read-only, locked or damaged file) is `StoreError` with the path and what to do;
  a mistake in the SQL or a violated constraint stays the `sqlite3` error it is.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mesh.errors import StoreError

T = TypeVar("T")
Parameters = Sequence[Any] | Mapping[str, Any]

BUSY_S = 5.0
_STEPS = 20_000  # virtual machine steps between two looks at whether anybody still waits, a few milliseconds

_ADVICE = {
    "SQLITE_FULL": "the disk is full; free space there, nothing was written",
    "SQLITE_READONLY": "the file may not be written; give this user write permission on it and its folder",
    "SQLITE_PERM": "the file may not be opened; give this user permission on it and its folder",
    "SQLITE_AUTH": "the file may not be opened; give this user permission on it and its folder",
    "SQLITE_CANTOPEN": "the file cannot be opened; check that its folder exists and that the path is no folder",
    "SQLITE_BUSY": "another process holds the file; stop it, or wait until it is done",
    "SQLITE_LOCKED": "another process holds the file; stop it, or wait until it is done",
    "SQLITE_CORRUPT": "the file is damaged; restore a copy, or move it away and a new one is made",
    "SQLITE_NOTADB": "the file is no SQLite database; move it away and a new one is made",
    "SQLITE_IOERR": "the disk reports an error; check the disk and the space on it",
    "SQLITE_TOOBIG": "a value is larger than SQLite takes (1 GB); store it as a file",
}


@dataclass(frozen=True, slots=True)
class Written:
    """What a statement changed: the number of rows, and the id of the last row it inserted."""

    rows: int
    row_id: int | None


@dataclass(slots=True)
class _Job:
    abandoned: bool = False


class Database:
    """An SQLite file; every method may be awaited from many tasks at once and runs in the order of the calls.

    `schema` is a script that runs each time the file is opened, such as `CREATE TABLE IF NOT EXISTS …;`.
    """

    def __init__(self, path: Path, *, schema: str = "") -> None:
        self.path = path
        self._schema = schema
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"sqlite-{path.stem}")
        self._connection: sqlite3.Connection | None = None
        self._running: _Job | None = None
        self._closed = False

    async def execute(self, sql: str, parameters: Parameters = ()) -> Written:
        """Run one statement and return what it changed."""

        def run(connection: sqlite3.Connection) -> Written:
            cursor = connection.execute(sql, parameters)
            return Written(max(cursor.rowcount, 0), cursor.lastrowid)

        return await self._do(run)

    async def query(self, sql: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
        """Return the rows of one statement, each as a dict by column; `INSERT … RETURNING` is fine too."""

        def run(connection: sqlite3.Connection) -> list[dict[str, Any]]:
            cursor = connection.execute(sql, parameters)
            columns = [column[0] for column in cursor.description or ()]
            return [dict(zip(columns, row, strict=True)) for row in cursor]

        return await self._do(run)

    async def script(self, sql: str) -> None:
        """Run several statements, separated by semicolons, such as a schema."""

        def run(connection: sqlite3.Connection) -> None:
            connection.executescript(sql)

        await self._do(run)

    async def write(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run `function(connection)` in one transaction in the worker and return its result.

        All of it is kept, or, when it raises or its caller gives up, nothing.
        """

        def run(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = function(connection)
                if self._is_abandoned():
                    raise StoreError(f"{self.path}: nobody waits for this write any more; nothing was written")
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite has rolled back by itself after a full disk
                    connection.execute("ROLLBACK")
                raise
            return result

        return await self._do(run)

    async def close(self) -> None:
        """Finish what was started and close the file; a second close does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            await asyncio.get_running_loop().run_in_executor(self._worker, self._disconnect)
        finally:
            self._worker.shutdown(wait=False)

    async def _do(self, function: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise StoreError(f"{self.path} is closed; its agent or host has stopped")
        job = _Job()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, self._run, job, function)
        except asyncio.CancelledError:
            job.abandoned = True
            raise

    def _run(self, job: _Job, function: Callable[[sqlite3.Connection], T]) -> T:
        self._running = job
        try:
            connection = self._connection = self._connection or self._connect()
            return function(connection)
        except sqlite3.Error as error:
            raise store_error(self.path, error) from error
        except OSError as error:
            raise StoreError(f"{self.path} cannot be opened: {error.strerror or error}; "
                             "check the folder and its permissions") from error
        finally:
            self._running = None

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            connection.set_progress_handler(self._is_abandoned, _STEPS)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.executescript(self._schema)
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_abandoned(self) -> bool:
        return self._running is not None and self._running.abandoned

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def store_error(path: Path, error: sqlite3.Error) -> Exception:
    """Return `StoreError` with path and advice for what an operator can mend, any other error as it is."""
    name = getattr(error, "sqlite_errorname", None) or ""
    advice = next((text for code, text in _ADVICE.items() if name == code or name.startswith(f"{code}_")), None)
    return StoreError(f"{path}: {advice} ({error})") if advice else error
