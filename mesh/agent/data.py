"""The base class of agents that keep data in a file of their own."""

from __future__ import annotations

from pathlib import Path

from mesh.agent.agent import Agent, bound
from mesh.database import Database


class DataAgent(Agent):
    """An agent with SQLite databases that never block the event loop and close by themselves."""

    def database(self, path: Path | str, *, schema: str = "") -> Database:
        """Return the SQLite file at `path` (relative: below the agent's folder); it opens on first use.

        `schema` is a script that runs each time it is opened, such as `CREATE TABLE IF NOT EXISTS …;`.
        """
        database = Database(self.folder / path, schema=schema)
        bound(self).resources.push_async_callback(database.close)
        return database
