"""What agents tell each other about memories and answers: the models that more than one agent uses."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MemoryTier = Literal["short", "medium", "long"]
INTERACTION = "interaction"
SESSION = "session"
CONSOLIDATED = "consolidated"
CONVERSATION = (INTERACTION, SESSION, CONSOLIDATED)
"""Memory types that record or sum up what was said; they are no evidence for what is true."""


class Memory(BaseModel):
    """One remembered text; times are Unix seconds, `user_id` "" is common to everybody."""

    memory_id: str
    content: str
    memory_type: str = "general"
    memory_tier: MemoryTier = "short"
    importance: float = 1.0
    tags: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)
    parent_id: str | None = None
    user_id: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0
    last_accessed_at: float = 0.0
    access_count: int = 0
    expires_at: float | None = None


class Evidence(BaseModel):
    """Why a memory was found: how well subject, relation and kind of value fit the question, each 0 to 1.

    `answers` says that it may be given as the answer; `superseded` that a newer memory says otherwise; `excerpt` is the
    sentence of a longer memory that answers, "" for all of it.
    """

    subject: float = 0.0
    relation: float = 0.0
    kind: float = 0.0
    answers: bool = False
    superseded: bool = False
    excerpt: str = ""


class MemoryHit(Memory):
    """A memory that a search found; `score` 0 to 1, the best first."""

    memory_id: str = ""
    score: float = 0.0
    evidence: Evidence = Field(default_factory=Evidence)


class MemoryFilters(BaseModel):
    """Narrows a search; what is not set does not count."""

    model_config = ConfigDict(extra="forbid")

    memory_type: str | None = None
    exclude_types: list[str] = Field(default_factory=list)
    memory_tier: MemoryTier | None = None
    parent_id: str | None = None
    tags: list[str] = Field(default_factory=list)
    min_importance: float = 0.0


class NewMemory(BaseModel):
    """A memory to be added, as `batch_add_memories` takes it."""

    model_config = ConfigDict(extra="forbid")

    content: str
    memory_type: str = "general"
    memory_tier: MemoryTier = "short"
    importance: float = Field(default=1.0, ge=0, le=1)
    tags: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)
    parent_id: str | None = None
    expires_at: float | None = None
    user_id: str = ""


class MemoryAdded(BaseModel):
    """The id of a new memory."""

    memory_id: str


class MemoriesAdded(BaseModel):
    """The ids of new memories, in the order they were given."""

    memory_ids: list[str]


class MemoryFound(BaseModel):
    """A memory, null when there is none of that id."""

    memory: Memory | None


class MemoryList(BaseModel):
    """Memories in the order asked for."""

    memories: list[Memory]


class MemoriesFound(BaseModel):
    """Memories of a text search, and how many they are."""

    results: list[Memory]
    count: int


class MemoryHits(BaseModel):
    """Memories of a search by meaning, the best first."""

    results: list[MemoryHit]


class MemoryChildren(BaseModel):
    """The children of a memory."""

    children: list[Memory]


class Reinforced(BaseModel):
    """The importance after a reinforcement, 0 to 1; null when there is no such memory."""

    new_importance: float | None


class Updated(BaseModel):
    """Whether there was such a memory to change."""

    updated: bool


class Deleted(BaseModel):
    """How many records were removed."""

    deleted: int


class Forgotten(BaseModel):
    """The texts that were forgotten."""

    forgotten: list[str]


class Related(BaseModel):
    """A memory and how it is linked to the one asked about."""

    memory: Memory
    relation_type: str
    strength: float


class RelatedMemories(BaseModel):
    """Linked memories, the strongest link first."""

    related: list[Related]


class GroupCreated(BaseModel):
    """The id of a context group."""

    group_id: str


class SessionCreated(BaseModel):
    """The id of a session, which is the id of its parent memory."""

    session_id: str


class Turn(BaseModel):
    """One thing said in a conversation."""

    role: str
    content: str


class Facts(BaseModel):
    """Facts that a search found, the best first."""

    results: list[MemoryHit]


class ComposedReply(BaseModel):
    """An answer for the user: the text, which engine made it, and whether anything was known."""

    text: str
    engine: str
    known: bool
