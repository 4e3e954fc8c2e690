"""The methods of a class that carry a record of a decorator, inherited ones included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from mesh.agent.misfit import all_of, misfit
from mesh.errors import LoadError

T = TypeVar("T")


def compile_each(cls: type, marker: str, compile_one: Callable[[type, str, Callable[..., Any], Any], T]) -> list[T]:
    """Return `compile_one(cls, name, function, record)` of each marked method, in the order they are written.

    Raises one `LoadError` that tells every method that does not fit.
    """
    compiled: list[T] = []
    refused: list[LoadError] = []
    for name, attribute, owner in _attributes(cls, marker):
        try:
            compiled.append(compile_one(cls, name, *_method(cls, name, attribute, owner, marker)))
        except LoadError as error:
            refused.append(error)
    if refused:
        raise all_of(refused)
    return compiled


def _attributes(cls: type, marker: str) -> Iterator[tuple[str, Any, type]]:
    """Yield name, attribute in force and the class that marked it first; `name = None` in a subclass takes it away."""
    owners: dict[str, type] = {}
    for base in reversed(cls.__mro__):
        for name, attribute in vars(base).items():
            if _record(attribute, marker) is not None:
                owners.setdefault(name, base)
    for name, owner in owners.items():
        attribute = next(vars(base)[name] for base in cls.__mro__ if name in vars(base))
        if attribute is not None:
            yield name, attribute, owner


def _method(cls: type, name: str, attribute: Any, owner: type, marker: str) -> tuple[Callable[..., Any], Any]:
    what, decorator = f"{cls.__name__}.{name}", marker.strip("_").removeprefix("mesh_")
    if isinstance(attribute, (staticmethod, classmethod, property)):
        kind = type(attribute).__name__
        raise misfit(what, f"@{kind} around @{decorator}", f"a {kind} has no agent to run on",
                     f"a method without @{kind}", getattr(attribute, "__func__", cls))
    record = _record(attribute, marker)
    if record is None:
        raise misfit(what, f"{name} without a decorator", f"it replaces the {decorator} of {owner.__name__} silently",
                     f"the decorator again, or {name} = None to take it away", attribute)
    return attribute, record


def _record(attribute: Any, marker: str) -> Any:
    if isinstance(attribute, property):
        attribute = attribute.fget
    return getattr(getattr(attribute, "__func__", attribute), marker, None)
