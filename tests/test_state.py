"""Saved states grow by version, stay bounded, and say what is wrong with their file."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from mesh.clock import Clock
from mesh.errors import InvalidArgument, StoreError
from mesh.state import StateStore, StateVersion


class Wall(Clock):
    """A wall clock that is set by hand."""

    now = 1_000.0

    def time(self) -> float:
        return self.now


def test_versions_grow_by_one_per_service_and_carry_their_time(tmp_path: Path) -> None:
    clock = Wall()

    async def scenario() -> tuple[Any, ...]:
        store = StateStore(tmp_path / "state.db", clock=clock)
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


def test_nothing_saved_is_none_and_an_empty_history(tmp_path: Path) -> None:
    async def scenario() -> tuple[Any, ...]:
        store = StateStore(tmp_path / "state.db")
        found = await store.latest("one"), await store.history("one"), await store.history("one", 0)
        await store.close()
        return found

    assert asyncio.run(scenario()) == (None, [], [])


def test_only_the_last_versions_are_kept_and_numbers_go_on(tmp_path: Path) -> None:
    async def scenario() -> list[int]:
        store = StateStore(tmp_path / "state.db", kept=3)
        for step in range(10):
            await store.save("one", {"step": step})
        await store.save("two", {})
        history = await store.history("one", 100)
        await store.close()
        return [one.version for one in history]

    assert asyncio.run(scenario()) == [10, 9, 8]


def test_states_survive_a_new_start(tmp_path: Path) -> None:
    async def save() -> int:
        store = StateStore(tmp_path / "state.db")
        version = await store.save("one", {"picture": b"\x00", "tags": ["a"], "more": {"deep": None}})
        await store.close()
        return version

    async def read() -> Any:
        store = StateStore(tmp_path / "state.db")
        latest = await store.latest("one")
        await store.close()
        return latest and latest.state

    assert asyncio.run(save()) == 1
    assert asyncio.run(save()) == 2
    assert asyncio.run(read()) == {"picture": b"\x00", "tags": ["a"], "more": {"deep": None}}


def test_concurrent_saves_get_a_version_each(tmp_path: Path) -> None:
    async def scenario() -> list[int]:
        store = StateStore(tmp_path / "state.db")
        versions = await asyncio.gather(*(store.save("one", {"step": step}) for step in range(40)))
        await store.close()
        return sorted(versions)

    assert asyncio.run(scenario()) == list(range(1, 41))


@pytest.mark.parametrize(("state", "told"), [
    ({"lock": object()}, "state.lock holds builtins.object"),
    (["a list"], "a state is a dict, found list"),
])
def test_a_state_that_may_not_be_kept_is_refused_by_path(state: Any, told: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        store = StateStore(tmp_path / "state.db")
        try:
            await store.save("one", state)
        finally:
            await store.close()

    with pytest.raises(InvalidArgument, match=told):
        asyncio.run(scenario())


def test_a_file_that_cannot_be_used_is_told_with_path_and_advice(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = StateStore(tmp_path / "state.db")
        try:
            await store.save("one", {})
        finally:
            await store.close()

    (tmp_path / "state.db").write_bytes(b"just text, no database at all" * 50)
    with pytest.raises(StoreError) as caught:
        asyncio.run(scenario())
    assert caught.value.message.startswith(f"{tmp_path / 'state.db'}: the file is no SQLite database; move it away")


def test_a_state_that_does_not_decode_is_told_with_its_version(tmp_path: Path) -> None:
    async def save() -> None:
        store = StateStore(tmp_path / "state.db")
        await store.save("one", {})
        await store.close()

    async def read() -> None:
        store = StateStore(tmp_path / "state.db")
        try:
            await store.latest("one")
        finally:
            await store.close()

    asyncio.run(save())
    connection = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    connection.execute("UPDATE states SET body = x'c1'")
    connection.close()
    with pytest.raises(StoreError, match="version 1 of one does not decode"):
        asyncio.run(read())
