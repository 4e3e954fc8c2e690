"""Facts by topic: exact topics first, questions by meaning, no conversation among them."""

from __future__ import annotations

from typing import Any

import pytest

from mesh import InvalidArgument
from mesh.testing import InMemoryMesh, in_mesh

ORCHESTRATOR = "agents/pc2/memory_orchestrator.py:MemoryOrchestrator"
CLIENT = "agents/mainpc/memory_client.py:MemoryClient"
KNOWLEDGE = "agents/mainpc/knowledge_base.py:KnowledgeBase"


async def start(mesh: InMemoryMesh) -> None:
    await mesh.add("memory_orchestrator", ORCHESTRATOR, host="pc2")
    await mesh.add("memory_client", CLIENT)
    await mesh.add("knowledge_base", KNOWLEDGE)


async def fact(mesh: InMemoryMesh, topic: str) -> str | None:
    found = (await mesh.request("knowledge_base.get_fact", topic=topic))["fact"]
    return None if found is None else str(found["content"])


@in_mesh
async def test_a_fact_is_kept_for_good_under_its_topic(mesh: InMemoryMesh) -> None:
    await start(mesh)
    added = await mesh.request(
        "knowledge_base.add_fact", topic="Brastov engine", content="It was built in 1931 by Olm Works."
    )
    stored = (await mesh.request("memory_client.get_memory", memory_id=added["memory_id"]))["memory"]
    assert (stored["memory_type"], stored["memory_tier"], stored["importance"]) == ("knowledge_fact", "long", 0.8)
    assert stored["tags"] == ["brastov engine"]
    assert await fact(mesh, "BRASTOV ENGINE") == "It was built in 1931 by Olm Works."
    assert await fact(mesh, "tides") is None


@in_mesh
async def test_answers_a_question_in_other_words(mesh: InMemoryMesh) -> None:
    await start(mesh)
    await mesh.request("knowledge_base.add_fact", topic="engine", content="The Brastov engine was built by Olm Works.")
    await mesh.request("knowledge_base.add_fact", topic="engine", content="The Brastov engine weighs 340 kilos.")
    (best, *_) = (await mesh.request("knowledge_base.search_facts", query="How heavy is the Brastov engine?"))[
        "results"
    ]
    assert "340" in best["content"]
    assert best["evidence"]["answers"]


@in_mesh
async def test_finds_facts_only(mesh: InMemoryMesh) -> None:
    await start(mesh)
    await mesh.request("memory_client.add_memory", content="The Brastov engine is loud", memory_type="interaction")
    assert (await mesh.request("knowledge_base.search_facts", query="Brastov engine"))["results"] == []
    assert await fact(mesh, "Brastov engine") is None


@in_mesh
async def test_updates_by_topic_or_by_id(mesh: InMemoryMesh) -> None:
    await start(mesh)
    old = await mesh.request("knowledge_base.add_fact", topic="tea", content="Tea is at four.")
    await mesh.clock.advance(1)
    await mesh.request("knowledge_base.add_fact", topic="tea", content="Tea is green.")
    assert await mesh.request("knowledge_base.update_fact", topic="Tea", content="Tea is black.") == {"updated": True}
    assert await fact(mesh, "tea") == "Tea is black."
    assert await mesh.request("knowledge_base.update_fact", memory_id=old["memory_id"], content="Tea is at five.") == {
        "updated": True
    }
    assert await mesh.request("knowledge_base.update_fact", topic="coffee", content="x") == {"updated": False}
    assert await mesh.request("knowledge_base.update_fact", memory_id="mem-none", content="x") == {"updated": False}


@in_mesh
async def test_refuses_what_is_empty(mesh: InMemoryMesh) -> None:
    await start(mesh)
    empty: list[dict[str, Any]] = [{"topic": "", "content": "x"}, {"topic": "x", "content": " "}]
    for arguments in empty:
        with pytest.raises(InvalidArgument):
            await mesh.request("knowledge_base.add_fact", **arguments)
