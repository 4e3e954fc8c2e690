"""Subscriptions and timers are compiled like operations: what they may declare, and what a payload must be."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from mesh.agent import Agent, compile_subscriptions, compile_timers, every, operation, subscribe
from mesh.errors import InvalidArgument, LoadError
from mesh.message import decode, encode


class Interaction(BaseModel):
    user: str
    words: int = 0


class Listener(Agent):
    @subscribe("interaction.completed")
    @subscribe("interaction.repeated")
    async def learn_from(self, interaction: Interaction) -> None:
        """Learn from what was said."""

    @subscribe("cache.#")
    def note(self, topic: str, payload: Any) -> None: ...

    @every(seconds=300)
    async def compact(self) -> None:
        """Make room."""

    @operation
    @every(seconds=5)
    def clean(self, days: int = 1) -> int:
        return days


SUBSCRIPTIONS = {one.pattern: one for one in compile_subscriptions(Listener)}


def test_every_pattern_of_a_method_is_a_subscription() -> None:
    assert [(one.pattern, one.method, one.sync) for one in compile_subscriptions(Listener)] == [
        ("interaction.completed", "learn_from", False),
        ("interaction.repeated", "learn_from", False),
        ("cache.#", "note", True),
    ]


def test_the_payload_is_read_as_declared_whatever_it_is_called() -> None:
    bound = SUBSCRIPTIONS["interaction.completed"].bind("interaction.completed", {"user": "ann"})
    assert bound == {"interaction": Interaction(user="ann")}


def test_the_topic_is_given_to_those_who_declare_it() -> None:
    assert SUBSCRIPTIONS["cache.#"].bind("cache.put", 5) == {"topic": "cache.put", "payload": 5}


def test_a_payload_of_another_type_is_refused_with_topic_and_field() -> None:
    with pytest.raises(InvalidArgument) as caught:
        SUBSCRIPTIONS["interaction.completed"].bind("interaction.completed", {"user": 5})
    assert caught.value.message == ("learn_from hears interaction.completed and expects Interaction: 'user' of the "
                                    "payload is 5 (int): input should be a valid string")
    with pytest.raises(InvalidArgument, match="the payload is 'hello'"):
        SUBSCRIPTIONS["interaction.completed"].bind("interaction.completed", "hello")


def test_timers_tell_method_and_seconds() -> None:
    assert [(one.method, one.seconds, one.sync) for one in compile_timers(Listener)] == [
        ("compact", 300.0, False), ("clean", 5.0, True),
    ]


def test_descriptions_travel() -> None:
    described = [one.describe() for one in compile_subscriptions(Listener)]
    described += [one.describe() for one in compile_timers(Listener)]
    assert decode(encode(described)) == described


class NoPayload(Agent):
    @subscribe("a.b")
    async def hear(self, topic: str) -> None: ...


class TwoPayloads(Agent):
    @subscribe("a.b")
    async def hear(self, one: int, two: int) -> None: ...


class WrongTopic(Agent):
    @subscribe("a.b")
    async def hear(self, payload: int, topic: bytes) -> None: ...


class Bare(Agent):
    @subscribe("a.b")
    async def hear(self, payload) -> None: ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize(("cls", "problem"), [
    (NoPayload, "a subscription takes one payload, found none"),
    (TwoPayloads, "a subscription takes one payload, found one, two"),
    (WrongTopic, "'topic' is bytes, and a topic is text"),
    (Bare, "parameter 'payload' has no annotation"),
])
def test_a_handler_that_cannot_be_called_is_refused_at_load(cls: type[Agent], problem: str) -> None:
    with pytest.raises(LoadError) as caught:
        compile_subscriptions(cls)
    assert problem in caught.value.message
    assert f"{cls.__name__}.hear" in caught.value.message


def test_a_timer_that_wants_arguments_is_refused_at_load() -> None:
    class Timed(Agent):
        @every(seconds=1)
        async def tick(self, now: float) -> None: ...

    with pytest.raises(LoadError, match="a timer gives no arguments, and now must be given"):
        compile_timers(Timed)
