"""The shared memory: storing, finding by meaning, keeping users apart, links, fading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesh import InvalidArgument
from mesh.testing import InMemoryMesh, in_mesh
from tests.eventually import eventually

ORCHESTRATOR = "agents/pc2/memory_orchestrator.py:MemoryOrchestrator"
DAY = 86_400.0


async def start(mesh: InMemoryMesh) -> None:
    await mesh.add("memory_orchestrator", ORCHESTRATOR, host="pc2")


async def tell(mesh: InMemoryMesh, content: str, **more: Any) -> str:
    added = await mesh.request("memory_orchestrator.add_memory", content=content, **more)
    return str(added["memory_id"])


async def recall(mesh: InMemoryMesh, query: str, **more: Any) -> list[dict[str, Any]]:
    found = await mesh.request("memory_orchestrator.semantic_search", query=query, **more)
    return [hit for hit in found["results"] if hit["evidence"]["answers"]]


async def becomes(mesh: InMemoryMesh, memory_id: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Read a memory until the sweep, which runs beside the test, has come to it."""
    for _ in range(500):
        memory = (await mesh.request("memory_orchestrator.get_memory", memory_id=memory_id))["memory"]
        if wanted(memory):
            return dict(memory)
    raise AssertionError(f"the sweep left {memory}")


@in_mesh
async def test_answers_a_question_in_other_words(mesh: InMemoryMesh) -> None:
    await start(mesh)
    await tell(mesh, "my sister's birthday is on June 3", user_id="ann")
    await tell(mesh, "my sister lives in Farnham", user_id="ann")
    for question in ("When is my sister's birthday?", "When was my sister born?"):
        (hit,) = await recall(mesh, question, user_id="ann")
        assert hit["content"] == "my sister's birthday is on June 3"
        assert 0.6 <= hit["score"] <= 1


@in_mesh
async def test_survives_a_restart(mesh: InMemoryMesh) -> None:
    await start(mesh)
    await tell(mesh, "Mirel Quonn plays the oboe", user_id="ann")
    await mesh.restart("memory_orchestrator")
    assert await recall(mesh, "Which instrument does Mirel Quonn play?", user_id="ann")


@in_mesh
async def test_nobody_finds_the_memories_of_another_user(mesh: InMemoryMesh) -> None:
    await start(mesh)
    await tell(mesh, "the code of the safe is K1234", user_id="ann")
    for user in ("bob", ""):
        found = await mesh.request(
            "memory_orchestrator.semantic_search", query="What is the code of the safe?", user_id=user
        )
        assert found["results"] == []
        text = await mesh.request("memory_orchestrator.search_memory", query="safe", user_id=user)
        assert text == {"results": [], "count": 0}


@in_mesh
async def test_a_newer_memory_replaces_the_older_one_in_answers(mesh: InMemoryMesh) -> None:
    await start(mesh)
    await tell(mesh, "my sister's birthday is on June 3")
    await tell(mesh, "my sister's birthday is on June 4 now")
    (hit,) = await recall(mesh, "When is my sister's birthday?")
    assert "June 4" in hit["content"]


@in_mesh
async def test_of_things_one_may_have_many_of_all_are_answers(mesh: InMemoryMesh) -> None:
    await start(mesh)
    await tell(mesh, "Anna is allergic to walnuts")
    await tell(mesh, "Anna is allergic to soy")
    assert len(await recall(mesh, "What is Anna allergic to?")) == 2


@in_mesh
async def test_filters_narrow_a_search(mesh: InMemoryMesh) -> None:
    await start(mesh)
    await tell(mesh, "Anna lives in Oslo", memory_type="interaction", tags=["user"])
    await tell(mesh, "Anna lives in Bergen", importance=0.2)
    hits = await recall(mesh, "Where does Anna live?", filters={"exclude_types": ["interaction"]})
    assert [hit["content"] for hit in hits] == ["Anna lives in Bergen"]
    hits = await recall(mesh, "Where does Anna live?", filters={"tags": ["user"]})
    assert [hit["content"] for hit in hits] == ["Anna lives in Oslo"]
    assert await recall(mesh, "Where does Anna live?", filters={"min_importance": 0.5, "memory_type": "general"}) == []


@in_mesh
async def test_search_by_words_takes_beginnings_and_falls_back_to_any_word(mesh: InMemoryMesh) -> None:
    await start(mesh)
    await tell(mesh, "the green boat is in the harbour")
    await tell(mesh, "the red boat is in the shed")
    found = await mesh.request("memory_orchestrator.search_memory", query="green boat")
    assert found["count"] == 1
    assert (await mesh.request("memory_orchestrator.search_memory", query="harb"))["count"] == 1
    assert (await mesh.request("memory_orchestrator.search_memory", query="purple boat"))["count"] == 2
    assert (await mesh.request("memory_orchestrator.search_memory", query='"( *'))["count"] == 0


