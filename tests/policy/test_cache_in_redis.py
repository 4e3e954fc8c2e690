"""What several hosts share of their answers in a real Redis, well and unwell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mesh.cache import Terms
from mesh.cache.shared import LIMIT_S, shared_in
from mesh.clock import Clock
from mesh.config import ConnectionsConfig, RedisConfig
from mesh.connections import Connections
from mesh.message import Reply, Request, encode
from mesh.policy.cache import HostCache
from mesh.tracing import SpanRing, Trace
from mesh.transport.deadlines import Deadlines
from tests.eventually import eventually, eventually_awaited
from tests.policy.calls import on_a_loop
from tests.redis_server import RedisServer, redis_running

FIND = Terms("kb", "find", 60.0, tags=("facts",))


class Source:
    """What all hosts ask: answers with its value, and counts."""

    def __init__(self) -> None:
        self.value = "first"
        self.asked = 0
        self.hold: asyncio.Event | None = None

    async def __call__(self, request: Request) -> Reply:
        self.asked += 1
        value = self.value
        if self.hold is not None:
            await self.hold.wait()
        return Reply(encode(value), host="pc2")


class Host:
    """One host's cache over its own connections to Redis."""

    def __init__(self, connections: Connections, source: Source, terms: Terms) -> None:
        clock = Clock()
        self.target = connections.redis
        self.shared = shared_in(connections, "home", clock)
        self.deadlines = Deadlines(clock)
        self.cache = HostCache("mainpc", clock, self.deadlines, SpanRing(), entries=100, size=10**6,
                               publish=lambda *_: None, instances=lambda _: [], changed=lambda _: None,
                               shared=self.shared)
        self._handle = self.cache.in_front_of(terms, "v1", source)

    async def ask(self, question: str = "q", timeout: float = 10.0) -> object:
        request = Request("kb", "find", encode({"q": question}), time.monotonic() + timeout, Trace.new(), "nlu@mainpc")
        return (await self._handle(request)).value()

    async def stored(self) -> None:
        """Wait until what is on its way to Redis is there."""
        await eventually(lambda: not self.shared._tasks)

    def row(self, *names: str) -> list[int]:
        row = self.cache.row("kb.find")
        return [row[name] for name in names]


@asynccontextmanager
async def hosts(url: str, source: Source, count: int = 2, terms: Terms = FIND) -> AsyncIterator[list[Host]]:
    """Give hosts that share the Redis at `url`, each with connections of its own."""
    opened = [Connections(ConnectionsConfig(redis=RedisConfig(url=url)), Clock()) for _ in range(count)]
    made = [Host(one, source, terms) for one in opened]
    for one in opened:
        one.start()
    await eventually(lambda: all(one.redis.health.state != "unknown" for one in opened), 20.0)
    try:
        yield made
    finally:
        for host in made:
            await host.cache.close()
            host.deadlines.close()
        for one in opened:
            await one.close()


def test_what_one_host_has_fetched_another_one_is_given(redis_server: RedisServer) -> None:
    @on_a_loop
    async def scenario() -> None:
        source = Source()
        async with hosts(redis_server.url, source) as (here, there):
            assert await here.ask() == "first"
            await here.stored()
            source.value = "changed"
            assert [await there.ask(), await there.ask(), await here.ask()] == ["first"] * 3
            assert source.asked == 1
            assert there.row("shared", "hits", "misses") == [1, 1, 0]
            assert await there.ask("other") == "changed"

    scenario()


def test_what_was_invalidated_is_given_by_no_host_that_heard_of_it(redis_server: RedisServer) -> None:
    @on_a_loop
    async def scenario() -> None:
        source = Source()
        async with hosts(redis_server.url, source, 3) as (here, there, late):
            await here.ask()
            await here.stored()
            source.value = "changed"
            for host in (here, there, late):
                host.cache.invalidate(["facts"])
            assert [await host.ask() for host in (here, there, late)] == ["changed"] * 3

    scenario()


