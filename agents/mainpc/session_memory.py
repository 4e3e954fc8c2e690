"""What was said in each conversation, so that an answer can take earlier turns into account."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Any

from agents_shared.messages import INTERACTION, SESSION, Memory, MemoryFound, SessionCreated, Turn
from pydantic import BaseModel, Field

from mesh import Agent, AgentConfig, InvalidArgument, every, operation

CHARACTERS_PER_TOKEN = 4
Count = Annotated[int, Field(ge=1, le=1000)]


class InteractionAdded(BaseModel):
    """The id of a turn that was stored."""

    interaction_id: str


class Context(BaseModel):
    """What was said last, the oldest first."""

    context: list[Turn]


class Interactions(BaseModel):
    """Turns that a search found."""

    results: list[Memory]


class LiveSession(BaseModel):
    """A session in use: whose it is, and when it was last used (Unix seconds)."""

    user_id: str
    used_at: float


class SessionMemory(Agent):
    """Remembers the turns of conversations; each session is a parent memory, each turn a memory below it."""

    class Config(AgentConfig):
        sessions: int = 100
        """Sessions kept live; the one unused for longest expires when another begins."""
        context_tokens: int = 2000
        idle_s: float = 3600.0
        timeout_s: float = 5.0

    config: Config

    async def setup(self) -> None:
        """Take up the sessions that were live before a restart."""
        known = await self.get_latest_state() or {}
        self._live: OrderedDict[str, LiveSession] = OrderedDict(
            (key, LiveSession.model_validate(value)) for key, value in known.get("live", {}).items()
        )

    async def teardown(self) -> None:
        """Keep the live sessions for the next start."""
        await self._save()

    @operation
    async def create_session(
        self, user_id: str = "default", session_type: str = "conversation", metadata: dict[str, Any] | None = None
    ) -> SessionCreated:
        """Open a session of a user and return its id."""
        opened = await self._ask("create_session", user_id=user_id, session_type=session_type, metadata=metadata)
        created = SessionCreated.model_validate(opened)
        self._live[created.session_id] = LiveSession(user_id=user_id, used_at=self.clock.time())
        while len(self._live) > self.config.sessions:
            await self._expire(next(iter(self._live)))
        await self._save()
        return created

    @operation
    async def add_interaction(
        self, session_id: str, role: str, content: str, metadata: dict[str, Any] | None = None
    ) -> InteractionAdded:
        """Add a turn to a session and return its id."""
        session = await self._use(session_id)
        if session is None:
            raise InvalidArgument(
                f"there is no session {session_id!r}; open one with create_session", path="session_id"
            )
        added = await self._ask(
            "add_memory", content=content, memory_type=INTERACTION, memory_tier="short", importance=0.5, tags=[role],
            metadata={**(metadata or {}), "role": role}, parent_id=session_id, user_id=session.user_id,
        )  # fmt: skip
        return InteractionAdded(interaction_id=added["memory_id"])

    @operation(idempotent=True)
    async def get_context(self, session_id: str, limit: Count = 20) -> Context:
        """Return the last turns of a session, the oldest first, as many as the token limit takes."""
        await self._use(session_id)
        found = await self._ask("get_children", parent_id=session_id, limit=limit)
        turns, tokens = list[Turn](), 0
        for child in found["children"]:
            tokens += 1 + len(child["content"]) // CHARACTERS_PER_TOKEN
            if turns and tokens > self.config.context_tokens:
                break
            turns.append(Turn(role=child["metadata"].get("role", "user"), content=child["content"]))
        return Context(context=turns[::-1])

    @operation(idempotent=True)
    async def search_interactions(
        self, query: str, session_id: str | None = None, limit: Count = 10, user_id: str = "default"
    ) -> Interactions:
        """Return turns by meaning, else by their words; of one session when it is given, else of all of the user's."""
        if session_id is not None:
            session = await self._use(session_id)
            user_id = session.user_id if session is not None else user_id
        filters = {"memory_type": INTERACTION, "parent_id": session_id}
        found = (await self._ask("semantic_search", query=query, k=limit, filters=filters, user_id=user_id))["results"]
        if not found:
            found = (
                await self._ask(
                    "search_memory",
                    query=query,
                    memory_type=INTERACTION,
                    limit=limit,
                    parent_id=session_id,
                    user_id=user_id,
                )
            )["results"]
        return Interactions(results=[Memory.model_validate(each) for each in found])

    @operation(idempotent=True)
    async def delete_session(self, session_id: str) -> None:
        """Remove a session and all its turns."""
        await self._ask("delete_memory", memory_id=session_id, cascade=True)
        if self._live.pop(session_id, None) is not None:
            await self._save()

    @every(seconds=300)
    async def sweep(self) -> None:
        """Let go of sessions that nobody used for an hour; the store keeps their turns and marks them expired."""
        oldest = self.clock.time() - self.config.idle_s
        idle = [key for key, session in self._live.items() if session.used_at <= oldest]
        for session_id in idle:
            await self._expire(session_id)
        if idle:
            await self._save()

    async def _use(self, session_id: str) -> LiveSession | None:
        """Return a session, taken up again from the store when it is not live; None when there is none of that id."""
        session = self._live.get(session_id)
        if session is None:
            memory = await self._stored(session_id)
            if memory is None:
                return None
            session = self._live[session_id] = LiveSession(user_id=memory.user_id, used_at=0.0)
            await self._mark(session_id, memory, "active")
        session.used_at = self.clock.time()
        self._live.move_to_end(session_id)
        return session

    async def _stored(self, session_id: str) -> Memory | None:
        memory = MemoryFound.model_validate(await self._ask("get_memory", memory_id=session_id)).memory
        return memory if memory is not None and memory.memory_type == SESSION else None

    async def _expire(self, session_id: str) -> None:
        memory = await self._stored(session_id)
        if memory is not None:
            await self._mark(session_id, memory, "expired")
        self._live.pop(session_id, None)

    async def _mark(self, session_id: str, memory: Memory, state: str) -> None:
        await self._ask("update_memory", memory_id=session_id, metadata={**memory.metadata, "state": state})

    async def _save(self) -> None:
        await self.save_state({"live": {key: session.model_dump() for key, session in self._live.items()}})

    async def _ask(self, operation: str, **arguments: Any) -> Any:
        return await self.request(f"memory_client.{operation}", timeout=self.config.timeout_s, **arguments)
