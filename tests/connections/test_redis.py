"""A real Redis, well and unwell: shared connections, one try, limits, and errors that say what to do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError, WatchError

from mesh.clock import Clock
from mesh.config import ConnectionsConfig, RedisConfig
from mesh.connections import AgentConnections, Connections
from mesh.errors import DeadlineExceeded, EngineMissing, InvalidArgument, MeshError, Overloaded, Unreachable
from tests.connections.slow_proxy import slow_proxy
from tests.eventually import eventually, wait_until
from tests.redis_server import RedisServer, redis_running


@asynccontextmanager
async def connected(url: str, **settings: Any) -> AsyncIterator[Connections]:
    """Give started connections to the Redis at `url`."""
    made = Connections(ConnectionsConfig(redis=RedisConfig(url=url, **settings)), Clock())
    made.start()
    try:
        yield made
    finally:
        await made.close()


def state(connections: Connections) -> str:
    return connections.redis.health.state


async def refused(work: Any) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await work
    return caught.value


def test_two_agents_share_one_bounded_pool(redis_server: RedisServer) -> None:
    async def scenario() -> tuple[list[Any], tuple[int, int, int], tuple[str, ...]]:
        async with connected(redis_server.url, pool=3) as connections:
            one, two = connections.of("one").redis, connections.of("two").redis
            await one.set("key", b"\x00value")
            values = await asyncio.gather(*(client.get("key") for client in (one, two) for _ in range(25)))
            return values, connections.redis.pool(), connections.figures()[0].users

    values, (in_use, opened, most), users = asyncio.run(scenario())
    assert values == [b"\x00value"] * 50
    assert in_use == 0 and 1 <= opened <= 3 and most == 3
    assert users == ("one", "two")


def test_pipelines_are_done_whole_and_a_watched_key_that_changes_stops_them(redis_server: RedisServer) -> None:
    async def scenario() -> tuple[list[Any], Any]:
        async with connected(redis_server.url) as connections:
            redis = connections.of("one").redis
            async with redis.pipeline() as pipe:
                pipe.set("a", "1")
                pipe.incr("a")
                pipe.get("a")
                done = await pipe.execute()
            async with redis.pipeline() as pipe:
                await pipe.watch("a")
                await redis.set("a", "changed")
                pipe.multi()  # type: ignore[no-untyped-call]  # redis-py's own
                pipe.set("a", "mine")
                with pytest.raises(WatchError):
                    await pipe.execute()
            return done, await redis.get("a")

    assert asyncio.run(scenario()) == ([True, 2, b"2"], b"changed")


def test_a_mistake_in_a_command_stays_the_error_it_is(redis_server: RedisServer) -> None:
    async def scenario() -> str:
        async with connected(redis_server.url) as connections:
            redis = connections.of("one").redis
            await redis.set("text", "no list")
            with pytest.raises(ResponseError, match="WRONGTYPE"):
                await redis.lpush("text", "x")
            return state(connections)

    assert asyncio.run(scenario()) == "ok"


def test_a_server_that_is_not_there_is_told_and_recovers_by_itself(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")

    async def scenario() -> tuple[MeshError, list[str]]:
        async with connected(server.url) as connections:
            handed = connections.of("one")
            error = await refused(handed.redis.get("key"))
            limits = handed.limits()
            await asyncio.to_thread(server.start)
            await eventually(lambda: state(connections) == "ok", 20)
            assert handed.limits() == []
            assert await handed.redis.set("key", "value")
            return error, limits

    try:
        error, limits = asyncio.run(scenario())
    finally:
        server.kill()
    assert isinstance(error, Unreachable) and error.details["began"] == "no"
    assert f"Redis at 127.0.0.1:{server.port}/0 cannot be reached" in error.message
    assert "connections.redis" in error.message and "is it running" in error.message
    assert limits and f"127.0.0.1:{server.port}" in limits[0]


def test_a_server_that_ends_and_comes_back_is_used_again_with_what_it_had(redis_server: RedisServer) -> None:
    async def scenario() -> tuple[MeshError, Any]:
        async with connected(redis_server.url) as connections:
            redis = connections.of("one").redis
            await redis.set("key", "accepted")
            await asyncio.to_thread(redis_server.kill)
            error = await refused(redis.set("key", "not accepted"))
            await eventually(lambda: state(connections) == "down", 20)
            await asyncio.to_thread(redis_server.start)
            await eventually(lambda: state(connections) == "ok", 20)
            return error, await redis.get("key")

    error, value = asyncio.run(scenario())
    assert isinstance(error, Unreachable)
    assert value == b"accepted"


def test_a_server_that_stands_still_costs_no_more_than_the_limit(redis_server: RedisServer) -> None:
    async def scenario() -> tuple[MeshError, MeshError, Any]:
        async with connected(redis_server.url, timeout_s=1.5) as connections:
            redis = connections.of("one").redis
            await redis.set("key", "value")
            with redis_server.paused():
                first = await refused(redis.get("key"))
                await eventually(lambda: state(connections) == "down", 20)
                hurried = await refused(connections.of("two", remaining=lambda: 0.05).redis.get("key"))
            await eventually(lambda: state(connections) == "ok", 20)
            return first, hurried, await redis.get("key")

    error, hurried, value = asyncio.run(scenario())
    assert isinstance(error, DeadlineExceeded) and "within 1.5 s" in error.message
    assert isinstance(hurried, DeadlineExceeded) and "within 0.05 s" in hurried.message
    assert value == b"value"


def test_a_caller_in_a_hurry_says_nothing_about_the_server(redis_server: RedisServer) -> None:
    async def scenario() -> str:
        async with slow_proxy(redis_server.port) as proxy, connected(f"redis://127.0.0.1:{proxy.port}/0") as slow:
            await eventually(lambda: state(slow) == "ok", 20)
            proxy.delay = 1.0
            await refused(slow.of("one", remaining=lambda: 0.05).redis.get("key"))
            late = await refused(slow.of("one", remaining=lambda: -1.0).redis.get("key"))
            assert late.details["began"] == "no"
            return state(slow)

    assert asyncio.run(scenario()) == "ok"


def test_answers_that_come_too_late_never_reach_another_caller(redis_server: RedisServer) -> None:
    async def scenario() -> list[Any]:
        async with slow_proxy(redis_server.port) as proxy, connected(
            f"redis://127.0.0.1:{proxy.port}/0", pool=2, timeout_s=20.0
        ) as connections:
            redis = connections.of("one").redis
            for number in range(10):
                await redis.set(f"key{number}", f"value{number}")
            proxy.delay = 2.0
            hurried = connections.of("two", remaining=lambda: 0.05).redis
            for number in range(5):
                await refused(hurried.get(f"key{number}"))
                waiting = asyncio.ensure_future(redis.get(f"key{number}"))
                await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            proxy.delay = 0.0
            return [await redis.get(f"key{number}") for number in range(10)]

    assert asyncio.run(scenario()) == [f"value{number}".encode() for number in range(10)]


def test_a_command_whose_answer_was_lost_is_not_sent_twice(redis_server: RedisServer) -> None:
    async def scenario() -> tuple[MeshError, Any]:
        async with slow_proxy(redis_server.port) as proxy, connected(f"redis://127.0.0.1:{proxy.port}/0") as slow, \
                connected(redis_server.url) as direct:
            redis = slow.of("one").redis
            await redis.set("count", 0)
            proxy.delay = 1.5
            counting = asyncio.ensure_future(redis.incr("count"))
            await asyncio.to_thread(wait_until, lambda: redis_server.tell("GET", "count").endswith("1\r\n"))
            reader = direct.of("two").redis
            proxy.cut()
            error = await refused(counting)
            return error, await reader.get("count")

    error, count = asyncio.run(scenario())
    assert isinstance(error, Unreachable) and error.details["began"] == "unknown"
    assert count == b"1"


def test_who_finds_no_connection_free_is_told_what_to_raise(redis_server: RedisServer) -> None:
    async def scenario() -> MeshError:
        async with connected(redis_server.url, pool=1, timeout_s=0.5) as connections:
            redis = connections.of("one").redis
            async with redis.pipeline() as pipe:
                await pipe.watch("key")  # holds the only connection
                errors = await asyncio.gather(*(refused(redis.get("key")) for _ in range(3)))
            assert await redis.get("key") is None
            return errors[0]

    error = asyncio.run(scenario())
    assert isinstance(error, (Overloaded, DeadlineExceeded))


def test_a_full_server_refuses_writes_with_the_way_out_and_recovers(redis_server: RedisServer) -> None:
    async def scenario() -> tuple[MeshError, list[str], Any]:
        async with connected(redis_server.url) as connections:
            handed = connections.of("one")
            await handed.redis.set("key", "accepted")
            with redis_server.full():
                error = await refused(handed.redis.set("key", "x" * 1000))
                pipe = handed.redis.pipeline()
                pipe.set("key", "y")
                pipe.set("other", "z")
                assert isinstance(await refused(pipe.execute()), Overloaded)
                await eventually(lambda: state(connections) == "down", 20)
                limits = handed.limits()
                assert await handed.redis.get("key") == b"accepted"
            await eventually(lambda: state(connections) == "ok", 20)
            return error, limits, await handed.redis.set("key", "again")

    error, limits, again = asyncio.run(scenario())
    assert isinstance(error, Overloaded) and "maxmemory" in error.message and "nothing was stored" in error.message
    assert error.details["retry_after"] > 0
    assert limits and "full" in limits[0]
    assert again


@pytest.mark.parametrize(("given", "told"), [("wrong-secret", "is not the one it takes"), ("", "is not set")])
def test_a_refused_password_is_named_by_its_variable_and_never_shown(
    given: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", given)
    caplog.set_level(logging.DEBUG)

    async def scenario(server: RedisServer) -> tuple[MeshError, str, str]:
        async with connected(server.url, password_env="REDIS_PASSWORD") as connections:
            handed = connections.of("one")
            error = await refused(handed.redis.get("key"))
            return error, repr(connections.figures()), repr(connections.config)

    with redis_running(tmp_path / "redis", password="right-secret") as server:
        error, figures, config = asyncio.run(scenario(server))
    assert isinstance(error, EngineMissing)
    assert "REDIS_PASSWORD" in error.message and told in error.message
    assert error.details["command"] == "export REDIS_PASSWORD=…"
    if given:
        assert all(given not in text for text in (error.message, figures, config, caplog.text))


def test_a_password_that_nobody_named_is_asked_for(tmp_path: Path) -> None:
    async def scenario(server: RedisServer) -> MeshError:
        async with connected(server.url) as connections:
            return await refused(connections.of("one").redis.get("key"))

    with redis_running(tmp_path / "redis", password="right-secret") as server:
        error = asyncio.run(scenario(server))
    assert isinstance(error, EngineMissing) and "password_env" in error.message


def test_the_right_password_lets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "right-secret")

    async def scenario(server: RedisServer) -> Any:
        async with connected(server.url, password_env="REDIS_PASSWORD") as connections:
            return await connections.of("one").redis.set("key", "value")

    with redis_running(tmp_path / "redis", password="right-secret") as server:
        assert asyncio.run(scenario(server))


def test_without_a_redis_in_config_the_error_says_what_to_add() -> None:
    handed = Connections(ConnectionsConfig(), Clock()).of("one")
    with pytest.raises(EngineMissing, match="names no Redis") as caught:
        _ = handed.redis
    assert "connections" in caught.value.details["command"]


def test_an_agent_of_another_thread_uses_the_same_pool(redis_server: RedisServer) -> None:
    async def scenario() -> tuple[Any, tuple[int, int, int]]:
        home = asyncio.get_running_loop()
        async with connected(redis_server.url) as connections:
            async def carry(make: Callable[[], Any]) -> Any:
                if asyncio.get_running_loop() is home:
                    return await make()
                return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(make(), home))

            handed = connections.of("threaded", carry=carry)

            async def there(redis: Any) -> Any:
                async with redis.pipeline() as pipe:
                    await pipe.watch("key")
                    pipe.multi()
                    await pipe.set("key", "from the thread").execute()
                with pytest.raises(InvalidArgument):
                    redis.pubsub()
                return await redis.get("key")

            value = await asyncio.to_thread(lambda: asyncio.run(there(handed.redis)))
            return value, connections.redis.pool()

    value, (in_use, opened, _) = asyncio.run(scenario())
    assert value == b"from the thread"
    assert in_use == 0 and opened >= 1


def test_closing_closes_every_connection(redis_server: RedisServer) -> None:
    async def scenario() -> int:
        async with connected(redis_server.url) as connections:
            await asyncio.gather(*(connections.of("one").redis.get("key") for _ in range(5)))
        return len([line for line in redis_server.tell("CLIENT", "LIST").splitlines() if "addr=" in line])

    assert asyncio.run(scenario()) == 1  # the one that asks


def test_a_change_of_health_is_told_once(redis_server: RedisServer) -> None:
    told: list[str] = []

    async def scenario() -> None:
        config = ConnectionsConfig(redis=RedisConfig(url=redis_server.url, timeout_s=1.5))
        connections = Connections(config, Clock(), lambda target: told.append(target.health.state))
        connections.start()
        handed: AgentConnections = connections.of("one")
        await eventually(lambda: told == ["ok"], 20)
        with redis_server.paused():
            await asyncio.gather(*(refused(handed.redis.get("key")) for _ in range(10)))
        await eventually(lambda: told[-1] == "ok" and len(told) > 1, 20)
        await connections.close()

    asyncio.run(scenario())
    assert told[0] == told[-1] == "ok" and set(told[1:-1]) == {"down"}
