"""The store in Redis through everything that can happen to a Redis: nothing accepted is lost, nothing lost accepted."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.clock import Clock
from mesh.config import ConnectionsConfig, RedisConfig
from mesh.errors import StoreError
from registry.changes import DesiredChange, OverrideChange
from registry.redis_store import RedisStore
from registry.sqlite_store import SqliteStore
from registry.store import Stored
from tests.eventually import eventually
from tests.redis_server import RedisServer, redis_running

STOPPED = DesiredChange("nlu", "pc2", "stopped")
LATER = DesiredChange("tts", "pc2", "stopped")
LIMIT = OverrideChange("nlu", "limits.inbox", 5)


class Opened:
    """A store that is open, with what it found and what it was told to adopt."""

    def __init__(self, server: RedisServer, path: Path, mesh: str = "home", **settings: object) -> None:
        config = ConnectionsConfig(redis=RedisConfig.model_validate({"url": server.url, "timeout_s": 10.0, **settings}))
        self.adopted: list[Stored] = []
        self.store = RedisStore(mesh, config, SqliteStore(path), Clock(), self.adopted.append)
        self.found = Stored(0, (), ())

    async def refused(self, change: DesiredChange | OverrideChange) -> str:
        with pytest.raises(StoreError) as caught:
            await self.store.save(change)
        return caught.value.message

    async def well(self) -> None:
        """Wait until it takes changes again."""
        await eventually(lambda: self.store.problem is None and self.store._claimed, 20)


@contextlib.asynccontextmanager
async def opened(
    server: RedisServer, path: Path, epoch: int = 1, *, mesh: str = "home", **settings: object
) -> AsyncIterator[Opened]:
    made = Opened(server, path, mesh, **settings)
    try:
        made.found = await made.store.open()
        with contextlib.suppress(StoreError):  # the registry goes on without
            await made.store.save_epoch(epoch)
        yield made
    finally:
        await made.store.close()


def test_another_machine_finds_what_was_stored(redis_server: RedisServer, tmp_path: Path) -> None:
    async def scenario() -> Stored:
        async with opened(redis_server, tmp_path / "a.db") as first:
            await first.store.save(STOPPED)
            await first.store.save(LIMIT)
        async with opened(redis_server, tmp_path / "b.db", 2) as second:
            return second.found

    assert asyncio.run(scenario()) == Stored(1, (STOPPED,), (LIMIT,))


def test_meshes_share_a_server_without_seeing_each_other(redis_server: RedisServer, tmp_path: Path) -> None:
    async def scenario() -> Stored:
        async with opened(redis_server, tmp_path / "a.db") as first:
            await first.store.save(STOPPED)
        async with opened(redis_server, tmp_path / "b.db", mesh="other") as second:
            return second.found

    assert asyncio.run(scenario()) == Stored(0, (), ())


def test_while_redis_is_away_at_the_start_the_copy_counts_and_changes_are_refused(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with opened(redis_server, tmp_path / "a.db") as first:
            await first.store.save(STOPPED)
        await asyncio.to_thread(redis_server.stop)
        async with opened(redis_server, tmp_path / "a.db", 2) as second:
            assert second.found.desired == (STOPPED,)
            assert "cannot be reached" in await second.refused(LATER)
            assert second.store.problem is not None and str(redis_server.port) in second.store.problem
            await asyncio.to_thread(redis_server.start)
            await second.well()
            assert second.adopted[-1].desired == (STOPPED,)
            await second.store.save(LATER)
        async with opened(redis_server, tmp_path / "b.db", 3) as third:
            assert set(third.found.desired) == {STOPPED, LATER}

    asyncio.run(scenario())


def test_what_others_stored_while_this_one_could_not_see_it_is_adopted(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with opened(redis_server, tmp_path / "a.db") as first:
            await first.store.save(STOPPED)
        async with opened(redis_server, tmp_path / "b.db", 2) as other:
            await other.store.save(LATER)
        await asyncio.to_thread(redis_server.stop)
        async with opened(redis_server, tmp_path / "a.db", 3) as second:
            assert second.found.desired == (STOPPED,)
            await asyncio.to_thread(redis_server.start)
            await second.well()
            assert set(second.adopted[-1].desired) == {STOPPED, LATER}

    asyncio.run(scenario())


def test_a_change_while_redis_is_away_is_refused_and_the_next_one_after_it_is_kept(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with opened(redis_server, tmp_path / "a.db") as one:
            await one.store.save(STOPPED)
            await asyncio.to_thread(redis_server.kill)
            await one.refused(LIMIT)
            await asyncio.to_thread(redis_server.start)
            await one.well()
            await one.store.save(LATER)
        async with opened(redis_server, tmp_path / "b.db", 2) as other:
            assert set(other.found.desired) == {STOPPED, LATER}
            assert other.found.overrides == ()

    asyncio.run(scenario())


def test_a_redis_that_lost_its_disk_is_filled_from_the_copy(redis_server: RedisServer, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(redis_server, tmp_path / "a.db") as one:
            await one.store.save(STOPPED)
            await one.store.save(LIMIT)
            await asyncio.to_thread(redis_server.restart_empty)
            await one.store.save(LATER)
        async with opened(redis_server, tmp_path / "b.db", 2) as other:
            assert set(other.found.desired) == {STOPPED, LATER}
            assert other.found.overrides == (LIMIT,)

    asyncio.run(scenario())


def test_one_that_lost_its_disk_while_no_registry_ran_is_filled_too(redis_server: RedisServer, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(redis_server, tmp_path / "a.db") as one:
            await one.store.save(STOPPED)
        await asyncio.to_thread(redis_server.restart_empty)
        async with opened(redis_server, tmp_path / "a.db", 2) as again:
            assert again.found.desired == (STOPPED,)
        async with opened(redis_server, tmp_path / "b.db", 3) as other:
            assert other.found.desired == (STOPPED,)

    asyncio.run(scenario())


def test_one_that_came_back_with_an_older_disk_is_brought_up_to_date(tmp_path: Path) -> None:
    async def scenario(server: RedisServer) -> None:
        async with opened(server, tmp_path / "a.db") as one:
            await one.store.save(STOPPED)
            await asyncio.to_thread(server.tell, "SAVE")
            await one.store.save(LATER)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)  # knows STOPPED alone
            await one.well()
            await one.store.save(LIMIT)
        async with opened(server, tmp_path / "b.db", 2) as other:
            assert set(other.found.desired) == {STOPPED, LATER}

    with redis_running(tmp_path / "redis", appendonly="no") as server:
        asyncio.run(scenario(server))


def test_records_of_a_file_move_into_a_redis_that_has_none(redis_server: RedisServer, tmp_path: Path) -> None:
    async def scenario() -> None:
        before = SqliteStore(tmp_path / "a.db")
        await before.open()
        await before.save_epoch(1)
        await before.save(STOPPED)
        await before.close()
        async with opened(redis_server, tmp_path / "a.db", 2) as one:
            assert one.found.desired == (STOPPED,)
        async with opened(redis_server, tmp_path / "b.db", 3) as other:
            assert other.found.desired == (STOPPED,)
        back = SqliteStore(tmp_path / "b.db")
        assert (await back.open()).desired == (STOPPED,)
        await back.close()

    asyncio.run(scenario())


def test_a_registry_that_starts_later_takes_over_and_the_older_ones_changes_are_refused(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with opened(redis_server, tmp_path / "a.db") as older:
            await older.store.save(STOPPED)
            async with opened(redis_server, tmp_path / "b.db", 2) as newer:
                told = await older.refused(LATER)
                assert "another registry (epoch 2) has taken over" in told and "registry: host:" in told
                assert older.store.problem == told
                await newer.store.save(LIMIT)
                assert "epoch 2" in await older.refused(LATER)

    asyncio.run(scenario())


def test_a_full_redis_refuses_with_the_way_out_and_recovers(redis_server: RedisServer, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(redis_server, tmp_path / "a.db") as one:
            await one.store.save(STOPPED)
            with redis_server.full():
                assert "maxmemory" in await one.refused(LATER)
                assert one.store.problem is not None and "full" in one.store.problem
            await one.well()
            await one.store.save(LIMIT)
        async with opened(redis_server, tmp_path / "b.db", 2) as other:
            assert other.found.desired == (STOPPED,)

    asyncio.run(scenario())


def test_a_redis_that_stands_still_refuses_in_time_and_what_it_did_late_is_known_afterwards(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with opened(redis_server, tmp_path / "a.db", timeout_s=1.5) as one:
            await one.store.save(STOPPED)
            with redis_server.paused():
                assert "within 1.5 s" in await one.refused(LATER)
            await one.well()
            known = set(one.adopted[-1].desired)
            await one.store.save(LIMIT)
        async with opened(redis_server, tmp_path / "b.db", 2) as other:
            assert set(other.found.desired) == known

    asyncio.run(scenario())


def test_a_wrong_password_is_told_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "wrong-secret")

    async def scenario(server: RedisServer) -> str:
        async with opened(server, tmp_path / "a.db", password_env="REDIS_PASSWORD") as one:
            return await one.refused(STOPPED) + str(one.store.problem)

    with redis_running(tmp_path / "redis", password="right-secret") as server:
        told = asyncio.run(scenario(server))
    assert "REDIS_PASSWORD" in told
    assert "wrong-secret" not in told + caplog.text


def test_a_key_of_another_program_is_left_alone(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.tell("SET", "mesh:home:registry", "mine")

    async def scenario() -> str:
        async with opened(redis_server, tmp_path / "a.db") as one:
            return await one.refused(STOPPED)

    assert "another program" in asyncio.run(scenario())
    assert "mine" in redis_server.tell("GET", "mesh:home:registry")


def test_rows_of_a_later_version_are_left_alone(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.tell("HSET", "mesh:home:registry", "format", "99", "epoch", "1")

    async def scenario() -> str:
        async with opened(redis_server, tmp_path / "a.db", 2) as one:
            return await one.refused(STOPPED)

    assert "later version" in asyncio.run(scenario())
    assert "99" in redis_server.tell("HGET", "mesh:home:registry", "format")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_happens_what_was_accepted_is_there_and_nothing_else(seed: int, tmp_path: Path) -> None:
    """Random changes amid kills, lost and older disks, pauses and restarts; a refused one may have been done."""
    dice = random.Random(seed)
    allowed: dict[str, set[str]] = {}

    async def change(one: Opened) -> None:
        service, wanted = f"service_{dice.randrange(6)}", dice.choice(["stopped", "running"])
        try:
            await one.store.save(DesiredChange(service, "pc2", wanted))  # type: ignore[arg-type]  # it is one
        except StoreError:
            allowed.setdefault(service, {"none"}).add(wanted)
        else:
            allowed[service] = {wanted}

    def found(stored: Stored) -> dict[str, str]:
        rows = {row.service: row.desired for row in stored.desired}
        return {service: rows.get(service, "none") for service in allowed}

    async def trouble(server: RedisServer) -> None:
        kind = dice.choice(["kill", "empty", "older", "older"])
        if kind == "kill":
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        elif kind == "empty":
            await asyncio.to_thread(server.restart_empty)
        elif kind == "older":
            await asyncio.to_thread(server.tell, "SAVE")

    async def scenario(server: RedisServer) -> None:
        for epoch in range(1, 5):
            async with opened(server, tmp_path / "a.db", epoch, timeout_s=3.0) as one:
                assert all(value in allowed[service] for service, value in found(one.found).items())
                allowed.update({service: {value} for service, value in found(one.found).items()})
                for _ in range(12):
                    await change(one)
                    if dice.random() < 0.3:
                        await trouble(server)
                    if dice.random() < 0.1:
                        await asyncio.to_thread(server.kill)
                        await change(one)
                        await asyncio.to_thread(server.start)
                        await one.well()
        async with opened(server, tmp_path / "a.db", 8) as one:
            await one.well()  # only this machine's copy knows what the last lost disk held
        async with opened(server, tmp_path / "b.db", 9) as other:
            assert all(value in allowed[service] for service, value in found(other.found).items())

    with redis_running(tmp_path / "redis", appendonly="no") as server:
        asyncio.run(scenario(server))
