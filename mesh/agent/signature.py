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
_ITERATORS = (collections.abc.AsyncIterator, collections.abc.AsyncIterable, collections.abc.AsyncGenerator)
_STREAMS = (*_ITERATORS, collections.abc.Iterator, collections.abc.Generator)
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
    """A method as declared: `what` is `Class.method`, `text` is how it is called, `sync` is a plain `def`.

    One that `streams` yields items of the type `returns`.
    """

    what: str
    name: str
    parameters: tuple[Parameter, ...]
    returns: Any
    sync: bool
    text: str
    declared: str
    function: Callable[..., Any]
    streams: bool = False

    def refuse(self, problem: str, expected: str) -> LoadError:
        """Return the error that says what does not fit about this method."""
        return misfit(self.what, self.declared, problem, expected, self.function)


def read_signature(cls: type, name: str, function: Callable[..., Any], *, may_stream: bool = False) -> Signature:
    """Return the signature of `cls.name`; raises `LoadError` for what cannot be called over the mesh.

    A generator is one of the things that cannot, unless it `may_stream`.
    """
    what = f"{cls.__name__}.{name}"
    signature = inspect.signature(function)
    streams = may_stream and inspect.isasyncgenfunction(function)
    sync = not (streams or inspect.iscoroutinefunction(function))
    declared = _declared(name, signature, sync)
    if not streams and (inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)):
        expected = (f"async def {name}(...) -> AsyncIterator[...] for a stream of items" if may_stream
                    else "a value or a list instead of yield")
        raise misfit(what, declared, "it yields, and what is no asynchronous operation returns one value", expected,
                     function)
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
    returns = hints["return"]
    if streams:
        returns = _item(returns)
        if returns is EMPTY:
            raise misfit(what, declared, f"it yields, and the result is {text_of(signature.return_annotation)}",
                         "the type of the items, such as -> AsyncIterator[str]", function)
    elif returns in _STREAMS or typing.get_origin(returns) in _STREAMS:
        raise misfit(what, declared, f"the result is {text_of(signature.return_annotation)}, which is not one value",
                     "a list, a plain value or a pydantic model; or yield the items in an `async def`"
                     if may_stream else "a list, a plain value or a pydantic model", function)
    return Signature(
        what=what, name=name, returns=returns, sync=sync, declared=declared, function=function, streams=streams,
        parameters=tuple(
            Parameter(item.name, hints[item.name], item.default, _parameter_text(item)) for item in parameters
        ),
        text=f"{name}({', '.join(_parameter_text(item) for item in parameters)})",
    )


def _item(annotation: Any) -> Any:
    """Return the type of the items of an `AsyncIterator[...]` or its like, `EMPTY` for any other type."""
    arguments = typing.get_args(annotation)
    return arguments[0] if typing.get_origin(annotation) in _ITERATORS and arguments else EMPTY


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
