"""What must outlast the registry, in one SQLite file: desired states, overrides and the epoch. Never leases.

A write is on the disk when it returns; one that fails raises and has changed nothing. The file is held for as long as
it is open, since a second registry on it would believe something else.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mesh.database import Database
from mesh.errors import StoreError
from mesh.records import DESIRED_STATES
from registry.changes import UNSET, DesiredChange, OverrideChange

T = TypeVar("T")

VERSION = 1

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


@dataclass(frozen=True, slots=True)
class Stored:
    """What the file held when it was opened; epoch 0 if none was stored yet."""

    epoch: int
    desired: tuple[DesiredChange, ...]
    overrides: tuple[OverrideChange, ...]


class Store:
    """The registry's SQLite file; every method raises `StoreError` with the path and what to do."""

    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
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
        if isinstance(change, DesiredChange):
            sql = "INSERT OR REPLACE INTO desired (service, host, desired) VALUES (?, ?, ?)"
            values: tuple[str, ...] = (change.service, change.host, change.desired)
        elif change.value is UNSET:
            sql, values = "DELETE FROM overrides WHERE service = ? AND key = ?", (change.service, change.key)
        else:
            sql = "INSERT OR REPLACE INTO overrides (service, key, value) VALUES (?, ?, ?)"
            values = (change.service, change.key, json.dumps(change.value))
        await self._done(self._database.execute(sql, values))

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


def next_epoch(stored: int, wall: float) -> int:
    """Return the epoch of a registry that starts at `wall` seconds: greater than any before, even if the clock is not.

    It is taken from the clock, so that a deleted file does not make the hosts, who know the old epoch, refuse the new.
    """
    return max(stored + 1, int(wall * 1000))
