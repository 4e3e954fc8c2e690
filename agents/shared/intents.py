"""The shape of intents.yaml: which intents there are and by which word patterns a sentence asks for them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class PatternRule(BaseModel):
    """One pattern of one intent; named groups become entities unless they begin with _, `set` adds further ones.

    In a value of `set`, {group} stands for what that group of the pattern holds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    match: str
    set: dict[str, str] = Field(default_factory=dict)


class IntentRules(BaseModel):
    """The patterns of one intent, tried in order; a plain text stands for a rule without fixed entities.

    Patterns of a `statement` are not tried on a sentence that asks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    intent: str
    statement: bool = False
    patterns: list[PatternRule | str]


class IntentBook(BaseModel):
    """All of intents.yaml; the order of `intents` decides which pattern wins."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    terms: dict[str, str]
    polite: list[str]
    asking: list[str]
    times: list[tuple[str, str]]
    repair: list[str]
    intents: list[IntentRules]
