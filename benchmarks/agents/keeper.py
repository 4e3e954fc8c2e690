"""An agent of ordinary size with a database, which the footprint benchmark copies under other names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import BaseModel, Field

from benchmarks.agents.scoring import alike, words
from mesh import AgentConfig, DataAgent, InvalidArgument, every, operation

Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(min_length=1, max_length=20_000)]
Count = Annotated[int, Field(ge=1, le=1000)]
State = Literal["open", "closed", "expired"]
SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY AUTOINCREMENT, entry_id TEXT NOT NULL UNIQUE, time REAL NOT NULL, owner TEXT NOT NULL,
    state TEXT NOT NULL, text TEXT NOT NULL, details TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_owner ON entries (owner, time);
"""
COLUMNS = "entry_id, time, owner, state, text, details"


class KeeperEntry(BaseModel):
    """An entry as it is kept; `time` is wall-clock seconds."""

    entry_id: str
    time: float
    owner: str
    state: State
    text: str
    details: dict[str, Any]


class KeeperEntries(BaseModel):
    """Entries, newest first."""

    entries: list[KeeperEntry]


class KeeperAdded(BaseModel):
    """The id under which an entry is kept."""

    entry_id: str


class KeeperTotals(BaseModel):
    """How many entries are in which state, and whose they are."""

    states: dict[State, int]
    owners: dict[str, int]


class Keeper(DataAgent):
    """Keeps entries of several owners on disk, finds them by their words, and lets old ones expire."""

    class Config(AgentConfig):
        database: Path = Path("entries.db")
        kept: int = 10_000
        idle_s: float = 86_400.0
        """Open entries older than this expire."""
        alike: float = 0.2
        """How alike a text and an entry must be for the entry to be found."""

    config: Config

    async def setup(self) -> None:
        """Open the store."""
        self._store = self.database(self.config.database, schema=SCHEMA)
        rows = await self._store.query("SELECT COUNT(*) AS entries FROM entries")
        self._entries = int(rows[0]["entries"])

    @operation
    async def add(self, owner: Name, text: Text, details: dict[str, Any] | None = None) -> KeeperAdded:
        """Keep a text for an owner and return its id."""
        entry_id = uuid4().hex
        await self._store.execute(
            f"INSERT INTO entries ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
            (entry_id, self.clock.time(), owner, "open", text, json.dumps(details or {})),
        )
        self._entries += 1
        await self.publish("keeper.added", {"entry_id": entry_id, "owner": owner})
        return KeeperAdded(entry_id=entry_id)

    @operation(idempotent=True)
    async def get(self, entry_id: str) -> KeeperEntry | None:
        """Return an entry, null when there is none."""
        rows = await self._store.query(f"SELECT {COLUMNS} FROM entries WHERE entry_id = ?", (entry_id,))
        return _entry(rows[0]) if rows else None

    @operation(idempotent=True)
    async def newest(self, owner: Name, state: State | None = None, limit: Count = 20) -> KeeperEntries:
        """Return the newest entries of an owner, in one state if it is given."""
        rows = await self._store.query(
            f"SELECT {COLUMNS} FROM entries WHERE owner = ? AND (? IS NULL OR state = ?) ORDER BY time DESC LIMIT ?",
            (owner, state, state, limit),
        )
        return KeeperEntries(entries=[_entry(row) for row in rows])

    @operation(idempotent=True)
    async def search(self, owner: Name, text: Text, limit: Count = 10) -> KeeperEntries:
        """Return the entries of an owner whose words are like those of a text, the most alike first."""
        wanted = set(words(text))
        rows = await self._store.query(f"SELECT {COLUMNS} FROM entries WHERE owner = ?", (owner,))
        scored = sorted(((alike(wanted, words(row["text"])), row["entry_id"], row) for row in rows), reverse=True)
        return KeeperEntries(entries=[_entry(row) for score, _, row in scored[:limit] if score >= self.config.alike])

    @operation
    async def close(self, entry_id: str) -> None:
        """Close an entry; a closed one does not expire."""
        changed = await self._store.query("SELECT state FROM entries WHERE entry_id = ?", (entry_id,))
        if not changed:
            raise InvalidArgument(f"there is no entry {entry_id!r}; add it first", path="entry_id")
        await self._store.execute("UPDATE entries SET state = 'closed' WHERE entry_id = ?", (entry_id,))

    @operation(idempotent=True)
    async def totals(self) -> KeeperTotals:
        """Count the entries by state and by owner."""
        states = await self._store.query("SELECT state, COUNT(*) AS entries FROM entries GROUP BY state")
        owners = await self._store.query("SELECT owner, COUNT(*) AS entries FROM entries GROUP BY owner")
        return KeeperTotals(states={row["state"]: row["entries"] for row in states},
                            owners={row["owner"]: row["entries"] for row in owners})

    @every(seconds=300)
    async def sweep(self) -> None:
        """Let open entries of yesterday expire, and the oldest go when there are too many."""
        oldest = self.clock.time() - self.config.idle_s
        await self._store.execute("UPDATE entries SET state = 'expired' WHERE state = 'open' AND time < ?", (oldest,))
        await self._store.execute("DELETE FROM entries WHERE number <= (SELECT MAX(number) FROM entries) - ?",
                                  (self.config.kept,))


def _entry(row: Mapping[str, Any]) -> KeeperEntry:
    return KeeperEntry(entry_id=row["entry_id"], time=row["time"], owner=row["owner"], state=row["state"],
                       text=row["text"], details=json.loads(row["details"]))
