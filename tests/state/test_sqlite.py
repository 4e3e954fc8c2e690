"""States in a file: what is said of one that cannot be used."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from mesh.errors import StoreError
from mesh.state import SqliteStates


def test_a_file_that_cannot_be_used_is_told_with_path_and_advice(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = SqliteStates(tmp_path / "state.db")
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
        store = SqliteStates(tmp_path / "state.db")
        await store.save("one", {})
        await store.close()

    async def read() -> None:
        store = SqliteStates(tmp_path / "state.db")
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
