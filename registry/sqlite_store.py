"""The store of a registry in one SQLite file.

The file is held for as long as it is open, since a second registry on it would believe something else.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from mesh.database import Database
from mesh.errors import StoreError
from mesh.metrics import Sample
from mesh.records import DESIRED_STATES
from registry.changes import UNSET, DesiredChange, OverrideChange
from registry.store import VERSION, Stored

T = TypeVar("T")

_SCHEMA = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS registry (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS desired (
    service TEXT NOT NULL, host TEXT NOT NULL, desired TEXT NOT NULL, PRIMARY KEY (service, host)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS overrides (
    service TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (service, key)
) WITHOUT ROWID;
"""


class SqliteStore:
    """The registry's SQLite file; every method raises `StoreError` with the path and what to do.

    As the copy of a Redis it also keeps `position`: epoch and number of changes that Redis was last seen to hold.
    """

    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self.position = (0, 0)
        self._database = Database(path, schema=_SCHEMA)

    async def open(self) -> Stored:
        """Check the file and return what it holds; makes it, and its folder, if there is none."""
        check = await self._done(self._database.query("PRAGMA quick_check(1)"))
        if check[0]["quick_check"] != "ok":
            raise self._damaged(check[0]["quick_check"])
        numbers = {row["name"]: row["value"] for row in await self._rows("SELECT name, value FROM registry")}
        if numbers.get("version", VERSION) > VERSION:
            raise StoreError(
                f"{self.path} was written by a later version of the mesh (format {numbers['version']}, this one knows "
                f"{VERSION}); update this installation, or move the file away and start with an empty one"
            )
        self.position = (numbers.get("redis_epoch", 0), numbers.get("redis_changes", 0))
        desired = await self._rows("SELECT service, host, desired FROM desired")
        overrides = await self._rows("SELECT service, key, value FROM overrides")
        strange = [row["desired"] for row in desired if row["desired"] not in DESIRED_STATES]
        if strange:
            raise self._damaged(f"a desired state {strange[0]!r}")
        try:
            return Stored(
                numbers.get("epoch", 0),
                tuple(DesiredChange(**row) for row in desired),
                tuple(OverrideChange(row["service"], row["key"], json.loads(row["value"])) for row in overrides),
            )
        except (TypeError, ValueError) as error:
            raise self._damaged(str(error)) from None

    async def save_epoch(self, epoch: int) -> None:
        """Keep the epoch, so that the next one is greater whatever the clock says."""

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT OR REPLACE INTO registry (name, value) VALUES (?, ?)", [("epoch", epoch), ("version", VERSION)]
            )

        await self._done(self._database.write(write))

    async def save(self, change: DesiredChange | OverrideChange) -> None:
        """Keep a change; it counts only once this returns."""
        await self._done(self._database.execute(*_statement(change)))

    def samples(self) -> Iterator[Sample]:
        """Yield nothing: a file has no figures of its own."""
        return iter(())

    async def copy(self, changes: Iterable[DesiredChange | OverrideChange], position: tuple[int, int], *,
                   whole: bool) -> None:
        """Keep changes that Redis holds at `position`; with `whole` they are all there is."""

        def write(connection: sqlite3.Connection) -> None:
            if whole:
                connection.execute("DELETE FROM desired")
                connection.execute("DELETE FROM overrides")
            for change in changes:
                connection.execute(*_statement(change))
            connection.executemany("INSERT OR REPLACE INTO registry (name, value) VALUES (?, ?)",
                                   [("redis_epoch", position[0]), ("redis_changes", position[1])])

        await self._done(self._database.write(write))
        self.position = position

    async def close(self) -> None:
        """Finish what was begun and release the file."""
        await self._database.close()

    async def _rows(self, sql: str) -> list[dict[str, Any]]:
        return await self._done(self._database.query(sql))

    async def _done(self, work: Awaitable[T]) -> T:
        """Await work on the file; remembers what is wrong with it until something succeeds again."""
        try:
            result = await work
        except StoreError as error:
            self.problem = error.message
            raise
        except sqlite3.Error as error:
            self.problem = f"{self.path}: {error}; move the file away and a new one is made"
            raise StoreError(self.problem) from error
        self.problem = None
        return result

    def _damaged(self, found: str) -> StoreError:
        self.problem = f"{self.path} is damaged ({found}); restore a copy, or move it away and a new one is made"
        return StoreError(self.problem)


def _statement(change: DesiredChange | OverrideChange) -> tuple[str, tuple[str, ...]]:
    """Return the SQL that keeps a change, and its values."""
    if isinstance(change, DesiredChange):
        return ("INSERT OR REPLACE INTO desired (service, host, desired) VALUES (?, ?, ?)",
                (change.service, change.host, change.desired))
    if change.value is UNSET:
        return "DELETE FROM overrides WHERE service = ? AND key = ?", (change.service, change.key)
    return ("INSERT OR REPLACE INTO overrides (service, key, value) VALUES (?, ?, ?)",
            (change.service, change.key, json.dumps(change.value)))
