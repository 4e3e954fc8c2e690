"""The front door: every request of a user comes in here and leaves with its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agents_mainpc.instant_answers import date_answer, sum_answer, time_answer
from agents_mainpc.request_queue import RequestQueue
from agents_mainpc.session_log import SessionLog
from agents_mainpc.suggestions import Suggestions
from agents_shared.messages import CONVERSATION
from agents_shared.requests import Answer, Interaction, Metadata, QueuedTask, QueueStatus, Suggestion

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
        """Answers whose turns may be on their way to their sessions at once."""
        session_timeout_s: float = 2.0

    config: Config

    async def setup(self) -> None:
        """Open the queue."""
        self._queue = RequestQueue(self.config.queue, self.config.turns, self.clock.call_later)
        self._suggestions = Suggestions(self.config.quiet_s)
        self._writing: set[asyncio.Task[None]] = set()
        self._sessions = SessionLog(self, self.config.session_timeout_s)
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
        session = session_id or await self._sessions.begin(user)
        said = Interaction(
            user_id=user, session_id=session, user_input=text, assistant_response=reply["text"],
            intent=turn.intent, engine=turn.engine if turn.engine != BUILTIN else reply["engine"],
            time=self.clock.time(),
        )
        self._suggestions.heard(user, text, known=reply["known"], now=self.clock.monotonic())
        await self._log(said, context)
        await self.publish("interaction.completed", said)
        return Answer(
            answer=said.assistant_response, intent=said.intent, engine=said.engine, session_id=said.session_id
        )

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
        added = await self.request(
            "memory_client.add_memory", content=content, memory_type="general", memory_tier="long", importance=1.0,
            tags=["told"], user_id=turn.user,
        )
        turn.memories = [{"memory_id": added["memory_id"], "content": content}]

    async def _recall(self, turn: Turn) -> None:
        query = turn.entities.get("query", turn.text)
        memories = await self.request(
            "memory_client.semantic_search", query=query, k=self.config.memories, user_id=turn.user,
            filters={"exclude_types": list(CONVERSATION)},  # the question itself is one of those, and says nothing
        )
        once: dict[str, dict[str, Any]] = {}
        for each in memories["results"] + await self._facts(query):
            once.setdefault(each["content"], each)
        turn.memories = list(once.values())

    async def _facts(self, query: str) -> list[dict[str, Any]]:
        """Return what the knowledge base has; that it is away takes nothing from the user's own memories."""
        try:
            found = await self.request("knowledge_base.search_facts", query=query, limit=self.config.facts)
        except MeshError as error:
            await self.report(error, severity="warning", question=query)
            return []
        return list(found["results"])

    async def _forget(self, turn: Turn) -> None:
        wanted = turn.entities.get("content", turn.text)
        found = await self.request("memory_client.forget_memory", content=wanted, user_id=turn.user)
        listed = "; ".join(f'"{content}"' for content in found["forgotten"])
        turn.draft = f"I have forgotten this: {listed}." if listed else "I know nothing of that kind."

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

    async def _log(self, said: Interaction, context: dict[str, Any]) -> None:
        """Write both turns to the session behind the user's back; what cannot be written is reported."""
        if len(self._writing) >= self.config.unwritten:
            await self.report("too many session entries are on their way, this one is lost", session=said.session_id)
            return
        writing = asyncio.create_task(self._write(said, context))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)

    async def _write(self, said: Interaction, context: dict[str, Any]) -> None:
        told = {"intent": said.intent, **({"context": context} if context else {})}
        try:
            for role, content in (("user", said.user_input), ("assistant", said.assistant_response)):
                await self._sessions.add(said.user_id, said.session_id, role, content, told)
        except MeshError as error:
            await self.report(error, severity="warning", session=said.session_id, lost="a turn of this conversation")
