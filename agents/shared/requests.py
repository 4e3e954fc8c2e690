"""What goes into the front door and comes out of it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Metadata(BaseModel):
    """What may speed a request up or slow it down; other keys are kept and passed on."""

    model_config = ConfigDict(extra="allow", frozen=True)
    urgency: Literal["critical", "high", "normal", "low"] = "normal"
    user_type: Literal["admin", "premium", "standard", "guest"] = "standard"


class Answer(BaseModel):
    """What the user gets; `session_id` names the conversation: give it again and it goes on."""

    answer: str
    intent: str
    engine: str
    session_id: str


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
    session_id: str
    user_input: str
    assistant_response: str
    intent: str
    engine: str
    time: float
