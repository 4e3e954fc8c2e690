"""The signature of an agent's method, with its annotations resolved and everything refused that cannot be called.

A method of the mesh is called by name with keyword arguments from another process, so each parameter has a name and a
type, and the result has a type.
"""

from __future__ import annotations

import collections.abc
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mesh.agent.annotation import text_of
from mesh.agent.misfit import misfit
from mesh.errors import LoadError

EMPTY = inspect.Parameter.empty
_STREAMS = (
    collections.abc.AsyncIterator, collections.abc.AsyncIterable, collections.abc.AsyncGenerator,
    collections.abc.Iterator, collections.abc.Generator,
)
_KINDS: dict[Any, str] = {
    inspect.Parameter.POSITIONAL_ONLY: "is positional-only, and arguments travel by name",
    inspect.Parameter.VAR_POSITIONAL: "takes any number of arguments, and arguments travel by name",
    inspect.Parameter.VAR_KEYWORD: "takes any argument, and arguments are checked by name and type",
}
_STARS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a method: its resolved type, and its default (`EMPTY` when it must be given)."""

    name: str
    annotation: Any
    default: Any
    text: str

    @property
    def required(self) -> bool:
        """Whether the caller must give it."""
        return self.default is EMPTY


@dataclass(frozen=True, slots=True)
class Signature:
    """A method as declared: `what` is `Class.method`, `text` is how it is called, `sync` is a plain `def`."""

    what: str
    name: str
    parameters: tuple[Parameter, ...]
    returns: Any
    sync: bool
    text: str
    declared: str
    function: Callable[..., Any]

    def refuse(self, problem: str, expected: str) -> LoadError:
        """Return the error that says what does not fit about this method."""
        return misfit(self.what, self.declared, problem, expected, self.function)


def read_signature(cls: type, name: str, function: Callable[..., Any]) -> Signature:
    """Return the signature of `cls.name`; raises `LoadError` for what cannot be called over the mesh."""
    what = f"{cls.__name__}.{name}"
    signature = inspect.signature(function)
    sync = not inspect.iscoroutinefunction(function)
    declared = _declared(name, signature, sync)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise misfit(what, declared, "it yields, and a method of the mesh returns one value",
                     "return a value or a list instead of yield", function)
    parameters = list(signature.parameters.values())[1:]
    for parameter in parameters:
        if parameter.kind in _KINDS:
            raise misfit(what, declared, f"parameter '{parameter.name}' {_KINDS[parameter.kind]}",
                         f"named parameters with types, such as {parameter.name}: str", function)
        if parameter.annotation is EMPTY:
            raise misfit(what, declared, f"parameter '{parameter.name}' has no annotation",
                         f"a type for every parameter, such as {parameter.name}: str", function)
    if signature.return_annotation is EMPTY:
        raise misfit(what, declared, "the result has no annotation",
                     "the type of the result, such as -> str, or -> None if there is none", function)
    hints = _hints(cls, what, declared, function)
    if typing.get_origin(hints["return"]) in _STREAMS:
        raise misfit(what, declared, f"the result is {text_of(signature.return_annotation)}, which is not one value",
                     "a list, a plain value or a pydantic model", function)
    return Signature(
        what=what, name=name, returns=hints["return"], sync=sync, declared=declared, function=function,
        parameters=tuple(
            Parameter(item.name, hints[item.name], item.default, _parameter_text(item)) for item in parameters
        ),
        text=f"{name}({', '.join(_parameter_text(item) for item in parameters)})",
    )


def _hints(cls: type, what: str, declared: str, function: Callable[..., Any]) -> dict[str, Any]:
    """Return the resolved annotations; classes nested in the agent class may be named without it."""
    nested: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        nested.update((key, value) for key, value in vars(base).items() if isinstance(value, type))
    try:
        hints = typing.get_type_hints(function, localns=nested, include_extras=True)
    except NameError as error:
        raise misfit(what, declared, f"an annotation names {error.name!r}, which the module does not have at run time",
                     "an import outside `if TYPE_CHECKING`, or a class defined in the module", function) from None
    except (TypeError, SyntaxError, AttributeError) as error:
        raise misfit(what, declared, f"an annotation cannot be evaluated: {error}",
                     "annotations that are types", function) from None
    return {"return": None, **hints}


def _declared(name: str, signature: inspect.Signature, sync: bool) -> str:
    inside = ", ".join(_parameter_text(parameter) for parameter in signature.parameters.values())
    returns = text_of(signature.return_annotation)
    return f"{'' if sync else 'async '}def {name}({inside}){f' -> {returns}' if returns else ''}"


def _parameter_text(parameter: inspect.Parameter) -> str:
    star = _STARS.get(parameter.kind, "")
    annotation = text_of(parameter.annotation)
    typed = f"{star}{parameter.name}{f': {annotation}' if annotation else ''}"
    if parameter.default is EMPTY:
        return typed
    return f"{typed} = {parameter.default!r}" if annotation else f"{typed}={parameter.default!r}"
