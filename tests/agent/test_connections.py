"""An agent's `self.connections`: handed by its host, degraded while a server is away, well again by itself."""

from __future__ import annotations

import asyncio

import pytest

from mesh import Agent, EngineMissing, Unreachable, operation
from mesh.config import ConnectionsConfig, RedisConfig
from mesh.testing import InMemoryMesh
from tests.eventually import eventually
from tests.realtime import RealTime
from tests.redis_server import RedisServer


class Counter(Agent):
    """Counts in Redis."""

    @operation
    async def count(self) -> int:
        return int(await self.connections.redis.incr("count"))


@pytest.mark.parametrize("isolation", ["coroutine", "thread"])
def test_an_agent_is_degraded_while_its_redis_is_away_and_recovers(redis_server: RedisServer, isolation: str) -> None:
    async def scenario() -> None:
        config = ConnectionsConfig(redis=RedisConfig(url=redis_server.url))
        async with InMemoryMesh(clock=RealTime(), connections=config) as mesh:  # type: ignore[arg-type]
            cell = await mesh.add("counter", Counter, isolation=isolation)
            other = await mesh.add("bystander", Counter)
            assert await mesh.request("counter.count") == 1
            await asyncio.to_thread(redis_server.kill)
            with pytest.raises(Unreachable, match=r"Redis at 127\.0\.0\.1"):
                await mesh.request("counter.count")
            await eventually(lambda: cell.state.value == "degraded", 20)
            assert f"127.0.0.1:{redis_server.port}" in cell.lifecycle.reason
            assert other.state.value == "ready"
            await asyncio.to_thread(redis_server.start)
            await eventually(lambda: cell.state.value == "ready", 20)
            assert await mesh.request("counter.count") == 2

    asyncio.run(scenario())


def test_an_agent_that_is_gone_uses_nothing_any_more(redis_server: RedisServer) -> None:
    async def scenario() -> None:
        config = ConnectionsConfig(redis=RedisConfig(url=redis_server.url))
        async with InMemoryMesh(connections=config) as mesh:
            cell = await mesh.add("counter", Counter)
            await mesh.request("counter.count")
            connections = mesh._host("mainpc").connections
            assert connections.figures()[0].users == ("counter",)
            await cell.stop("the test wants it")
            assert connections.figures()[0].users == ()

    asyncio.run(scenario())


def test_a_mesh_without_redis_says_what_to_add_to_which_file() -> None:
    async def scenario() -> None:
        async with InMemoryMesh() as mesh:
            await mesh.add("counter", Counter)
            with pytest.raises(EngineMissing, match=r"config/hosts.yaml names no Redis; add `connections"):
                await mesh.request("counter.count")

    asyncio.run(scenario())