@in_mesh
async def test_reading_counts_and_nothing_is_null(mesh: InMemoryMesh) -> None:
    await start(mesh)
    memory_id = await tell(mesh, "the kettle is loud")
    assert memory_id.startswith("mem-")
    for count in (1, 2):
        found = await mesh.request("memory_orchestrator.get_memory", memory_id=memory_id)
        assert found["memory"]["access_count"] == count
    assert found["memory"]["importance"] == 1.0
    assert (await mesh.request("memory_orchestrator.get_memory", memory_id="mem-none")) == {"memory": None}


@in_mesh
async def test_changed_text_is_found_by_its_new_words_only(mesh: InMemoryMesh) -> None:
    await start(mesh)
    memory_id = await tell(mesh, "Anna plays the oboe")
    assert await mesh.request(
        "memory_orchestrator.update_memory", memory_id=memory_id, content="Anna plays the harp"
    ) == {"updated": True}
    (hit,) = await recall(mesh, "What instrument does Anna play?")
    assert hit["content"] == "Anna plays the harp"
    assert (await mesh.request("memory_orchestrator.search_memory", query="oboe"))["count"] == 0
    assert await mesh.request("memory_orchestrator.update_memory", memory_id="mem-none", importance=0.1) == {
        "updated": False
    }


@in_mesh
async def test_reinforcing_stops_at_one(mesh: InMemoryMesh) -> None:
    await start(mesh)
    memory_id = await tell(mesh, "the kettle is loud", importance=0.5)
    once = await mesh.request("memory_orchestrator.reinforce_memory", memory_id=memory_id)
    assert once["new_importance"] == pytest.approx(0.6)
    much = await mesh.request("memory_orchestrator.reinforce_memory", memory_id=memory_id, reinforcement_factor=5)
    assert much["new_importance"] == 1.0
    assert (await mesh.request("memory_orchestrator.reinforce_memory", memory_id="mem-none"))["new_importance"] is None


@in_mesh
async def test_deleting_takes_children_along_only_when_asked(mesh: InMemoryMesh) -> None:
    await start(mesh)
    parent = await tell(mesh, "the journey")
    child = await tell(mesh, "the first day", parent_id=parent)
    await tell(mesh, "the first morning", parent_id=child)
    assert (await mesh.request("memory_orchestrator.delete_memory", memory_id=parent))["deleted"] == 1
    assert (await mesh.request("memory_orchestrator.delete_memory", memory_id=child, cascade=True))["deleted"] == 2
    assert (await mesh.request("memory_orchestrator.delete_memory", memory_id=child, cascade=True))["deleted"] == 0


@in_mesh
async def test_children_come_sorted(mesh: InMemoryMesh) -> None:
    await start(mesh)
    parent = await tell(mesh, "the list")
    for content in ("b", "c", "a"):
        await tell(mesh, content, parent_id=parent)
    found = await mesh.request(
        "memory_orchestrator.get_children", parent_id=parent, sort_field="content", sort_order="asc", limit=2
    )
    assert [child["content"] for child in found["children"]] == ["a", "b"]


@in_mesh
async def test_links_are_found_from_both_ends_the_strongest_first(mesh: InMemoryMesh) -> None:
    await start(mesh)
    first, second, third = [await tell(mesh, text) for text in ("one", "two", "three")]
    await mesh.request(
        "memory_orchestrator.add_relationship", source_id=first, target_id=second, relation_type="before", strength=0.4
    )
    await mesh.request(
        "memory_orchestrator.add_relationship", source_id=third, target_id=first, relation_type="because"
    )
    related = (await mesh.request("memory_orchestrator.get_related", memory_id=first))["related"]
    assert [(link["memory"]["content"], link["relation_type"]) for link in related] == [
        ("three", "because"),
        ("two", "before"),
    ]
    with pytest.raises(InvalidArgument, match="mem-none"):
        await mesh.request(
            "memory_orchestrator.add_relationship", source_id=first, target_id="mem-none", relation_type="x"
        )


