"""One pass of fading over the store: what has expired goes, the rest fades, related leftovers are condensed."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from agents_pc2.memory import store
from agents_pc2.memory.fading import fade, shorten, summarise
from agents_shared.messages import CONSOLIDATED, Memory, NewMemory

CONSOLIDATED_INTO = "consolidated_into"
LEAST_RELATED = 3
MOST_MERGED = 10
CONSOLIDATED_IMPORTANCE = 0.7


@dataclass(frozen=True, slots=True)
class Consolidation:
    """A summary and the ids of the memories it stands for."""

    memory_id: str
    replaces: tuple[str, ...]


def drop_expired(connection: sqlite3.Connection, now: float) -> int:
    """Remove memories whose time is over and return how many."""
    rows = connection.execute(
        "SELECT memory_id FROM memories WHERE expires_at IS NOT NULL AND expires_at <= ?", (now,)
    ).fetchall()
    return sum(store.delete(connection, row[0], cascade=False) for row in rows)


def fade_some(connection: sqlite3.Connection, after: int, limit: int, now: float) -> tuple[int, list[str]]:
    """Fade up to `limit` memories above row `after`; return the last row (0 at the end) and ids to condense."""
    rows = connection.execute(
        f"SELECT {store.COLUMNS}, m.swept_at, m.id FROM memories m WHERE m.id > ? ORDER BY m.id LIMIT ?", (after, limit)
    ).fetchall()
    leftovers = []
    for row in rows:
        memory = store.to_memory(row)
        faded = fade(memory, row[-2], now)
        connection.execute(
            "UPDATE memories SET importance = ?, memory_tier = ?, swept_at = ? WHERE id = ?",
            (faded.importance, faded.tier, now, row[-1]),
        )
        if faded.condense:
            leftovers.append(memory.memory_id)
    return (rows[-1][-1] if len(rows) == limit else 0), leftovers


def condense(connection: sqlite3.Connection, memory_ids: Sequence[str], now: float) -> list[Consolidation]:
    """Make one summary of each group of related leftovers; shorten long texts of those that stand alone."""
    marks = ", ".join("?" * len(memory_ids))
    rows = connection.execute(
        f"SELECT {store.COLUMNS} FROM memories m WHERE memory_id IN ({marks}) AND memory_type <> ? AND NOT EXISTS "
        "(SELECT 1 FROM memory_relationships r WHERE r.source_id = m.memory_id AND r.relation_type = ?) ORDER BY m.id",
        (*memory_ids, CONSOLIDATED, CONSOLIDATED_INTO),
    )
    made = []
    for group in _related_groups(connection, [store.to_memory(row) for row in rows]):
        if len(group) >= LEAST_RELATED:
            made += [
                _consolidate(connection, group[start : start + MOST_MERGED], now)
                for start in range(0, len(group), MOST_MERGED)
            ]
        else:
            _shorten(connection, group, now)
    return made


def _related_groups(connection: sqlite3.Connection, memories: Sequence[Memory]) -> list[list[Memory]]:
    """Return the memories in groups of one user that share a parent or are linked."""
    leader = {memory.memory_id: memory.memory_id for memory in memories}

    def lead(memory_id: str) -> str:
        while leader[memory_id] != memory_id:
            memory_id = leader[memory_id]
        return memory_id

    by_parent: dict[tuple[str, str], str] = {}
    for memory in memories:
        if memory.parent_id is not None:
            first = by_parent.setdefault((memory.user_id, memory.parent_id), memory.memory_id)
            leader[lead(memory.memory_id)] = lead(first)
    owner = {memory.memory_id: memory.user_id for memory in memories}
    for source, target in connection.execute("SELECT source_id, target_id FROM memory_relationships"):
        if source in leader and target in leader and owner[source] == owner[target]:
            leader[lead(source)] = lead(target)
    groups: defaultdict[str, list[Memory]] = defaultdict(list)
    for memory in memories:
        groups[lead(memory.memory_id)].append(memory)
    return list(groups.values())


def _consolidate(connection: sqlite3.Connection, group: Sequence[Memory], now: float) -> Consolidation:
    sources = tuple(memory.memory_id for memory in group)
    parents = {memory.parent_id for memory in group}
    summary = NewMemory(
        content=summarise([memory.content for memory in group], 400), memory_type=CONSOLIDATED, memory_tier="medium",
        importance=CONSOLIDATED_IMPORTANCE, metadata={"source_ids": list(sources)}, user_id=group[0].user_id,
        parent_id=parents.pop() if len(parents) == 1 else None,
    )  # fmt: skip
    memory_id = store.add(connection, summary, now)
    for source in sources:
        store.relate(connection, source, memory_id, CONSOLIDATED_INTO, 1.0)
    return Consolidation(memory_id, sources)


def _shorten(connection: sqlite3.Connection, group: Sequence[Memory], now: float) -> None:
    for memory in group:
        text = shorten(memory.content)
        if text != memory.content:
            metadata = {**memory.metadata, "shortened_from": len(memory.content)}
            store.update(connection, memory.memory_id, {"content": text, "metadata": metadata}, now)
