"""The memory both machines share: texts with tags and links, found again by words or by meaning, fading with time."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Annotated, Any

from agents_pc2.memory import store
from agents_pc2.memory.fading import reinforce
from agents_pc2.memory.recall import Scope, said, search_meaning, search_text
from agents_pc2.memory.sweep import Consolidation, condense, drop_expired, fade_some
from agents_shared.messages import (
    CONVERSATION,
    Deleted,
    Forgotten,
    GroupCreated,
    MemoriesAdded,
    MemoriesFound,
    MemoryAdded,
    MemoryChildren,
    MemoryFilters,
    MemoryFound,
    MemoryHits,
    MemoryList,
    MemoryTier,
    NewMemory,
    Reinforced,
    RelatedMemories,
    Updated,
)
from pydantic import Field

from mesh import AgentConfig, DataAgent, InvalidArgument, every, operation

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=1000)]


class MemoryOrchestrator(DataAgent):
    """The shared long-term memory: saves texts with tags and links, reads and searches them, and lets them fade."""

    class Config(AgentConfig):
        database: Path = Path("unified_memory.db")
        sweep_batch: int = 500
        """Memories faded in one transaction, so that a sweep never keeps a search waiting for long."""

    config: Config

    async def setup(self) -> None:
        """Open the store; the index follows the lexicon when the first search or memory needs it."""
        self.store = self.database(self.config.database, schema=store.SCHEMA)
        self._prepared = False
        await self.store.query("SELECT COUNT(*) FROM memories")

    @operation
    async def add_memory(
        self, content: str, memory_type: str = "general", memory_tier: MemoryTier = "short", importance: Share = 1.0,
        tags: list[str] | None = None, metadata: dict[str, Any] | None = None, parent_id: str | None = None,
        expires_at: float | None = None, user_id: str = "",
    ) -> MemoryAdded:  # fmt: skip
        """Store a text of one user ("" is everybody's) and return its id."""
        new = NewMemory(
            content=content, memory_type=memory_type, memory_tier=memory_tier, importance=importance, tags=tags or [],
            metadata=metadata or {}, parent_id=parent_id, expires_at=expires_at, user_id=user_id,
        )  # fmt: skip
        return MemoryAdded(memory_id=(await self._add([new]))[0])

    @operation
    async def batch_add_memories(self, memories: list[NewMemory]) -> MemoriesAdded:
        """Store several texts, all or none."""
        return MemoriesAdded(memory_ids=await self._add(memories))

    @operation(idempotent=True)
    async def get_memory(self, memory_id: str) -> MemoryFound:
        """Return a memory, or null; being read keeps it alive."""
        now = self.clock.time()
        found = await self.store.write(lambda connection: store.get(connection, [memory_id], now))
        return MemoryFound(memory=found[0] if found else None)

    @operation(idempotent=True)
    async def batch_get_memories(self, memory_ids: list[str]) -> MemoryList:
        """Return the memories of these ids in that order; unknown ids are left out."""
        now = self.clock.time()
        return MemoryList(memories=await self.store.write(lambda connection: store.get(connection, memory_ids, now)))

    @operation(idempotent=True)
    async def search_memory(
        self,
        query: str,
        memory_type: str | None = None,
        limit: Count = 10,
        parent_id: str | None = None,
        user_id: str = "",
    ) -> MemoriesFound:
        """Return the memories of one user with the words of `query`, the best match first."""
        await self._prepare()
        scope = Scope(user_id, MemoryFilters(memory_type=memory_type, parent_id=parent_id), self.clock.time())
        results = await self.store.write(lambda connection: search_text(connection, query, scope, limit))
        return MemoriesFound(results=results, count=len(results))

    @operation(idempotent=True)
    async def semantic_search(
        self, query: str, k: Count = 5, filters: MemoryFilters | None = None, user_id: str = ""
    ) -> MemoryHits:
        """Return the memories of one user that answer `query` or come near it, best first, with their evidence."""
        await self._prepare()
        now = self.clock.time()
        scope = Scope(user_id, filters or MemoryFilters(), now)

        def search(connection: Connection) -> MemoryHits:
            hits = search_meaning(connection, query, scope, k)
            store.touch(connection, [hit.memory_id for hit in hits if hit.evidence.answers], now)
            return MemoryHits(results=hits)

        return await self.store.write(search)

    @operation
    async def forget_memory(self, content: str, user_id: str = "") -> Forgotten:
        """Delete the memories of one user that say what `content` says, and return their texts."""
        await self._prepare()
        scope = Scope(user_id, MemoryFilters(exclude_types=list(CONVERSATION)), self.clock.time())

        def forget(connection: Connection) -> list[str]:
            doomed = said(connection, content, scope)
            for memory in doomed:
                store.delete(connection, memory.memory_id, cascade=False)
            return [memory.content for memory in doomed]

        return Forgotten(forgotten=await self.store.write(forget))

    @operation
    async def update_memory(
        self, memory_id: str, content: str | None = None, importance: Share | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None, memory_tier: MemoryTier | None = None, expires_at: float | None = None,
    ) -> Updated:  # fmt: skip
        """Change what is given of a memory; return whether it exists."""
        given = {
            "content": content, "importance": importance, "tags": tags, "metadata": metadata,
            "memory_tier": memory_tier,
            "expires_at": expires_at,
        }  # fmt: skip
        changes = {name: value for name, value in given.items() if value is not None}
        if content is not None:
            _check_content(content)
        await self._prepare()
        now = self.clock.time()
        return Updated(
            updated=await self.store.write(lambda connection: store.update(connection, memory_id, changes, now))
        )

    @operation
    async def reinforce_memory(
        self, memory_id: str, reinforcement_factor: Annotated[float, Field(gt=0, le=10)] = 1.2
    ) -> Reinforced:
        """Multiply the importance of a memory, up to 1; null when there is none of that id."""
        now = self.clock.time()

        def strengthen(connection: Connection) -> float | None:
            found = store.get(connection, [memory_id], now)
            if not found:
                return None
            importance = reinforce(found[0].importance, reinforcement_factor)
            store.update(connection, memory_id, {"importance": importance}, now)
            return importance

        return Reinforced(new_importance=await self.store.write(strengthen))

    @operation(idempotent=True)
    async def delete_memory(self, memory_id: str, cascade: bool = False) -> Deleted:
        """Remove a memory, with `cascade` everything below it as well."""
        return Deleted(deleted=await self.store.write(lambda connection: store.delete(connection, memory_id, cascade)))

    @operation(idempotent=True)
    async def get_children(
        self,
        parent_id: str,
        limit: Count = 50,
        sort_field: store.SortField = "created_at",
        sort_order: store.SortOrder = "desc",
    ) -> MemoryChildren:
        """Return the children of a memory, sorted."""
        now = self.clock.time()
        found = await self.store.write(
            lambda connection: store.children(connection, parent_id, limit, sort_field, sort_order, now)
        )
        return MemoryChildren(children=found)

    @operation(idempotent=True)
    async def add_relationship(self, source_id: str, target_id: str, relation_type: str, strength: Share = 1.0) -> None:
        """Link two memories; both must exist."""

        def link(connection: Connection) -> None:
            for name, memory_id in (("source_id", source_id), ("target_id", target_id)):
                if not store.exists(connection, memory_id):
                    raise InvalidArgument(f"there is no memory {memory_id!r} to link; add it first", path=name)
            store.relate(connection, source_id, target_id, relation_type, strength)

        await self.store.write(link)

    @operation(idempotent=True)
    async def get_related(self, memory_id: str, relation_type: str | None = None, limit: Count = 50) -> RelatedMemories:
        """Return what is linked to a memory, the strongest link first."""
        found = await self.store.write(lambda connection: store.related(connection, memory_id, relation_type, limit))
        return RelatedMemories(related=found)

    @operation
    async def create_context_group(self, name: str, description: str = "") -> GroupCreated:
        """Make a group that memories can be put into, and return its id."""
        now = self.clock.time()
        return GroupCreated(
            group_id=await self.store.write(lambda connection: store.create_group(connection, name, description, now))
        )

    @operation(idempotent=True)
    async def add_to_group(self, group_id: str, memory_id: str) -> None:
        """Put a memory into a group; both must exist."""
        if not await self.store.write(lambda connection: store.add_to_group(connection, group_id, memory_id)):
            raise InvalidArgument(
                f"group {group_id!r} or memory {memory_id!r} does not exist; create it first", path="group_id"
            )

    @operation(idempotent=True)
    async def get_memories_by_group(self, group_id: str) -> MemoryList:
        """Return the memories of a group, the oldest first."""
        now = self.clock.time()
        return MemoryList(
            memories=await self.store.write(lambda connection: store.group_members(connection, group_id, now))
        )

    @every(seconds=3600)
    async def sweep(self) -> None:
        """Let everything fade by the time since the last sweep, drop what has expired, condense what is faint."""
        now, after, leftovers = self.clock.time(), 0, list[str]()
        await self.store.write(lambda connection: drop_expired(connection, now))
        while True:
            batch = partial(fade_some, after=after, limit=self.config.sweep_batch, now=now)
            after, faint = await self.store.write(batch)
            leftovers += faint
            if not after:
                break
        if leftovers:
            await self._prepare()
            for made in await self.store.write(lambda connection: condense(connection, leftovers, now)):
                await self._tell(made)

    async def _tell(self, made: Consolidation) -> None:
        await self.publish("memory.consolidated", {"memory_id": made.memory_id, "replaces": list(made.replaces)})

    async def _add(self, memories: list[NewMemory]) -> list[str]:
        for new in memories:
            _check_content(new.content)
        await self._prepare()
        now = self.clock.time()
        ids = await self.store.write(lambda connection: [store.add(connection, new, now) for new in memories])
        for memory_id, new in zip(ids, memories, strict=True):
            await self.publish(
                "memory.added", {"memory_id": memory_id, "memory_type": new.memory_type, "memory_tier": new.memory_tier}
            )
        return ids

    async def _prepare(self) -> None:
        if not self._prepared:
            await self.store.write(store.prepare)
            self._prepared = True


def _check_content(content: str) -> None:
    if not content.strip():
        raise InvalidArgument("content is empty; write what is to be remembered", path="content")
