"""What every store of the registry keeps to, whichever keeps the records."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from mesh.clock import Clock
from mesh.config import ConnectionsConfig, RedisConfig
from mesh.errors import StoreError
from registry.changes import UNSET, DesiredChange, OverrideChange
from registry.redis_store import RedisStore
from registry.sqlite_store import SqliteStore
from registry.store import Store, Stored
from tests.redis_server import redis_running

T = TypeVar("T")
STOPPED = DesiredChange("nlu", "pc2", "stopped")
LIMIT = OverrideChange("nlu", "limits.inbox", {"a": [1, None, 0.5, True], "b": "ü "})
Open = Callable[[], Store]


@pytest.fixture(params=["sqlite", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """What makes a store on the same records each time."""
    path = tmp_path / "state" / "registry.db"
    if request.param == "sqlite":
        yield lambda: SqliteStore(path)
        return
    with redis_running(tmp_path / "redis") as server:
        config = ConnectionsConfig(redis=RedisConfig(url=server.url))
        yield lambda: RedisStore("home", config, SqliteStore(path), Clock(), lambda stored: None)


def using(make: Open, work: Callable[[Store, Stored], Awaitable[T]]) -> T:
    async def run() -> T:
        store = make()
        try:
            return await work(store, await store.open())
        finally:
            await store.close()

    return asyncio.run(run())


async def stored(_: Store, found: Stored) -> Stored:
    return found


def test_an_empty_one_holds_nothing(make: Open) -> None:
    assert using(make, stored) == Stored(0, (), ())


def test_what_was_saved_is_there_when_it_is_opened_again(make: Open) -> None:
    async def save(store: Store, _: Stored) -> None:
        await store.save_epoch(77)
        for change in (DesiredChange("nlu", "pc2", "running"), STOPPED, LIMIT, OverrideChange("tts", "voice", "a")):
            await store.save(change)
        await store.save(OverrideChange("tts", "voice", UNSET))
        assert store.problem is None

    using(make, save)
    assert using(make, stored) == Stored(77, (STOPPED,), (LIMIT,))


def test_a_later_epoch_takes_the_place_of_an_earlier_one(make: Open) -> None:
    async def begin(store: Store, found: Stored) -> None:
        await store.save_epoch(found.epoch + 5)

    using(make, begin)
    using(make, begin)
    assert using(make, stored).epoch == 10


def test_an_override_that_is_unset_twice_is_no_error(make: Open) -> None:
    async def work(store: Store, found: Stored) -> None:
        await store.save_epoch(1)
        await store.save(LIMIT)
        for _again in range(2):
            await store.save(OverrideChange(LIMIT.service, LIMIT.key, UNSET))

    using(make, work)
    assert using(make, stored).overrides == ()


def test_many_changes_at_once_are_all_kept(make: Open) -> None:
    changes = [OverrideChange("nlu", f"key_{number}", number) for number in range(40)]

    async def work(store: Store, _: Stored) -> None:
        await store.save_epoch(1)
        await asyncio.gather(*(store.save(change) for change in changes))

    using(make, work)
    assert set(using(make, stored).overrides) == set(changes)


def test_a_closed_one_takes_nothing(make: Open) -> None:
    async def work(store: Store, _: Stored) -> None:
        await store.save_epoch(1)
        await store.close()
        with pytest.raises(StoreError):
            await store.save(STOPPED)

    using(make, work)
    assert using(make, stored).desired == ()