@in_mesh
async def test_groups_hold_memories(mesh: InMemoryMesh) -> None:
    await start(mesh)
    ids = (
        await mesh.request("memory_orchestrator.batch_add_memories", memories=[{"content": "one"}, {"content": "two"}])
    )["memory_ids"]
    group = (await mesh.request("memory_orchestrator.create_context_group", name="numbers"))["group_id"]
    for memory_id in ids:
        await mesh.request("memory_orchestrator.add_to_group", group_id=group, memory_id=memory_id)
    members = (await mesh.request("memory_orchestrator.get_memories_by_group", group_id=group))["memories"]
    assert [member["content"] for member in members] == ["one", "two"]
    with pytest.raises(InvalidArgument, match="group-none"):
        await mesh.request("memory_orchestrator.add_to_group", group_id="group-none", memory_id=ids[0])


@in_mesh
async def test_forgetting_deletes_what_says_it_and_nothing_else(mesh: InMemoryMesh) -> None:
    await start(mesh)
    await tell(mesh, "my sister's birthday is on June 3", user_id="ann")
    await tell(mesh, "my brother's birthday is on June 3", user_id="ann")
    await tell(mesh, "my sister's birthday is on June 3", user_id="bob")
    gone = await mesh.request("memory_orchestrator.forget_memory", content="my sister's birthday", user_id="ann")
    assert gone == {"forgotten": ["my sister's birthday is on June 3"]}
    assert await recall(mesh, "When is my brother's birthday?", user_id="ann")
    assert await recall(mesh, "When is my sister's birthday?", user_id="bob")


@in_mesh
async def test_a_memory_with_an_end_is_gone_after_it(mesh: InMemoryMesh) -> None:
    await start(mesh)
    memory_id = await tell(mesh, "the milk is fresh", expires_at=mesh.clock.time() + 60)
    await mesh.clock.advance(61)
    assert (await mesh.request("memory_orchestrator.get_memory", memory_id=memory_id))["memory"] is None
    assert (await mesh.request("memory_orchestrator.search_memory", query="milk"))["count"] == 0


@in_mesh
async def test_the_sweep_fades_by_the_time_since_the_last_one(mesh: InMemoryMesh) -> None:
    await start(mesh)
    memory_id = await tell(mesh, "a passing remark", importance=0.5)
    await mesh.clock.advance(DAY)
    await becomes(mesh, memory_id, lambda memory: memory["importance"] == pytest.approx(0.45, abs=0.005))


@in_mesh
async def test_related_leftovers_are_condensed_into_one_memory(mesh: InMemoryMesh) -> None:
    await start(mesh)
    parent = await tell(mesh, "the journey")
    ids = [
        await tell(mesh, f"Day {day} was sunny and we walked along the river.", parent_id=parent, importance=0.3)
        for day in range(3)
    ]
    await mesh.clock.advance(3600)
    (event,) = await eventually(lambda: mesh.events_on("memory.consolidated"))
    assert sorted(event.payload["replaces"]) == sorted(ids)
    summary = (await mesh.request("memory_orchestrator.get_memory", memory_id=event.payload["memory_id"]))["memory"]
    assert summary["memory_tier"] == "medium"
    assert summary["importance"] == pytest.approx(0.7)
    assert sorted(summary["metadata"]["source_ids"]) == sorted(ids)
    await mesh.clock.advance(3600)
    assert len(mesh.events_on("memory.consolidated")) == 1


@in_mesh
async def test_facts_and_important_memories_are_never_shortened(mesh: InMemoryMesh) -> None:
    await start(mesh)
    text = "The river is long and slow. " * 20
    fact = await tell(mesh, text, memory_type="knowledge_fact", importance=0.3)
    remark = await tell(mesh, text, importance=0.3)
    await mesh.clock.advance(3600)
    short = await becomes(mesh, remark, lambda memory: len(memory["content"]) <= 200)
    assert short["metadata"]["shortened_from"] == len(text)
    kept = (await mesh.request("memory_orchestrator.get_memory", memory_id=fact))["memory"]
    assert kept["content"] == text


@in_mesh
async def test_a_new_memory_is_announced(mesh: InMemoryMesh) -> None:
    await start(mesh)
    memory_id = await tell(mesh, "the kettle is loud")
    (event,) = mesh.events_on("memory.added")
    assert event.payload == {"memory_id": memory_id, "memory_type": "general", "memory_tier": "short"}


@in_mesh
async def test_refuses_empty_text_and_impossible_importance(mesh: InMemoryMesh) -> None:
    await start(mesh)
    for arguments in (
        {"content": "  "},
        {"content": "x", "importance": 1.5},
        {"content": "x", "memory_tier": "eternal"},
    ):
        with pytest.raises(InvalidArgument):
            await mesh.request("memory_orchestrator.add_memory", **arguments)
