"""The rolling window of a conversation, per speaker and overall, ready to stand in front of a model prompt."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from agents_pc2.context_window import MOST, Said, Window, importance_of
from pydantic import BaseModel, Field

from mesh import AgentConfig, DataAgent, InvalidArgument, operation

Count = Annotated[int, Field(ge=1, le=1000)]
SCHEMA = """
CREATE TABLE IF NOT EXISTS said (
    id INTEGER PRIMARY KEY, text TEXT NOT NULL, timestamp REAL NOT NULL, speaker TEXT, importance REAL NOT NULL,
    metadata TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS said_speaker ON said (speaker, id);
"""


class ItemAdded(BaseModel):
    """How much the new item matters, 0 to 1."""

    importance: float


class ContextItem(BaseModel):
    """One utterance of the context; `timestamp` in Unix seconds."""

    text: str
    timestamp: float
    speaker: str | None
    importance: float
    metadata: dict[str, Any]


class ContextItems(BaseModel):
    """What matters of what was said, in the order it was said."""

    context: list[ContextItem]


class ContextText(BaseModel):
    """The same as lines of `[speaker]: text`."""

    context_text: str


class Pruned(BaseModel):
    """How many items were removed."""

    removed: int


class ContextManager(DataAgent):
    """Holds what has been said lately, per speaker and overall, and keeps what matters longest."""

    class Config(AgentConfig):
        database: Path = Path("context.db")
        speakers: int = 200
        """Speakers with a window of their own; who was silent for longest goes first."""
        kept: int = 500
        """Utterances kept on disk, to fill the windows after a restart."""

    config: Config

    async def setup(self) -> None:
        """Fill the windows with what was said before the restart."""
        self._store = self.database(self.config.database, schema=SCHEMA)
        self._all = Window()
        self._of: dict[str, Window] = {}
        for row in await self._store.query("SELECT * FROM said ORDER BY id"):
            self._take(
                Said(row["text"], row["timestamp"], row["speaker"], row["importance"], json.loads(row["metadata"]))
            )

    @operation
    async def add_to_context(
        self, text: str, speaker: str | None = None, metadata: dict[str, Any] | None = None
    ) -> ItemAdded:
        """Add an utterance and return how much it matters."""
        if not text.strip():
            raise InvalidArgument("text is empty; give what was said", path="text")
        said = Said(text, self.clock.time(), speaker, importance_of(text, self._all.items), metadata or {})
        await self._store.execute(
            "INSERT INTO said (text, timestamp, speaker, importance, metadata) VALUES (?, ?, ?, ?, ?)",
            (said.text, said.timestamp, said.speaker, said.importance, json.dumps(said.metadata)),
        )
        await self._store.execute("DELETE FROM said WHERE id <= (SELECT MAX(id) FROM said) - ?", (self.config.kept,))
        self._take(said)
        await self.publish("context.item_added", {"text": text, "speaker": speaker, "importance": said.importance})
        return ItemAdded(importance=said.importance)

    @operation(idempotent=True)
    async def get_context(self, speaker: str | None = None, max_items: Count | None = None) -> ContextItems:
        """Return what matters of what was said, by one speaker or by all, in the order it was said."""
        return ContextItems(context=[ContextItem(**asdict(said)) for said in self._window(speaker).top(max_items)])

    @operation(idempotent=True)
    async def get_context_text(self, speaker: str | None = None, max_items: Count | None = None) -> ContextText:
        """Return the same as lines of `[speaker]: text`."""
        lines = [f"[{said.speaker or 'unknown'}]: {said.text}" for said in self._window(speaker).top(max_items)]
        return ContextText(context_text="\n".join(lines))

    @operation(idempotent=True)
    async def clear_context(self, speaker: str | None = None) -> None:
        """Forget what one speaker said, or everything."""
        if speaker is None:
            await self._store.execute("DELETE FROM said")
            self._all.clear()
            self._of.clear()
            return
        await self._store.execute("DELETE FROM said WHERE speaker = ?", (speaker,))
        self._of.pop(speaker, None)
        rest = [said for said in self._all.items if said.speaker != speaker]
        self._all.clear()
        for said in rest:
            self._all.add(said)

    @operation
    async def prune_context(self) -> Pruned:
        """Remove what matters little from the window of all speakers, if it is full."""
        removed = self._all.prune()
        await self._store.write(
            lambda connection: connection.executemany(
                "DELETE FROM said WHERE text = ? AND timestamp = ?", [(said.text, said.timestamp) for said in removed]
            )
        )
        return Pruned(removed=len(removed))

    def _take(self, said: Said) -> None:
        self._all.add(said)
        if said.speaker is not None:
            window = self._of.pop(said.speaker, None) or Window(MOST, fixed=True)
            window.add(said)
            self._of[said.speaker] = window
            if len(self._of) > self.config.speakers:
                del self._of[next(iter(self._of))]

    def _window(self, speaker: str | None) -> Window:
        return self._all if speaker is None else self._of.get(speaker, Window())
