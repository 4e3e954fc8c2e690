"""The doorway: every call reaches the orchestrator, and it says which host is away."""

from __future__ import annotations

import pytest

from mesh import Unreachable
from mesh.testing import InMemoryMesh, in_mesh

CLIENT = "agents/mainpc/memory_client.py:MemoryClient"
ORCHESTRATOR = "agents/pc2/memory_orchestrator.py:MemoryOrchestrator"


async def start(mesh: InMemoryMesh) -> None:
    await mesh.add("memory_orchestrator", ORCHESTRATOR, host="pc2")
    await mesh.add("memory_client", CLIENT)


@in_mesh
async def test_every_operation_reaches_the_orchestrator(mesh: InMemoryMesh) -> None:
    await start(mesh)
    session = (await mesh.request("memory_client.create_session", user_id="ann"))["session_id"]
    first = (
        await mesh.request(
            "memory_client.add_memory", content="Anna lives in Oslo", user_id="ann", parent_id=session, created_by="nlu"
        )
    )["memory_id"]
    (second,) = (
        await mesh.request("memory_client.batch_add_memories", memories=[{"content": "Oslo is cold", "user_id": "ann"}])
    )["memory_ids"]
    memory = (await mesh.request("memory_client.get_memory", memory_id=first))["memory"]
    assert memory["metadata"] == {"created_by": "nlu"}
    assert len((await mesh.request("memory_client.batch_get_memories", memory_ids=[first, second]))["memories"]) == 2
    assert (await mesh.request("memory_client.search_memory", query="cold", user_id="ann"))["count"] == 1
    (hit, *_) = (await mesh.request("memory_client.semantic_search", query="Where does Anna live?", user_id="ann"))[
        "results"
    ]
    assert hit["evidence"]["answers"]
    (child,) = (await mesh.request("memory_client.get_children", parent_id=session))["children"]
    assert child["memory_id"] == first
    assert (await mesh.request("memory_client.update_memory", memory_id=first, importance=0.5)) == {"updated": True}
    assert (await mesh.request("memory_client.reinforce_memory", memory_id=first))["new_importance"] == pytest.approx(
        0.6
    )
    await mesh.request("memory_client.add_relationship", source_id=first, target_id=second, relation_type="about")
    (link,) = (await mesh.request("memory_client.get_related", memory_id=first))["related"]
    assert link["memory"]["memory_id"] == second
    group = (await mesh.request("memory_client.create_context_group", name="places"))["group_id"]
    await mesh.request("memory_client.add_to_group", group_id=group, memory_id=first)
    assert len((await mesh.request("memory_client.get_memories_by_group", group_id=group))["memories"]) == 1
    assert (await mesh.request("memory_client.forget_memory", content="Oslo is cold", user_id="ann"))["forgotten"] == [
        "Oslo is cold"
    ]
    assert (await mesh.request("memory_client.delete_memory", memory_id=session, cascade=True))["deleted"] == 2


@in_mesh
async def test_says_which_host_is_away(mesh: InMemoryMesh) -> None:
    await start(mesh)
    mesh.cut("pc2")
    with pytest.raises(Unreachable, match="pc2"):
        await mesh.request("memory_client.add_memory", content="Anna lives in Oslo")
    mesh.mend("pc2")
    await mesh.request("memory_client.add_memory", content="Anna lives in Oslo")
