"""A data agent's databases lie in its folder and close with it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mesh.agent import AgentConfig, DataAgent, Database, finish, operation
from mesh.errors import StoreError
from tests.agent.surroundings import surroundings


class KnowledgeBase(DataAgent):
    class Config(AgentConfig):
        database: Path = Path("knowledge.db")

    config: Config
    facts: Database

    async def setup(self) -> None:
        self.facts = self.database(self.config.database, schema="CREATE TABLE IF NOT EXISTS facts (text TEXT);")

    async def teardown(self) -> None:
        await self.facts.execute("INSERT INTO facts VALUES ('the end')")

    @operation
    async def add_fact(self, text: str) -> int:
        await self.facts.execute("INSERT INTO facts VALUES (?)", (text,))
        return len(await self.facts.query("SELECT * FROM facts"))


def test_a_database_is_made_in_the_agents_folder_and_closed_after_the_teardown(tmp_path: Path) -> None:
    agent = KnowledgeBase.bind(surroundings(tmp_path))

    async def scenario() -> int:
        await agent.setup()
        count = await agent.add_fact("moon")
        await finish(agent)
        with pytest.raises(StoreError, match="is closed; its agent or host has stopped"):
            await agent.add_fact("sun")
        return count

    assert asyncio.run(scenario()) == 1
    assert (tmp_path / "knowledge.db").exists()


def test_a_database_is_closed_also_when_the_teardown_fails(tmp_path: Path) -> None:
    class Broken(KnowledgeBase):
        async def teardown(self) -> None:
            raise RuntimeError("odd")

    agent = Broken.bind(surroundings(tmp_path))

    async def scenario() -> None:
        await agent.setup()
        with pytest.raises(RuntimeError, match="odd"):
            await finish(agent)
        with pytest.raises(StoreError, match="is closed"):
            await agent.add_fact("moon")

    asyncio.run(scenario())


def test_a_name_is_enough_for_a_database(tmp_path: Path) -> None:
    agent = DataAgent.bind(surroundings(tmp_path))

    async def scenario() -> None:
        await agent.database("notes.db").script("CREATE TABLE notes (text TEXT)")
        await finish(agent)

    asyncio.run(scenario())
    assert (tmp_path / "notes.db").exists()
