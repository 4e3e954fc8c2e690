"""The shape of smalltalk.yaml: what the built-in talker says to which sentence."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class SmallTalkRule(BaseModel):
    """A pattern to look for in a sentence, and replies that take turns; {0} stands for its first group."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    pattern: str
    replies: list[str] = Field(min_length=1)


class SmallTalkBook(BaseModel):
    """All of smalltalk.yaml; the first rule that is found wins."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    reflections: dict[str, str]
    rules: list[SmallTalkRule]
    otherwise: list[str] = Field(min_length=1)
