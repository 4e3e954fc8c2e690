"""The tables of the memory and what is done to them; each function runs on a connection inside one transaction."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from agents_pc2.memory.lexicon import lexicon
from agents_pc2.memory.terms import index_terms
from agents_shared.messages import Memory, MemoryFilters, NewMemory, Related

SCHEMA = """
CREATE TABLE IF NOT EXISTS memories (
    id INTEGER PRIMARY KEY, memory_id TEXT NOT NULL UNIQUE, user_id TEXT NOT NULL DEFAULT '', content TEXT NOT NULL,
    memory_type TEXT NOT NULL, memory_tier TEXT NOT NULL, importance REAL NOT NULL, tags TEXT NOT NULL,
    metadata TEXT NOT NULL,
    parent_id TEXT, created_at REAL NOT NULL, updated_at REAL NOT NULL, last_accessed_at REAL NOT NULL,
    access_count INTEGER NOT NULL DEFAULT 0, expires_at REAL, swept_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS memories_user ON memories (user_id, memory_type);
CREATE INDEX IF NOT EXISTS memories_type ON memories (memory_type);
CREATE INDEX IF NOT EXISTS memories_tier ON memories (memory_tier);
CREATE INDEX IF NOT EXISTS memories_parent ON memories (parent_id);
CREATE INDEX IF NOT EXISTS memories_importance ON memories (importance);
CREATE INDEX IF NOT EXISTS memories_accessed ON memories (last_accessed_at);
CREATE INDEX IF NOT EXISTS memories_expiry ON memories (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS memories_created ON memories (created_at);
CREATE TABLE IF NOT EXISTS memory_relationships (
    source_id TEXT NOT NULL, target_id TEXT NOT NULL, relation_type TEXT NOT NULL, strength REAL NOT NULL DEFAULT 1.0,
    PRIMARY KEY (source_id, target_id, relation_type)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS relationships_target ON memory_relationships (target_id);
CREATE TABLE IF NOT EXISTS context_groups (
    group_id TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT NOT NULL, created_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS memory_group_mappings (
    group_id TEXT NOT NULL REFERENCES context_groups (group_id) ON DELETE CASCADE, memory_id TEXT NOT NULL,
    PRIMARY KEY (group_id, memory_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts_about_this_file (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE VIRTUAL TABLE IF NOT EXISTS memory_index USING fts5 (content, terms, tokenize = 'unicode61 remove_diacritics 2');
"""
_COLUMNS = (
    "memory_id, content, memory_type, memory_tier, importance, tags, metadata, parent_id, user_id, created_at, "
    "updated_at, "
    "last_accessed_at, access_count, expires_at"
)
COLUMNS = ", ".join(f"m.{name.strip()}" for name in _COLUMNS.split(","))
SORTABLE = ("created_at", "updated_at", "last_accessed_at", "importance", "access_count", "content")
SortField = Literal["created_at", "updated_at", "last_accessed_at", "importance", "access_count", "content"]
SortOrder = Literal["asc", "desc"]


def to_memory(row: Sequence[Any]) -> Memory:
    """Return the memory in a row of `COLUMNS`."""
    names = [name.strip() for name in _COLUMNS.split(",")]
    values = dict(zip(names, row, strict=False))
    values["tags"], values["metadata"] = json.loads(values["tags"]), json.loads(values["metadata"])
    return Memory.model_construct(**values)


def prepare(connection: sqlite3.Connection) -> None:
    """Index everything anew when the lexicon has changed since the file was written."""
    version = lexicon().version
    known = connection.execute("SELECT value FROM facts_about_this_file WHERE name = 'lexicon'").fetchone()
    if known is not None and known[0] == version:
        return
    connection.execute("DELETE FROM memory_index")
    for row_id, content, tags in connection.execute("SELECT id, content, tags FROM memories").fetchall():
        _index(connection, row_id, content, json.loads(tags))
    connection.execute("INSERT OR REPLACE INTO facts_about_this_file VALUES ('lexicon', ?)", (version,))


def add(connection: sqlite3.Connection, new: NewMemory, now: float) -> str:
    """Store a memory and return its id."""
    memory_id = f"mem-{uuid.uuid4()}"
    values = (
        memory_id, new.user_id, new.content, new.memory_type, new.memory_tier, new.importance, json.dumps(new.tags),
        json.dumps(new.metadata), new.parent_id, now, now, now, new.expires_at, now,
    )  # fmt: skip
    cursor = connection.execute(
        "INSERT INTO memories (memory_id, user_id, content, memory_type, memory_tier, importance, tags, metadata, "
        "parent_id, created_at, updated_at, last_accessed_at, expires_at, swept_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        values,
    )
    assert cursor.lastrowid is not None  # an INSERT of one row always has one
    _index(connection, cursor.lastrowid, new.content, new.tags)
    return memory_id


def get(connection: sqlite3.Connection, memory_ids: Sequence[str], now: float) -> list[Memory]:
    """Return the memories of these ids, in that order, and count the reading; unknown and expired ids are left out."""
    found = {}
    for memory_id in memory_ids:
        row = connection.execute(
            f"SELECT {COLUMNS} FROM memories m WHERE memory_id = ? AND (expires_at IS NULL OR expires_at > ?)",
            (memory_id, now),
        ).fetchone()
        if row is not None:
            found[memory_id] = to_memory(row)
    touch(connection, found, now)
    for memory in found.values():
        memory.access_count, memory.last_accessed_at = memory.access_count + 1, now
    return [found[memory_id] for memory_id in memory_ids if memory_id in found]


def touch(connection: sqlite3.Connection, memory_ids: Iterable[str], now: float) -> None:
    """Count that these memories were read: what is used stays."""
    connection.executemany(
        "UPDATE memories SET access_count = access_count + 1, last_accessed_at = ? WHERE memory_id = ?",
        [(now, memory_id) for memory_id in memory_ids],
    )


def update(connection: sqlite3.Connection, memory_id: str, changes: dict[str, Any], now: float) -> bool:
    """Change columns of a memory (lists and maps as such); return whether it exists."""
    row = connection.execute("SELECT id, content, tags FROM memories WHERE memory_id = ?", (memory_id,)).fetchone()
    if row is None:
        return False
    stored = {name: json.dumps(value) if name in ("tags", "metadata") else value for name, value in changes.items()}
    stored["updated_at"] = now
    assignments = ", ".join(f"{name} = ?" for name in stored)
    connection.execute(f"UPDATE memories SET {assignments} WHERE id = ?", (*stored.values(), row[0]))
    if "content" in changes or "tags" in changes:
        connection.execute("DELETE FROM memory_index WHERE rowid = ?", (row[0],))
        _index(connection, row[0], changes.get("content", row[1]), changes.get("tags", json.loads(row[2])))
    return True


def delete(connection: sqlite3.Connection, memory_id: str, cascade: bool) -> int:
    """Remove a memory, with `cascade` everything below it as well; return how many were removed."""
    doomed = [memory_id] if exists(connection, memory_id) else []
    if cascade:
        doomed = [row[0] for row in connection.execute(_DESCENDANTS, (memory_id,))]
    for each in doomed:
        connection.execute(
            "DELETE FROM memory_index WHERE rowid = (SELECT id FROM memories WHERE memory_id = ?)", (each,)
        )
        connection.execute("DELETE FROM memories WHERE memory_id = ?", (each,))
        connection.execute("DELETE FROM memory_relationships WHERE source_id = ? OR target_id = ?", (each, each))
        connection.execute("DELETE FROM memory_group_mappings WHERE memory_id = ?", (each,))
    return len(doomed)


_DESCENDANTS = """
WITH RECURSIVE below (memory_id) AS (
    SELECT memory_id FROM memories WHERE memory_id = ?
    UNION SELECT m.memory_id FROM memories m JOIN below ON m.parent_id = below.memory_id
) SELECT memory_id FROM below
"""


def exists(connection: sqlite3.Connection, memory_id: str) -> bool:
    """Say whether there is a memory of this id."""
    return connection.execute("SELECT 1 FROM memories WHERE memory_id = ?", (memory_id,)).fetchone() is not None


def children(
    connection: sqlite3.Connection, parent_id: str, limit: int, field: SortField, order: SortOrder, now: float
) -> list[Memory]:
    """Return the children of a memory, sorted."""
    direction = "ASC" if order == "asc" else "DESC"
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM memories m WHERE parent_id = ? AND (expires_at IS NULL OR expires_at > ?) "
        f"ORDER BY {field} {direction}, id {direction} LIMIT ?",
        (parent_id, now, limit),
    )
    return [to_memory(row) for row in rows]


def relate(connection: sqlite3.Connection, source_id: str, target_id: str, relation_type: str, strength: float) -> None:
    """Link two memories; the same link again changes its strength."""
    connection.execute(
        "INSERT OR REPLACE INTO memory_relationships VALUES (?, ?, ?, ?)",
        (source_id, target_id, relation_type, strength),
    )


def related(connection: sqlite3.Connection, memory_id: str, relation_type: str | None, limit: int) -> list[Related]:
    """Return what is linked to a memory in either direction, the strongest first."""
    rows = connection.execute(
        f"SELECT {COLUMNS}, r.relation_type, r.strength FROM memory_relationships r JOIN memories m ON m.memory_id = "
        "CASE WHEN r.source_id = :id THEN r.target_id ELSE r.source_id END "
        "WHERE (r.source_id = :id OR r.target_id = :id) AND (:type IS NULL OR r.relation_type = :type) "
        "ORDER BY r.strength DESC, m.id LIMIT :limit",
        {"id": memory_id, "type": relation_type, "limit": limit},
    )
    return [Related(memory=to_memory(row), relation_type=row[-2], strength=row[-1]) for row in rows]


def create_group(connection: sqlite3.Connection, name: str, description: str, now: float) -> str:
    """Make a context group and return its id."""
    group_id = f"group-{uuid.uuid4()}"
    connection.execute("INSERT INTO context_groups VALUES (?, ?, ?, ?)", (group_id, name, description, now))
    return group_id


def add_to_group(connection: sqlite3.Connection, group_id: str, memory_id: str) -> bool:
    """Put a memory into a group; return whether both exist."""
    group = connection.execute("SELECT 1 FROM context_groups WHERE group_id = ?", (group_id,)).fetchone()
    if group is None or not exists(connection, memory_id):
        return False
    connection.execute("INSERT OR IGNORE INTO memory_group_mappings VALUES (?, ?)", (group_id, memory_id))
    return True


def group_members(connection: sqlite3.Connection, group_id: str, now: float) -> list[Memory]:
    """Return the memories of a group, the oldest first."""
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM memory_group_mappings g JOIN memories m ON m.memory_id = g.memory_id "
        "WHERE g.group_id = ? AND (m.expires_at IS NULL OR m.expires_at > ?) ORDER BY m.id",
        (group_id, now),
    )
    return [to_memory(row) for row in rows]


def conditions(user_id: str, filters: MemoryFilters, now: float) -> tuple[str, list[Any]]:
    """Return an SQL condition over `memories m` and its values."""
    parts, values = ["m.user_id = ?", "(m.expires_at IS NULL OR m.expires_at > ?)"], [user_id, now]
    for column in ("memory_type", "memory_tier", "parent_id"):
        wanted = getattr(filters, column)
        if wanted is not None:
            parts.append(f"m.{column} = ?")
            values.append(wanted)
    if filters.exclude_types:
        parts.append(f"m.memory_type NOT IN ({', '.join('?' * len(filters.exclude_types))})")
        values += filters.exclude_types
    if filters.min_importance > 0:
        parts.append("m.importance >= ?")
        values.append(filters.min_importance)
    for tag in filters.tags:
        parts.append("EXISTS (SELECT 1 FROM json_each(m.tags) WHERE value = ?)")
        values.append(tag)
    return " AND ".join(parts), values


def _index(connection: sqlite3.Connection, row_id: int, content: str, tags: Sequence[str]) -> None:
    connection.execute(
        "INSERT INTO memory_index (rowid, content, terms) VALUES (?, ?, ?)",
        (row_id, content, index_terms(content, tags)),
    )
