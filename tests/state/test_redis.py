"""States in Redis: hosts and meshes apart, and a Redis that is away is told and loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mesh.clock import Clock
from mesh.config import ConnectionsConfig, RedisConfig
from mesh.connections import Connections
from mesh.errors import StoreError
from mesh.state.redis import RedisStates
from tests.eventually import eventually
from tests.redis_server import RedisServer


@asynccontextmanager
async def connected(server: RedisServer) -> AsyncIterator[Connections]:
    made = Connections(ConnectionsConfig(redis=RedisConfig(url=server.url, timeout_s=10.0)), Clock())
    made.start()
    try:
        yield made
    finally:
        await made.close()


async def states(store: RedisStates, service: str) -> list[dict[str, Any]]:
    return [one.state for one in await store.history(service, 100)]


def test_hosts_and_meshes_keep_their_own(redis_server: RedisServer) -> None:
    async def scenario() -> None:
        async with connected(redis_server) as connections:
            one, other = RedisStates(connections, "home", "mainpc"), RedisStates(connections, "home", "pc2")
            third = RedisStates(connections, "away", "mainpc")
            await one.save("notes", {"of": "mainpc"})
            await other.save("notes", {"of": "pc2"})
            assert await states(one, "notes") == [{"of": "mainpc"}]
            assert await states(other, "notes") == [{"of": "pc2"}]
            assert await third.latest("notes") is None

    asyncio.run(scenario())


def test_a_redis_that_ends_is_told_and_what_was_accepted_is_there_afterwards(redis_server: RedisServer) -> None:
    async def scenario() -> None:
        async with connected(redis_server) as connections:
            store = RedisStates(connections, "home", "mainpc")
            await store.save("notes", {"step": 1})
            await asyncio.to_thread(redis_server.kill)
            with pytest.raises(StoreError, match="the state of notes cannot be kept or read: Redis at"):
                await store.save("notes", {"step": 2})
            assert connections.figures()[0].users == ("notes",)
            await asyncio.to_thread(redis_server.start)
            await eventually(lambda: connections.redis.health.state == "ok", 20)
            assert await states(store, "notes") == [{"step": 1}]
            assert await store.save("notes", {"step": 3}) == 2

    asyncio.run(scenario())


def test_a_full_redis_refuses_the_save_whole(redis_server: RedisServer) -> None:
    async def scenario() -> None:
        async with connected(redis_server) as connections:
            store = RedisStates(connections, "home", "mainpc")
            await store.save("notes", {"step": 1})
            with redis_server.full(), pytest.raises(StoreError, match="maxmemory"):
                await store.save("notes", {"step": 2})
            assert await store.save("notes", {"step": 3}) == 2
            assert await states(store, "notes") == [{"step": 3}, {"step": 1}]

    asyncio.run(scenario())


def test_what_another_program_keeps_there_is_told(redis_server: RedisServer) -> None:
    redis_server.tell("SET", "mesh:home:state:mainpc:notes", "mine")

    async def scenario() -> None:
        async with connected(redis_server) as connections:
            with pytest.raises(StoreError, match="another program"):
                await RedisStates(connections, "home", "mainpc").save("notes", {})

    asyncio.run(scenario())


def test_a_state_that_does_not_decode_is_told_with_its_version(redis_server: RedisServer) -> None:
    redis_server.tell("HSET", "mesh:home:state:mainpc:notes", "version", "1", "1", "no state at all")

    async def scenario() -> None:
        async with connected(redis_server) as connections:
            with pytest.raises(StoreError, match="version 1 of notes does not decode"):
                await RedisStates(connections, "home", "mainpc").latest("notes")

    asyncio.run(scenario())
