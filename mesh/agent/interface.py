"""Everything an agent class offers and does, compiled and checked once when it is loaded."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mesh.address import nearest
from mesh.agent.agent import Agent
from mesh.agent.annotation import text_of
from mesh.agent.misfit import all_of, misfit
from mesh.agent.reaction import Subscription, Timer, compile_subscriptions, compile_timers
from mesh.agent.schema import Operation, compile_operations
from mesh.agent.settings import AgentConfig, config_class
from mesh.errors import LoadError, UnknownOperation

_LIFECYCLE = ("setup", "teardown", "check")
_COMPILED = "__mesh_interface__"


@dataclass(frozen=True)
class Interface:
    """What the mesh knows of an agent class; `purpose` is the first line of its docstring."""

    purpose: str
    operations: Mapping[str, Operation]
    subscriptions: tuple[Subscription, ...]
    timers: tuple[Timer, ...]
    config: type[AgentConfig]

    def operation(self, name: str) -> Operation:
        """Return an operation; raises `UnknownOperation` with the nearest name."""
        found = self.operations.get(name)
        if found is None:
            like = nearest(name, self.operations)
            hint = f"did you mean '{like}'?" if like else f"there are: {', '.join(self.operations) or 'none'}"
            raise UnknownOperation(f"there is no operation '{name}'; {hint}", suggestion=like)
        return found

    def describe(self) -> dict[str, Any]:
        """Return purpose, operations, subscriptions, timers and the schema of the settings, as plain values."""
        return {
            "purpose": self.purpose,
            "operations": [operation.describe() for operation in self.operations.values()],
            "subscriptions": [subscription.describe() for subscription in self.subscriptions],
            "timers": [timer.describe() for timer in self.timers],
            "settings": self.config.model_json_schema(),
        }


def interface_of(cls: type) -> Interface:
    """Return the interface of an agent class, compiled once; raises `LoadError` as `compile_agent` does."""
    known: Interface | None = vars(cls).get(_COMPILED)
    if known is None:
        known = compile_agent(cls)
        setattr(cls, _COMPILED, known)  # on the class, so that it goes with the class when that is reloaded
    return known


def compile_agent(cls: type) -> Interface:
    """Return the interface of an agent class; raises one `LoadError` that tells everything that does not fit."""
    if not (isinstance(cls, type) and issubclass(cls, Agent)):
        raise misfit(getattr(cls, "__name__", repr(cls)), f"{text_of(cls)} of type {type(cls).__name__}",
                     "it is no agent", "a class derived from mesh.Agent, DataAgent or MLAgent", cls)
    refused: list[LoadError] = []
    parts: dict[str, Any] = {}
    for name, part in (
        ("lifecycle", _check_lifecycle), ("config", config_class), ("operations", compile_operations),
        ("subscriptions", compile_subscriptions), ("timers", compile_timers),
    ):
        try:
            parts[name] = part(cls)
        except LoadError as error:
            refused.append(error)
    if refused:
        raise all_of(refused)
    del parts["lifecycle"]
    return Interface(purpose=_purpose(cls), **parts)


def _check_lifecycle(cls: type) -> None:
    """Raise `LoadError` unless the mesh can make, start, check and stop such an agent."""
    refused: list[LoadError] = _misfits_of_on_config(cls)
    for name in (*_LIFECYCLE, "__init__"):
        function = getattr(cls, name)
        if not inspect.isfunction(function):  # the __init__ of object
            continue
        declared = f"{'async ' if inspect.iscoroutinefunction(function) else ''}def {name}{inspect.signature(function)}"
        expected = f"async def {name}(self) -> {'str | None' if name == 'check' else 'None'}"
        if name in _LIFECYCLE and not inspect.iscoroutinefunction(function):
            refused.append(misfit(f"{cls.__name__}.{name}", declared, "it is not async", expected, function))
        elif _required(function):
            expected = expected if name in _LIFECYCLE else "def __init__(self) -> None, and settings in Config"
            refused.append(misfit(f"{cls.__name__}.{name}", declared, "nobody gives it arguments", expected, function))
    if refused:
        raise all_of(refused)


def _misfits_of_on_config(cls: type) -> list[LoadError]:
    """Return what is wrong with a class's `on_config`, which is given the new and the old settings."""
    function = getattr(cls, "on_config")  # noqa: B009 - `type` has no such attribute, an agent class does
    declared = f"{'async ' if inspect.iscoroutinefunction(function) else ''}def on_config{inspect.signature(function)}"
    problem = None if inspect.iscoroutinefunction(function) else "it is not async"
    try:
        inspect.signature(function).bind(None, None, None)
    except TypeError:
        problem = "it is given the new settings and the old ones"
    expected = "async def on_config(self, new: Config, old: Config) -> None"
    return [misfit(f"{cls.__name__}.on_config", declared, problem, expected, function)] if problem else []


def _required(function: Any) -> list[str]:
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return [item.name for item in parameters
            if item.default is item.empty and item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)]


def _purpose(cls: type) -> str:
    return inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]
