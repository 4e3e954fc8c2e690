"""The states of a host in one SQLite file."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from mesh.clock import Clock
from mesh.database import Database
from mesh.state.store import KEPT, StateVersion, packed, unpacked

_SCHEMA = """
CREATE TABLE IF NOT EXISTS states (
    service TEXT NOT NULL, version INTEGER NOT NULL, time REAL NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (service, version)
) WITHOUT ROWID;
"""


class SqliteStates:
    """A `StateStore` in the file at `path`."""

    def __init__(self, path: Path, *, clock: Clock | None = None, kept: int = KEPT) -> None:
        self.path = path
        self.kept = kept
        self._clock = clock or Clock()
        self._database = Database(path, schema=_SCHEMA)

    async def save(self, service: str, state: dict[str, Any]) -> int:
        """Keep `state` as the newest of `service` and return its version."""
        body, now, kept = packed(state), self._clock.time(), self.kept

        def insert(connection: sqlite3.Connection) -> int:
            newest = connection.execute("SELECT max(version) FROM states WHERE service = ?", (service,)).fetchone()[0]
            version = int(newest or 0) + 1
            connection.execute("INSERT INTO states VALUES (?, ?, ?, ?)", (service, version, now, body))
            connection.execute("DELETE FROM states WHERE service = ? AND version <= ?", (service, version - kept))
            return version

        return await self._database.write(insert)

    async def latest(self, service: str) -> StateVersion | None:
        """Return the newest state of `service`, None when none was saved."""
        found = await self.history(service, 1)
        return found[0] if found else None

    async def history(self, service: str, limit: int = 10) -> list[StateVersion]:
        """Return up to `limit` states of `service`, the newest first."""
        rows = await self._database.query(
            "SELECT version, time, body FROM states WHERE service = ? ORDER BY version DESC LIMIT ?",
            (service, max(limit, 0)),
        )
        return [StateVersion(row["version"], row["time"],
                             unpacked(row["body"], str(self.path), service, row["version"])) for row in rows]

    async def close(self) -> None:
        """Finish what was started and close the file."""
        await self._database.close()