def test_an_answer_that_was_fetched_before_an_invalidation_never_counts_in_redis(redis_server: RedisServer) -> None:
    @on_a_loop
    async def scenario() -> None:
        source = Source()
        async with hosts(redis_server.url, source) as (here, there):
            source.hold = asyncio.Event()
            slow = asyncio.ensure_future(here.ask())
            await eventually(lambda: source.asked == 1)
            there.cache.invalidate(["facts"])  # here has not heard of it yet
            await there.stored()
            source.hold.set()
            assert await slow == "first"
            await here.stored()
            source.value, source.hold = "changed", None
            assert await there.ask() == "changed"

    scenario()


def test_other_labels_or_a_lost_token_make_an_answer_worth_nothing(redis_server: RedisServer) -> None:
    @on_a_loop
    async def scenario() -> None:
        source = Source()
        async with hosts(redis_server.url, source, 1) as (here,):
            await here.ask()
            await here.stored()
            source.value = "changed"
        async with hosts(redis_server.url, source, 1, Terms("kb", "find", 60.0, tags=("facts", "more"))) as (other,):
            assert await other.ask() == "changed"
        redis_server.tell("DEL", "mesh:home:cache:token:facts")
        source.value = "again"
        async with hosts(redis_server.url, source, 1) as (there,):
            assert await there.ask() == "again"

    scenario()


def test_the_age_of_an_answer_counts_over_all_hosts(redis_server: RedisServer) -> None:
    @on_a_loop
    async def scenario() -> None:
        source, terms = Source(), Terms("kb", "find", 0.5, tags=("facts",))
        async with hosts(redis_server.url, source, 2, terms) as (here, there):
            began = time.monotonic()
            await here.ask()
            await here.stored()
            source.value = "changed"

            async def renewed() -> bool:
                now, value = time.monotonic(), await there.ask()
                assert value == "changed" or now - began < 0.5 + LIMIT_S, "older than it may be"
                return value == "changed"

            await eventually_awaited(renewed, 20.0)
            assert time.monotonic() - began > 0.4

    scenario()


def test_a_redis_that_is_away_costs_no_call_and_is_counted(tmp_path: Path) -> None:
    @on_a_loop
    async def scenario() -> None:
        source = Source()
        with redis_running(tmp_path / "redis") as server:
            async with hosts(server.url, source, 1) as (here,):
                await here.ask("before")
                server.kill()
                assert [await here.ask(question) for question in "abc"] == ["first"] * 3
                assert here.shared.failures >= 1
                (sample,) = [one for one in here.cache.samples() if "redis" in one.instrument.name]
                assert sample.value == here.shared.failures
                assert await here.ask("before") == "first"
                assert source.asked == 4

    scenario()


def test_a_redis_that_stands_still_takes_a_caller_a_moment_and_the_next_one_none(tmp_path: Path) -> None:
    @on_a_loop
    async def scenario() -> None:
        source = Source()
        with redis_running(tmp_path / "redis") as server:
            async with hosts(server.url, source, 1) as (here,):
                with server.paused():
                    began = time.monotonic()
                    assert await here.ask("a") == "first"
                    assert time.monotonic() - began >= LIMIT_S * 0.9
                    failures = here.shared.failures
                    assert [await here.ask(question) for question in "bcd"] == ["first"] * 3
                    assert here.shared.failures == failures, "it is left alone for a second"

    scenario()


def test_what_was_invalidated_while_redis_was_away_is_not_read_from_it_when_it_is_back(tmp_path: Path) -> None:
    @on_a_loop
    async def scenario() -> None:
        source = Source()
        with redis_running(tmp_path / "redis") as server:
            async with hosts(server.url, source, 1) as (here,):
                await here.ask()
                await here.stored()
                server.stop()
                source.value = "changed"
                here.cache.invalidate(["facts"])
                assert await here.ask() == "changed"
                here.cache.clear()
                server.start()
                for _ in range(3):
                    assert await here.ask() == "changed"
                    here.cache.clear()
                await eventually(lambda: not here.shared._unsaved and not here.shared._leaving, 20.0)
                assert await here.ask() == "changed"
            async with hosts(server.url, source, 1) as (other,):
                assert await other.ask() == "changed"

    scenario()
