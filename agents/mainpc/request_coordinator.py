"""The front door: every request of a user comes in here and leaves with its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from agents_mainpc.instant_answers import date_answer, sum_answer, time_answer
from agents_mainpc.request_queue import RequestQueue
from agents_mainpc.suggestions import Suggestions
from pydantic import BaseModel, ConfigDict

from mesh import (
    Agent,
    AgentConfig,
    InvalidArgument,
    MeshError,
    PermissionDenied,
    every,
    operation,
    subscribe,
)

BUILTIN = "builtin"
_TALK = frozenset({"greeting", "farewell", "thanks", "smalltalk"})
_ABILITIES = (
    "I remember what you tell me and answer questions about it, I tell the time and the date, I do sums, and I like to "
    'chat. Say "remember that ..." to tell me something, or "forget ..." to have it removed.'
)
_UNSURE = 'I am not sure what you would like me to do. If I should remember this, say "remember that ..." before it.'
_NOT_OFFERED = {
    "weather": "I have no source for the weather, so I cannot tell.",
    "reminder": "I cannot keep reminders yet, so I will not remind you of this.",
    "timer": "I have no timer yet, so nothing was started.",
    "alarm": "I have no alarm clock yet, so nothing was set.",
    "vision": "I cannot look at pictures or through a camera yet.",
    "play_music": "I cannot play music yet.", "stop_music": "I play no music, so there is nothing to stop.",
    "volume_up": "I have no sound to make louder.", "volume_down": "I have no sound to make quieter.",
    "search": "I cannot search the web yet.", "summarize": "I cannot summarize texts yet.",
}


class Metadata(BaseModel):
    """What may speed a request up or slow it down; other keys are kept and passed on."""

    model_config = ConfigDict(extra="allow", frozen=True)
    urgency: Literal["critical", "high", "normal", "low"] = "normal"
    user_type: Literal["admin", "premium", "standard", "guest"] = "standard"


class Answer(BaseModel):
    """What the user gets; `session_id` is null when no session could be opened for small talk."""

    answer: str
    intent: str
    engine: str
    session_id: str | None


class Suggestion(BaseModel):
    """A hint for the user, null when there is none."""

    suggestion: str | None


class QueuedTask(BaseModel):
    """A request that waits; 1 is the first priority, 10 the last."""

    task_id: str
    task_type: str
    priority: int


class QueueStatus(BaseModel):
    """Who waits, first in line first."""

    queue: list[QueuedTask]


class Interaction(BaseModel):
    """The event `interaction.completed`: one turn of the user and the answer to it; `time` is wall-clock seconds."""

    user_id: str
    session_id: str | None
    user_input: str
    assistant_response: str
    intent: str
    engine: str
    time: float


@dataclass(slots=True)
class Turn:
    """One request on its way: what was understood, and what was found for the answer."""

    text: str
    user: str
    intent: str
    entities: dict[str, str]
    profile: str
    memories: list[dict[str, Any]] = field(default_factory=list)
    draft: str = ""
    engine: str = BUILTIN


class RequestCoordinator(Agent):
    """Takes what a user says, asks the services that know the answer, and returns it; urgent requests go first."""

    class Config(AgentConfig):
        queue: int = 100
        turns: int = 8
        """Requests worked on at once."""
        pause_s: float = 5.0
        """Nothing new begins for so long after the user interrupted."""
        quiet_s: float = 300.0
        """After so long without a word a question left open may be brought up."""
        memories: int = 8
        facts: int = 5
        unwritten: int = 256
        """Answers whose session entries may be on their way at once."""
        session_timeout_s: float = 5.0

    config: Config

    async def setup(self) -> None:
        """Open the queue."""
        self._queue = RequestQueue(self.config.queue, self.config.turns, self.clock.call_later)
        self._suggestions = Suggestions(self.config.quiet_s)
        self._writing: set[asyncio.Task[None]] = set()
        self._routes: dict[str, Callable[[Turn], Awaitable[None]]] = {
            "remember": self._remember, "recall": self._recall, "forget": self._forget, "command": self._command,
            "time": self._instant, "date": self._instant, "calculate": self._instant,
        }

    async def teardown(self) -> None:
        """Let go of who waits, and finish what is being written."""
        self._queue.close()
        if self._writing:
            await asyncio.wait(self._writing)

    @operation
    async def submit_text(
        self, data: str, context: dict[str, Any] | None = None, metadata: Metadata | None = None,
        user_id: str | None = None, session_id: str | None = None,
    ) -> Answer:
        """Return the answer to `data`.

        Raises `Overloaded` when 100 requests wait, `Cancelled` when the user interrupts before it began, and the
        error of the service that was needed and could not be reached.
        """
        if not data.strip():
            raise InvalidArgument("data is empty; write what you want to say or ask", path="data")
        told = metadata or Metadata()
        user_type = told.user_type if user_id is not None else None
        async with self._queue.turn("text", user_type=user_type, urgency=told.urgency):
            return await self._answered(data, user_id or "default", session_id, told.user_type, context or {})

    @operation
    async def get_suggestion(self, user_id: str | None = None) -> Suggestion:
        """Return the hint that waits for the user; it is removed by reading it."""
        return Suggestion(suggestion=self._suggestions.take(user_id or "default"))

    @operation(idempotent=True)
    async def get_queue_status(self) -> QueueStatus:
        """Return who waits for a turn."""
        return QueueStatus(queue=[
            QueuedTask(task_id=each.task_id, task_type=each.task_type, priority=each.priority)
            for each in self._queue.waiting()
        ])

    @subscribe("speech.interrupt")
    async def stop_for(self, interrupt: dict[str, Any] | None) -> None:
        """Empty the queue and begin nothing for a while: the user wants silence."""
        dropped = self._queue.interrupt(self.config.pause_s)
        if dropped:
            await self.report(f"{dropped} waiting requests were dropped: the user interrupted", severity="info")

    @every(seconds=30)
    async def look_for_silence(self) -> None:
        """Bring up an open question with users who have been quiet."""
        self._suggestions.sweep(self.clock.monotonic())

    async def _answered(
        self, text: str, user: str, session_id: str | None, profile: str, context: dict[str, Any]
    ) -> Answer:
        analysis = await self.request("nlu.analyze", text=text)
        entities = {each["entity"]: each["value"] for each in analysis["entities"]}
        turn = Turn(text, user, analysis["intent"], entities, profile)
        await self._routes.get(turn.intent, self._converse)(turn)
        reply = await self.request(
            "responder.generate_response", text=text, user=user, intent=turn.intent, memories=turn.memories,
            draft=turn.draft,
        )
        engine = turn.engine if turn.engine != BUILTIN else reply["engine"]
        session = session_id or await self._new_session(user)
        self._suggestions.heard(user, text, known=reply["known"], now=self.clock.monotonic())
        await self._tell(turn, reply["text"], engine, session, context)
        return Answer(answer=reply["text"], intent=turn.intent, engine=engine, session_id=session)

    async def _converse(self, turn: Turn) -> None:
        """Small talk, and what is understood but not offered."""
        if turn.intent in _TALK:
            talk = await self.request("chitchat.chitchat", text=turn.text, user_id=turn.user)
            turn.draft, turn.engine = talk["response"], talk["engine"]
        elif turn.intent in ("help", "capabilities"):
            turn.draft = _ABILITIES
        else:
            turn.draft = _NOT_OFFERED.get(turn.intent, _UNSURE)

    async def _remember(self, turn: Turn) -> None:
        content = turn.entities.get("content", turn.text)
        await self.request(
            "memory_client.add_memory", content=content, memory_type="general", memory_tier="long", importance=1.0,
            tags=["told"], user_id=turn.user,
        )
        turn.memories = [{"content": content}]

    async def _recall(self, turn: Turn) -> None:
        """Find what may answer a question; a knowledge base that is away takes nothing from the user's own memories."""
        query = turn.entities.get("query", turn.text)
        memories, facts = await asyncio.gather(
            self.request("memory_client.semantic_search", query=query, k=self.config.memories, user_id=turn.user),
            self.request("knowledge_base.search_facts", query=query, limit=self.config.facts),
            return_exceptions=True,
        )
        if isinstance(memories, BaseException):
            raise memories
        if isinstance(facts, MeshError):
            await self.report(facts, severity="warning", question=query)
        elif isinstance(facts, BaseException):
            raise facts
        found = memories["results"] + ([] if isinstance(facts, BaseException) else facts["results"])
        known: dict[str, dict[str, Any]] = {}
        for each in found:
            if each.get("memory_type") != "interaction":  # the question itself is one, and says nothing
                known.setdefault(each["content"], each)
        turn.memories = list(known.values())

    async def _forget(self, turn: Turn) -> None:
        """Remove the one memory that is meant; if it is not clear which, none is touched."""
        wanted = turn.entities.get("content", turn.text)
        found = await self.request("memory_client.semantic_search", query=wanted, k=self.config.memories, user_id=turn.user)
        meant = [each for each in found["results"] if says_all_of(each["content"], wanted)]
        if len(meant) == 1:
            await self.request("memory_client.delete_memory", memory_id=meant[0]["memory_id"])
            turn.draft = f'I have forgotten this: "{meant[0]["content"]}".'
        elif meant:
            listed = "; ".join(f'"{each["content"]}"' for each in meant)
            turn.draft = f"I know several things like that and forgot none of them. Which one: {listed}?"
        else:
            turn.draft = "I know nothing of that kind, so there is nothing to forget."

    async def _command(self, turn: Turn) -> None:
        parameters = {name: value for name, value in turn.entities.items() if name != "command_name"}
        command = turn.entities.get("command_name", turn.text)
        try:
            await self.request(
                "intention_validator.validate_command", command=command, parameters=parameters, user_id=turn.user,
                profile=turn.profile,
            )
        except PermissionDenied as refusal:
            turn.draft = f"I will not do that: {refusal.message}."
        else:
            turn.draft = "That would be allowed, but nothing here can carry out commands yet, so nothing was done."

    async def _instant(self, turn: Turn) -> None:
        now = datetime.fromtimestamp(self.clock.time()).astimezone()
        if turn.intent == "calculate":
            turn.draft = await self.run(sum_answer, turn.entities.get("expression", turn.text))
        elif turn.intent == "time":
            turn.draft = await self.run(time_answer, now, turn.entities.get("place"))
        else:
            turn.draft = date_answer(now, turn.entities.get("day"))

    async def _new_session(self, user: str) -> str | None:
        """Open a session; an answer that was found is not withheld because this fails."""
        try:
            opened = await self.request(
                "session_memory.create_session", user_id=user, timeout=self.config.session_timeout_s
            )
        except MeshError as error:
            await self.report(error, severity="warning", user=user, lost="a session for this conversation")
            return None
        return str(opened["session_id"])

    async def _tell(self, turn: Turn, answer: str, engine: str, session: str | None, context: dict[str, Any]) -> None:
        """Write both turns to the session behind the user's back, and tell who wants to learn from them."""
        if session is not None and len(self._writing) < self.config.unwritten:
            writing = asyncio.create_task(self._write(session, turn, answer, context))
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)
        elif session is not None:
            await self.report("too many session entries are on their way, this one is lost", session=session)
        await self.publish("interaction.completed", Interaction(
            user_id=turn.user, session_id=session, user_input=turn.text, assistant_response=answer,
            intent=turn.intent, engine=engine, time=self.clock.time(),
        ))

    async def _write(self, session: str, turn: Turn, answer: str, context: dict[str, Any]) -> None:
        told = {"intent": turn.intent, "user_id": turn.user, **({"context": context} if context else {})}
        try:
            for role, content in (("user", turn.text), ("assistant", answer)):
                await self.request(
                    "session_memory.add_interaction", session_id=session, role=role, content=content, metadata=told,
                )
        except MeshError as error:
            await self.report(error, severity="warning", session=session, lost="an entry of this conversation")


def says_all_of(memory: str, wanted: str) -> bool:
    """Tell whether `memory` holds every word of `wanted`, in any order; an empty wish is held by nothing."""
    words = wanted.lower().replace("'s", "").split()
    there = set(memory.lower().replace("'s", "").replace(",", " ").strip(" .").split())
    return bool(words) and all(word.strip(".,") in there for word in words)
