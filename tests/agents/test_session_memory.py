"""Conversations: turns below a session, limits, expiry, restarts."""

from __future__ import annotations

from typing import Any

import pytest

from mesh import InvalidArgument
from mesh.testing import InMemoryMesh, in_mesh

ORCHESTRATOR = "agents/pc2/memory_orchestrator.py:MemoryOrchestrator"
CLIENT = "agents/mainpc/memory_client.py:MemoryClient"
SESSIONS = "agents/mainpc/session_memory.py:SessionMemory"


async def start(mesh: InMemoryMesh, **settings: object) -> None:
    await mesh.add("memory_orchestrator", ORCHESTRATOR, host="pc2")
    await mesh.add("memory_client", CLIENT)
    await mesh.add("session_memory", SESSIONS, settings=settings)


async def open_session(mesh: InMemoryMesh, user: str = "ann") -> str:
    return str((await mesh.request("session_memory.create_session", user_id=user))["session_id"])


async def say(mesh: InMemoryMesh, session: str, content: str, role: str = "user") -> str:
    await mesh.clock.advance(0.01)
    added = await mesh.request("session_memory.add_interaction", session_id=session, role=role, content=content)
    return str(added["interaction_id"])


async def context(mesh: InMemoryMesh, session: str, **more: Any) -> list[str]:
    found = await mesh.request("session_memory.get_context", session_id=session, **more)
    return [f"{turn['role']}: {turn['content']}" for turn in found["context"]]


async def state_of(mesh: InMemoryMesh, session: str) -> str:
    memory = (await mesh.request("memory_client.get_memory", memory_id=session))["memory"]
    return str(memory["metadata"]["state"])


async def becomes(mesh: InMemoryMesh, session: str, state: str) -> bool:
    """Ask for the state until the sweep, which runs beside the test, has come to it."""
    for _ in range(500):
        if await state_of(mesh, session) == state:
            return True
    return False


@in_mesh
async def test_turns_come_back_oldest_first(mesh: InMemoryMesh) -> None:
    await start(mesh)
    session = await open_session(mesh)
    turn = await say(mesh, session, "Hello")
    await say(mesh, session, "Good morning", "assistant")
    await say(mesh, session, "How are you?")
    assert await context(mesh, session) == ["user: Hello", "assistant: Good morning", "user: How are you?"]
    assert await context(mesh, session, limit=1) == ["user: How are you?"]
    stored = (await mesh.request("memory_client.get_memory", memory_id=turn))["memory"]
    assert (stored["memory_type"], stored["importance"], stored["tags"], stored["user_id"]) == (
        "interaction",
        0.5,
        ["user"],
        "ann",
    )


@in_mesh
async def test_context_keeps_within_the_token_limit(mesh: InMemoryMesh) -> None:
    await start(mesh, context_tokens=30)
    session = await open_session(mesh)
    for number in range(5):
        await say(mesh, session, f"{number} " + "word " * 10)
    assert [turn[:7] for turn in await context(mesh, session)] == ["user: 3", "user: 4"]


@in_mesh
async def test_search_stays_with_the_user(mesh: InMemoryMesh) -> None:
    await start(mesh)
    first, second, other = await open_session(mesh), await open_session(mesh), await open_session(mesh, "bob")
    await say(mesh, first, "the boat leaves at nine")
    await say(mesh, second, "the boat is green")
    await say(mesh, other, "the boat is mine")
    found = (await mesh.request("session_memory.search_interactions", query="boat", user_id="ann"))["results"]
    assert sorted(each["content"] for each in found) == ["the boat is green", "the boat leaves at nine"]
    found = (await mesh.request("session_memory.search_interactions", query="boat", session_id=other))["results"]
    assert [each["content"] for each in found] == ["the boat is mine"]


@in_mesh
async def test_an_unused_session_expires_and_keeps_its_turns(mesh: InMemoryMesh) -> None:
    await start(mesh)
    session = await open_session(mesh)
    await say(mesh, session, "Hello")
    await mesh.clock.advance(3900)
    assert await becomes(mesh, session, "expired")
    assert await context(mesh, session) == ["user: Hello"]
    assert await state_of(mesh, session) == "active"


@in_mesh
async def test_the_session_unused_for_longest_makes_room(mesh: InMemoryMesh) -> None:
    await start(mesh, sessions=2)
    first, second = await open_session(mesh), await open_session(mesh)
    await say(mesh, first, "Hello")
    await open_session(mesh)
    assert await state_of(mesh, second) == "expired"
    assert await state_of(mesh, first) == "active"


@in_mesh
async def test_sessions_survive_a_restart(mesh: InMemoryMesh) -> None:
    await start(mesh)
    session = await open_session(mesh)
    await say(mesh, session, "Hello")
    await mesh.restart("session_memory")
    await say(mesh, session, "I am back")
    assert await context(mesh, session) == ["user: Hello", "user: I am back"]


@in_mesh
async def test_a_deleted_session_takes_its_turns_along(mesh: InMemoryMesh) -> None:
    await start(mesh)
    session = await open_session(mesh)
    turn = await say(mesh, session, "Hello")
    await mesh.request("session_memory.delete_session", session_id=session)
    assert (await mesh.request("memory_client.get_memory", memory_id=turn))["memory"] is None
    with pytest.raises(InvalidArgument, match="create_session"):
        await say(mesh, session, "Are you there?")
    assert await context(mesh, session) == []
