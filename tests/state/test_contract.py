"""What every store of states keeps to: versions grow, stay bounded and survive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.clock import Clock
from mesh.config import ConnectionsConfig, RedisConfig
from mesh.connections import Connections
from mesh.errors import InvalidArgument
from mesh.state import SqliteStates, StateStore, StateVersion
from mesh.state.redis import RedisStates
from tests.redis_server import redis_running

Make = Callable[..., StateStore]


class Wall(Clock):
    """A wall clock that is set by hand."""

    now = 1_000.0

    def time(self) -> float:
        return self.now


class OwnConnections(RedisStates):
    """States in Redis that close the connections made for them."""

    def __init__(self, url: str, **settings: Any) -> None:
        self._own = Connections(ConnectionsConfig(redis=RedisConfig(url=url)), Clock())
        super().__init__(self._own, "home", "mainpc", **settings)

    async def close(self) -> None:
        await self._own.close()


@pytest.fixture(params=["sqlite", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """What makes a store on the same states each time."""
    if request.param == "sqlite":
        yield lambda **settings: SqliteStates(tmp_path / "state.db", **settings)
        return
    with redis_running(tmp_path / "redis") as server:
        yield lambda **settings: OwnConnections(server.url, **settings)


def test_versions_grow_by_one_per_service_and_carry_their_time(make: Make) -> None:
    clock = Wall()

    async def scenario() -> tuple[Any, ...]:
        store = make(clock=clock)
        first = await store.save("one", {"step": 1})
        clock.now = 2_000.0
        second = await store.save("one", {"step": 2})
        other = await store.save("two", {})
        history = await store.history("one", 10)
        latest = await store.latest("one")
        await store.close()
        return first, second, other, history, latest

    newest, oldest = StateVersion(2, 2_000.0, {"step": 2}), StateVersion(1, 1_000.0, {"step": 1})
    assert asyncio.run(scenario()) == (1, 2, 1, [newest, oldest], newest)


def test_nothing_saved_is_none_and_an_empty_history(make: Make) -> None:
    async def scenario() -> tuple[Any, ...]:
        store = make()
        found = await store.latest("one"), await store.history("one"), await store.history("one", 0)
        await store.close()
        return found

    assert asyncio.run(scenario()) == (None, [], [])


def test_only_the_last_versions_are_kept_and_numbers_go_on(make: Make) -> None:
    async def scenario() -> list[int]:
        store = make(kept=3)
        for step in range(10):
            await store.save("one", {"step": step})
        await store.save("two", {})
        history = await store.history("one", 100)
        await store.close()
        return [one.version for one in history]

    assert asyncio.run(scenario()) == [10, 9, 8]


def test_states_survive_a_new_start(make: Make) -> None:
    async def save() -> int:
        store = make()
        version = await store.save("one", {"picture": b"\x00", "tags": ["a"], "more": {"deep": None}})
        await store.close()
        return version

    async def read() -> Any:
        store = make()
        latest = await store.latest("one")
        await store.close()
        return latest and latest.state

    assert asyncio.run(save()) == 1
    assert asyncio.run(save()) == 2
    assert asyncio.run(read()) == {"picture": b"\x00", "tags": ["a"], "more": {"deep": None}}


def test_concurrent_saves_get_a_version_each(make: Make) -> None:
    async def scenario() -> list[int]:
        store = make()
        versions = await asyncio.gather(*(store.save("one", {"step": step}) for step in range(40)))
        await store.close()
        return sorted(versions)

    assert asyncio.run(scenario()) == list(range(1, 41))


@pytest.mark.parametrize(("state", "told"), [
    ({"lock": object()}, "state.lock holds builtins.object"),
    (["a list"], "a state is a dict, found list"),
])
def test_a_state_that_may_not_be_kept_is_refused_by_path(state: Any, told: str, make: Make) -> None:
    async def scenario() -> None:
        store = make()
        try:
            await store.save("one", state)
        finally:
            await store.close()

    with pytest.raises(InvalidArgument, match=told):
        asyncio.run(scenario())
