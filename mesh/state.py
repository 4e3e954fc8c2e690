"""What agents ask to be remembered: versioned states, kept in one SQLite file per host."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.clock import Clock
from mesh.database import Database
from mesh.errors import InvalidArgument, ProtocolError, StoreError
from mesh.message import decode, encode

KEPT = 1000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS states (
    service TEXT NOT NULL, version INTEGER NOT NULL, time REAL NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (service, version)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class StateVersion:
    """One saved state; `time` is wall-clock seconds, `version` grows by one with each save of a service."""

    version: int
    time: float
    state: dict[str, Any]


class StateStore:
    """The saved states of all services of a host; the last `kept` versions of each remain.

    Every method raises `StoreError` with the path and what to do when the file cannot be read or written.
    """

    def __init__(self, path: Path, *, clock: Clock | None = None, kept: int = KEPT) -> None:
        self.path = path
        self.kept = kept
        self._clock = clock or Clock()
        self._database = Database(path, schema=_SCHEMA)

    async def save(self, service: str, state: dict[str, Any]) -> int:
        """Keep `state` as the newest of `service` and return its version; raises `InvalidArgument` for what may not
        be encoded."""
        if not isinstance(state, dict):
            raise InvalidArgument(f"a state is a dict, found {type(state).__name__}", path="state")
        body, now, kept = encode(state, name="state"), self._clock.time(), self.kept

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
        return [StateVersion(row["version"], row["time"], self._decode(service, row)) for row in rows]

    async def close(self) -> None:
        """Finish what was started and close the file."""
        await self._database.close()

    def _decode(self, service: str, row: dict[str, Any]) -> dict[str, Any]:
        try:
            state: dict[str, Any] = decode(row["body"])
        except ProtocolError as error:
            raise StoreError(f"{self.path}: version {row['version']} of {service} does not decode; restore a copy, or "
                             f"move the file away and a new one is made ({error.message})") from error
        return state
