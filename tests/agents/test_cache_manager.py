"""The shared cache: lifetimes, caps, priorities."""

from __future__ import annotations

import pytest

from mesh import InvalidArgument, MessageTooLarge
from mesh.testing import InMemoryMesh, in_mesh

CACHE = "agents/pc2/cache_manager.py:CacheManager"
MISS = {"hit": False, "data": None}


@in_mesh
async def test_a_miss_is_told_from_a_stored_null(mesh: InMemoryMesh) -> None:
    await mesh.add("cache_manager", CACHE)
    assert await mesh.request("cache_manager.get", cache_type="nlu_results", key="hello") == MISS
    await mesh.request("cache_manager.put", cache_type="nlu_results", key="hello", value=None)
    assert await mesh.request("cache_manager.get", cache_type="nlu_results", key="hello") == {"hit": True, "data": None}


@in_mesh
async def test_each_namespace_has_its_lifetime(mesh: InMemoryMesh) -> None:
    await mesh.add("cache_manager", CACHE)
    for name in ("nlu_results", "something_else"):
        await mesh.request("cache_manager.put", cache_type=name, key="k", value={"a": [1, 2]})
    await mesh.clock.advance(299)
    assert (await mesh.request("cache_manager.get", cache_type="nlu_results", key="k"))["data"] == {"a": [1, 2]}
    await mesh.clock.advance(2)
    assert await mesh.request("cache_manager.get", cache_type="nlu_results", key="k") == MISS
    assert (await mesh.request("cache_manager.get", cache_type="something_else", key="k"))["hit"]
    await mesh.clock.advance(3600)
    assert await mesh.request("cache_manager.get", cache_type="something_else", key="k") == MISS


@in_mesh
async def test_a_lifetime_of_its_own_wins(mesh: InMemoryMesh) -> None:
    await mesh.add("cache_manager", CACHE)
    await mesh.request("cache_manager.put", cache_type="memory", key="k", value=1, ttl=10)
    await mesh.clock.advance(11)
    assert await mesh.request("cache_manager.get", cache_type="memory", key="k") == MISS
    with pytest.raises(InvalidArgument):
        await mesh.request("cache_manager.put", cache_type="memory", key="k", value=1, ttl=0)


@in_mesh
async def test_the_least_recently_used_goes_when_the_namespace_is_full(mesh: InMemoryMesh) -> None:
    await mesh.add("cache_manager", CACHE)
    for number in range(200):
        await mesh.request("cache_manager.put", cache_type="context_summaries", key=str(number), value=number)
    await mesh.request("cache_manager.get", cache_type="context_summaries", key="0")
    await mesh.request("cache_manager.put", cache_type="context_summaries", key="new", value=1)
    assert (await mesh.request("cache_manager.get", cache_type="context_summaries", key="0"))["hit"]
    assert not (await mesh.request("cache_manager.get", cache_type="context_summaries", key="1"))["hit"]


@in_mesh
async def test_low_priority_makes_room_for_high(mesh: InMemoryMesh) -> None:
    await mesh.add("cache_manager", CACHE, settings={"max_bytes": 1000})
    await mesh.request("cache_manager.put", cache_type="memory", key="k", value=b"x" * 450)
    await mesh.request("cache_manager.put", cache_type="tool_responses", key="k", value=b"x" * 450)
    await mesh.request("cache_manager.put", cache_type="context_summaries", key="k", value=b"x" * 450)
    hits = [
        (await mesh.request("cache_manager.get", cache_type=name, key="k"))["hit"]
        for name in ("memory", "tool_responses", "context_summaries")
    ]
    assert hits == [True, False, True]
    with pytest.raises(MessageTooLarge, match="max_bytes"):
        await mesh.request("cache_manager.put", cache_type="memory", key="k", value=b"x" * 2000)


@in_mesh
async def test_removing_says_what_was_there(mesh: InMemoryMesh) -> None:
    await mesh.add("cache_manager", CACHE)
    for key in ("a", "b"):
        await mesh.request("cache_manager.put", cache_type="vision", key=key, value=1)
    assert await mesh.request("cache_manager.invalidate", cache_type="vision", key="a") == {"removed": True}
    assert await mesh.request("cache_manager.invalidate", cache_type="vision", key="a") == {"removed": False}
    assert await mesh.request("cache_manager.flush", cache_type="vision") == {"removed": 1}
    assert await mesh.request("cache_manager.flush", cache_type="vision") == {"removed": 0}


@in_mesh
async def test_memory_records_go_by_their_id(mesh: InMemoryMesh) -> None:
    await mesh.add("cache_manager", CACHE)
    await mesh.request("cache_manager.cache_memory", memory_id="mem-1", data={"content": "tea"})
    assert await mesh.request("cache_manager.get_cached_memory", memory_id="mem-1") == {
        "hit": True,
        "data": {"content": "tea"},
    }
    assert await mesh.request("cache_manager.invalidate_memory_cache", memory_id="mem-1") == {"removed": True}
    assert await mesh.request("cache_manager.get_cached_memory", memory_id="mem-1") == MISS
