"""Facts by topic that everybody may know, kept in the shared memory."""

from __future__ import annotations

from typing import Annotated, Any

from agents_shared.messages import Facts, Memory, MemoryAdded, MemoryHit, Updated
from pydantic import BaseModel, Field

from mesh import Agent, AgentConfig, InvalidArgument, operation

FACT = "knowledge_fact"
Count = Annotated[int, Field(ge=1, le=100)]


class FactFound(BaseModel):
    """The fact that fits a topic best, null when there is none."""

    fact: Memory | None


class KnowledgeBase(Agent):
    """Facts the assistant has been told for good, found again by topic or by question."""

    class Config(AgentConfig):
        results: int = 10
        timeout_s: float = 5.0

    config: Config

    @operation
    async def add_fact(self, topic: str, content: str) -> MemoryAdded:
        """Store a fact under a topic and return its id."""
        _check(topic=topic, content=content)
        added = await self._ask(
            "add_memory", content=content, memory_type=FACT, memory_tier="long", importance=0.8,
            tags=[topic.strip().lower()], metadata={"topic": topic.strip()},
        )  # fmt: skip
        return MemoryAdded.model_validate(added)

    @operation(idempotent=True)
    async def get_fact(self, topic: str) -> FactFound:
        """Return the newest fact of exactly this topic, else the fact that fits it best, else null."""
        _check(topic=topic)
        exact = await self._of_topic(topic)
        found = exact or (await self._search(topic, 1))
        return FactFound(fact=found[0] if found else None)

    @operation
    async def update_fact(self, content: str, topic: str | None = None, memory_id: str | None = None) -> Updated:
        """Give a fact a new text: that of this id, else the newest of this topic; false when there is none."""
        _check(content=content)
        if memory_id is None:
            _check(topic=topic or "")
            found = await self._of_topic(topic or "")
            if not found:
                return Updated(updated=False)
            memory_id = found[0].memory_id
        else:
            known = (await self._ask("get_memory", memory_id=memory_id))["memory"]
            if known is None or known["memory_type"] != FACT:
                return Updated(updated=False)
        return Updated.model_validate(await self._ask("update_memory", memory_id=memory_id, content=content))

    @operation(idempotent=True)
    async def search_facts(self, query: str, limit: Count | None = None) -> Facts:
        """Return facts that answer `query` or come near it, the best first; facts only, no conversation."""
        _check(query=query)
        return Facts(results=await self._search(query, limit or self.config.results))

    async def _of_topic(self, topic: str) -> list[MemoryHit]:
        """Return the facts of a topic, the newest first."""
        filters = {"memory_type": FACT, "tags": [topic.strip().lower()]}
        found = (await self._ask("semantic_search", query=topic, k=50, filters=filters))["results"]
        return sorted((MemoryHit.model_validate(hit) for hit in found), key=lambda hit: -hit.created_at)

    async def _search(self, query: str, limit: int) -> list[MemoryHit]:
        found = (await self._ask("semantic_search", query=query, k=limit, filters={"memory_type": FACT}))["results"]
        if not found:
            found = (await self._ask("search_memory", query=query, memory_type=FACT, limit=limit))["results"]
        return [MemoryHit.model_validate(hit) for hit in found]

    async def _ask(self, operation: str, **arguments: Any) -> Any:
        return await self.request(f"memory_client.{operation}", timeout=self.config.timeout_s, **arguments)


def _check(**texts: str) -> None:
    for name, text in texts.items():
        if not text.strip():
            raise InvalidArgument(f"{name} is empty; write at least one word", path=name)
