"""The file in which a host keeps its errors: SQLite, written by one thread at a time.

Says of every failure whether the file is damaged (set it aside and begin anew) or the disk refuses for now (try again
later); which of the two to do is the `ErrorLog`'s.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mesh.errorbus import ErrorDetail, Standing
from mesh.errors import StoreError

VERSION = 2
BUSY_S = 2.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (number INTEGER PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS states (fingerprint TEXT PRIMARY KEY, state TEXT NOT NULL, until REAL);
"""


class ErrorStore:
    """The records of one host at `path`; every method raises `StoreError`, with `damaged` in its details."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    def load(self) -> tuple[list[ErrorDetail], dict[str, Standing]]:
        """Return all records in order of number, and the groups that are not new."""
        with self._explained("read"):
            connection = self._opened()
            rows = connection.execute("SELECT record FROM records ORDER BY number").fetchall()
            states = connection.execute("SELECT fingerprint, state, until FROM states").fetchall()
            return ([ErrorDetail.model_validate(json.loads(row[0])) for row in rows],
                    {fingerprint: Standing(state, until) for fingerprint, state, until in states})

    def write(self, records: Iterable[ErrorDetail], standings: Mapping[str, Standing], keep: int) -> None:
        """Store `records` by their number and the groups that are not new; only the last `keep` records stay."""
        rows = [(record.seq, json.dumps(record.model_dump())) for record in records]
        with self._explained("written"):
            connection = self._opened()
            with connection:
                connection.executemany("INSERT OR REPLACE INTO records VALUES (?, ?)", rows)
                connection.execute(
                    "DELETE FROM records WHERE number <= "
                    "(SELECT number FROM records ORDER BY number DESC LIMIT 1 OFFSET ?)", (keep,),
                )
                connection.execute("DELETE FROM states")
                connection.executemany("INSERT INTO states VALUES (?, ?, ?)",
                                       [(fingerprint, *standing) for fingerprint, standing in standings.items()])

    def set_aside(self) -> Path:
        """Rename the damaged file, so that the next use begins a new one, and return its new name."""
        self.close()
        damaged = self.path.with_name(self.path.name + ".damaged")
        with self._explained("set aside"):
            for ending in ("-wal", "-shm"):
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
            os.replace(self.path, damaged)
        return damaged

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=BUSY_S, check_same_thread=False)
            try:
                _prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    @contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:  # ValueError: what was read is no record
            # Damage is a DatabaseError itself; what may pass (full, read-only, locked, I/O) is an OperationalError.
            damaged = isinstance(error, ValueError) or type(error) is sqlite3.DatabaseError
            self.close()  # a connection that failed once may keep failing after the cause is gone
            reason = "it holds what is no error record" if isinstance(error, ValueError) else error
            raise StoreError(f"{self.path} cannot be {done}: {reason}", damaged=damaged) from None


def _prepare(connection: sqlite3.Connection) -> None:
    """Bring a fresh connection to the schema; a file of another program or version counts as damaged."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, 1, VERSION):
        raise sqlite3.DatabaseError(f"its format is {version}, this version reads {VERSION}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    if version == 1:
        connection.execute("ALTER TABLE states ADD COLUMN until REAL")
    connection.executescript(f"{_SCHEMA}PRAGMA user_version={VERSION};")
