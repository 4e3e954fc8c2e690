"""What an agent does without being asked: subscriptions and timers, compiled once when their class is loaded."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mesh.agent.annotation import text_of
from mesh.agent.marked import compile_each
from mesh.agent.mismatch import mismatches
from mesh.agent.operation import SUBSCRIPTIONS, TIMER, SubscriptionSpec, TimerSpec
from mesh.agent.schema import adapter_of
from mesh.agent.signature import read_signature
from mesh.errors import InvalidArgument


@dataclass(frozen=True)
class Subscription:
    """A method that is called with the events of a pattern: `method(**bind(topic, payload))`.

    With a `group` it hears those that its instance is chosen for among all members.
    """

    pattern: str
    group: str | None
    method: str
    sync: bool
    doc: str
    payload: str
    wants_topic: bool
    _annotation: Any = field(repr=False)
    _adapter: TypeAdapter[Any] = field(repr=False)

    def bind(self, topic: str, payload: Any) -> dict[str, Any]:
        """Return the keyword arguments for the method; raises `InvalidArgument` for a payload of another type."""
        try:
            value = self._adapter.validator.validate_python(payload)
        except ValidationError as error:
            found = mismatches(error, payload)[0]
            where = f"'{found.path}' of the payload" if found.path else "the payload"
            raise InvalidArgument(
                f"{self.method} hears {topic} and expects {text_of(self._annotation)}: {where} is {found.found}: "
                f"{found.complaint}", path=found.path or "payload",
            ) from None
        return {self.payload: value, "topic": topic} if self.wants_topic else {self.payload: value}

    def describe(self) -> dict[str, Any]:
        """Return pattern, group, method, doc and the JSON schema of the payload, as plain values."""
        return {"pattern": self.pattern, "group": self.group, "method": self.method, "doc": self.doc,
                "payload": self._adapter.json_schema()}


@dataclass(frozen=True, slots=True)
class Timer:
    """A method that runs each `seconds`, without arguments."""

    method: str
    seconds: float
    sync: bool
    doc: str

    def describe(self) -> dict[str, Any]:
        """Return method, seconds and doc, as plain values."""
        return {"method": self.method, "seconds": self.seconds, "doc": self.doc}


def compile_subscriptions(cls: type) -> tuple[Subscription, ...]:
    """Return the subscriptions of an agent class; raises one `LoadError` that tells every misfit."""
    return tuple(one for each in compile_each(cls, SUBSCRIPTIONS, _compile_subscriptions) for one in each)


def compile_timers(cls: type) -> tuple[Timer, ...]:
    """Return the timers of an agent class; raises one `LoadError` that tells every misfit."""
    return tuple(compile_each(cls, TIMER, _compile_timer))


def _compile_subscriptions(
    cls: type, name: str, function: Callable[..., Any], specs: tuple[SubscriptionSpec, ...]
) -> tuple[Subscription, ...]:
    signature = read_signature(cls, name, function)
    topic = next((item for item in signature.parameters if item.name == "topic"), None)
    payloads = [item for item in signature.parameters if item.name != "topic"]
    if len(payloads) != 1:
        named = ", ".join(item.name for item in payloads) or "none"
        raise signature.refuse(f"a subscription takes one payload, found {named}",
                               f"async def {name}(self, payload: dict[str, Any]) -> None, and topic: str if wanted")
    if topic is not None and topic.annotation is not str:
        raise signature.refuse(f"'topic' is {text_of(topic.annotation)}, and a topic is text", "topic: str")
    payload = payloads[0]
    adapter = adapter_of(signature, payload.annotation, f"parameter '{payload.name}'")
    return tuple(
        Subscription(spec.pattern, spec.group, name, signature.sync, _doc(function), payload.name, topic is not None,
                     payload.annotation, adapter)
        for spec in specs
    )


def _compile_timer(cls: type, name: str, function: Callable[..., Any], spec: TimerSpec) -> Timer:
    signature = read_signature(cls, name, function)
    required = [item.name for item in signature.parameters if item.required]
    if required:
        raise signature.refuse(f"a timer gives no arguments, and {', '.join(required)} must be given",
                               f"async def {name}(self) -> None")
    return Timer(name, spec.seconds, signature.sync, _doc(function))


def _doc(function: Callable[..., Any]) -> str:
    return inspect.cleandoc(function.__doc__ or "")
