"""The doorway to long-lived memory: each call goes to the memory orchestrator, on whatever host that runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from agents_shared.messages import (
    SESSION,
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
    SessionCreated,
    Updated,
)
from pydantic import Field

from mesh import Agent, AgentConfig, operation

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=1000)]
SortField = Literal["created_at", "updated_at", "last_accessed_at", "importance", "access_count", "content"]


class MemoryClient(Agent):
    """Single doorway to the shared memory; it holds no data, and says which host is away when it cannot be reached."""

    class Config(AgentConfig):
        timeout_s: float = 5.0

    config: Config

    @operation
    async def create_session(
        self, user_id: str, session_type: str = "conversation", metadata: dict[str, Any] | None = None
    ) -> SessionCreated:
        """Open a session of a user: a memory that its turns hang below. Return its id."""
        added = await self._ask(
            "add_memory", content=f"A {session_type} with {user_id}", memory_type=SESSION, memory_tier="medium",
            importance=0.5, tags=[session_type], user_id=user_id,
            metadata={**(metadata or {}), "session_type": session_type, "state": "active"},
        )  # fmt: skip
        return SessionCreated(session_id=added["memory_id"])

    @operation
    async def add_memory(
        self, content: str, memory_type: str = "general", memory_tier: MemoryTier = "short", importance: Share = 1.0,
        metadata: dict[str, Any] | None = None, tags: list[str] | None = None, parent_id: str | None = None,
        expires_at: float | None = None, user_id: str = "", created_by: str | None = None,
    ) -> MemoryAdded:  # fmt: skip
        """Store a text of one user ("" is everybody's) and return its id; `created_by` is kept in its metadata."""
        known = {**(metadata or {}), **({"created_by": created_by} if created_by else {})}
        return MemoryAdded.model_validate(
            await self._ask(
                "add_memory", content=content, memory_type=memory_type, memory_tier=memory_tier, importance=importance,
                metadata=known, tags=tags, parent_id=parent_id, expires_at=expires_at, user_id=user_id,
            )
        )  # fmt: skip

    @operation
    async def batch_add_memories(self, memories: list[NewMemory]) -> MemoriesAdded:
        """Store several texts, all or none."""
        return MemoriesAdded.model_validate(await self._ask("batch_add_memories", memories=memories))

    @operation(idempotent=True)
    async def get_memory(self, memory_id: str) -> MemoryFound:
        """Return a memory, or null."""
        return MemoryFound.model_validate(await self._ask("get_memory", memory_id=memory_id))

    @operation(idempotent=True)
    async def batch_get_memories(self, memory_ids: list[str]) -> MemoryList:
        """Return the memories of these ids in that order; unknown ids are left out."""
        return MemoryList.model_validate(await self._ask("batch_get_memories", memory_ids=memory_ids))

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
        found = await self._ask(
            "search_memory", query=query, memory_type=memory_type, limit=limit, parent_id=parent_id, user_id=user_id
        )
        return MemoriesFound.model_validate(found)

    @operation(idempotent=True)
    async def semantic_search(
        self, query: str, k: Count = 5, filters: MemoryFilters | None = None, user_id: str = ""
    ) -> MemoryHits:
        """Return the memories of one user that answer `query` or come near it, best first, each with its evidence."""
        return MemoryHits.model_validate(
            await self._ask("semantic_search", query=query, k=k, filters=filters, user_id=user_id)
        )

    @operation(idempotent=True)
    async def get_children(
        self,
        parent_id: str,
        limit: Count = 50,
        sort_field: SortField = "created_at",
        sort_order: Literal["asc", "desc"] = "desc",
    ) -> MemoryChildren:
        """Return the children of a memory, sorted."""
        found = await self._ask(
            "get_children", parent_id=parent_id, limit=limit, sort_field=sort_field, sort_order=sort_order
        )
        return MemoryChildren.model_validate(found)

    @operation
    async def update_memory(
        self, memory_id: str, content: str | None = None, importance: Share | None = None,
        tags: list[str] | None = None, metadata: dict[str, Any] | None = None,
        memory_tier: MemoryTier | None = None, expires_at: float | None = None,
    ) -> Updated:  # fmt: skip
        """Change what is given of a memory; return whether it exists."""
        return Updated.model_validate(
            await self._ask(
                "update_memory", memory_id=memory_id, content=content, importance=importance, tags=tags,
                metadata=metadata, memory_tier=memory_tier, expires_at=expires_at,
            )
        )  # fmt: skip

    @operation
    async def forget_memory(self, content: str, user_id: str = "") -> Forgotten:
        """Delete the memories of one user that say what `content` says, and return their texts."""
        return Forgotten.model_validate(await self._ask("forget_memory", content=content, user_id=user_id))

    @operation(idempotent=True)
    async def delete_memory(self, memory_id: str, cascade: bool = False) -> Deleted:
        """Remove a memory, with `cascade` everything below it as well."""
        return Deleted.model_validate(await self._ask("delete_memory", memory_id=memory_id, cascade=cascade))

    @operation
    async def reinforce_memory(
        self, memory_id: str, reinforcement_factor: Annotated[float, Field(gt=0, le=10)] = 1.2
    ) -> Reinforced:
        """Multiply the importance of a memory, up to 1; null when there is none of that id."""
        found = await self._ask("reinforce_memory", memory_id=memory_id, reinforcement_factor=reinforcement_factor)
        return Reinforced.model_validate(found)

    @operation(idempotent=True)
    async def add_relationship(self, source_id: str, target_id: str, relation_type: str, strength: Share = 1.0) -> None:
        """Link two memories; both must exist."""
        await self._ask(
            "add_relationship", source_id=source_id, target_id=target_id, relation_type=relation_type, strength=strength
        )

    @operation(idempotent=True)
    async def get_related(self, memory_id: str, relation_type: str | None = None, limit: Count = 50) -> RelatedMemories:
        """Return what is linked to a memory, the strongest link first."""
        found = await self._ask("get_related", memory_id=memory_id, relation_type=relation_type, limit=limit)
        return RelatedMemories.model_validate(found)

    @operation
    async def create_context_group(self, name: str, description: str = "") -> GroupCreated:
        """Make a group that memories can be put into, and return its id."""
        return GroupCreated.model_validate(await self._ask("create_context_group", name=name, description=description))

    @operation(idempotent=True)
    async def add_to_group(self, group_id: str, memory_id: str) -> None:
        """Put a memory into a group; both must exist."""
        await self._ask("add_to_group", group_id=group_id, memory_id=memory_id)

    @operation(idempotent=True)
    async def get_memories_by_group(self, group_id: str) -> MemoryList:
        """Return the memories of a group, the oldest first."""
        return MemoryList.model_validate(await self._ask("get_memories_by_group", group_id=group_id))

    async def _ask(self, operation: str, **arguments: Any) -> Any:
        return await self.request(f"memory_orchestrator.{operation}", timeout=self.config.timeout_s, **arguments)
