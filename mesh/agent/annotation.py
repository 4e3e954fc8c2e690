"""Declared types as they are checked against what came over the wire.

Numbers, text and truth values must be what is declared: "5" is no int and 1 is no bool, only an int passes for a
float. What msgpack has no type for (datetime, Path, Enum, set, tuple, UUID) is read from the text, number or list it
travels as. Fields of pydantic models, dataclasses and TypedDicts follow their own configuration. Keys of maps are
always text on the wire and are converted to the declared type.
"""

from __future__ import annotations

import collections.abc
import inspect
import sys
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, Strict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

_SCALARS = (int, float, str, bool)
_MAPS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_LISTS = (
    list, tuple, set, frozenset,
    collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Set, collections.abc.MutableSet,
    collections.abc.Iterable, collections.abc.Collection,
)


def checked(annotation: Any) -> Any:
    """Return `annotation` with the rules of this file attached, for pydantic to compile."""
    if any(annotation is scalar for scalar in _SCALARS):
        return Annotated[annotation, Strict()]
    annotation = _unaliased(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if _is_array(origin or annotation):
        return Annotated[Any, ArrayType(_scalar_of(arguments))]
    if origin is None or origin is Literal:
        return annotation
    if origin is Annotated:
        return Annotated[(checked(arguments[0]), *arguments[1:])]
    if origin is Union or origin is types.UnionType:
        return Union[tuple(checked(argument) for argument in arguments)]  # noqa: UP007
    if origin in _MAPS:
        return origin[arguments[0], checked(arguments[1])]
    if origin in _LISTS:
        return origin[tuple(item if item is Ellipsis else checked(item) for item in arguments)]
    return annotation


def text_of(annotation: Any) -> str:
    """Return an annotation as its author would write it."""
    if annotation is inspect.Parameter.empty:
        return ""
    if isinstance(annotation, str):
        return annotation
    if annotation is None or annotation is type(None):
        return "None"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return text_of(arguments[0])
    if origin is Union or origin is types.UnionType:
        return " | ".join(text_of(argument) for argument in arguments)
    if arguments and origin in (list, dict, tuple, set, frozenset):
        return f"{origin.__name__}[{', '.join('...' if item is Ellipsis else text_of(item) for item in arguments)}]"
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__qualname__.rpartition("<locals>.")[2]
    return inspect.formatannotation(annotation)


class ArrayType:
    """The check of a numpy array: that it is one, and that its numbers are of the declared kind."""

    def __init__(self, scalar: type | None) -> None:
        self.scalar = scalar

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        kind = f" of {self.scalar.__name__}" if self.scalar else ""
        return {"type": "object", "format": "ndarray", "description": f"a numpy array{kind}"}

    def _check(self, value: Any) -> Any:
        numpy = sys.modules.get("numpy")  # a value can only be an array when numpy is already there
        if numpy is None or not isinstance(value, numpy.ndarray):
            raise PydanticCustomError("array_type", "Input should be a numpy array")
        if self.scalar is not None and not issubclass(value.dtype.type, self.scalar):
            raise PydanticCustomError(
                "array_dtype", "Input should be an array of {wanted}, not of {found}",
                {"wanted": self.scalar.__name__, "found": value.dtype.name},
            )
        return value


def _unaliased(annotation: Any) -> Any:
    """Return what `NDArray[...]` stands for: since numpy 2.5 it is an alias of its own kind, no longer an ndarray."""
    alias = get_origin(annotation) or annotation
    if getattr(alias, "__name__", "") != "NDArray" or not hasattr(alias, "__value__"):
        return annotation
    arguments = get_args(annotation)
    return alias.__value__[arguments] if arguments else alias.__value__


def _is_array(annotation: Any) -> bool:
    return getattr(annotation, "__module__", "") == "numpy" and getattr(annotation, "__name__", "") == "ndarray"


def _scalar_of(arguments: tuple[Any, ...]) -> type | None:
    """Return float32 of `ndarray[Any, dtype[float32]]`, None where any kind will do."""
    inner = get_args(arguments[1]) if len(arguments) > 1 else ()
    return inner[0] if inner and isinstance(inner[0], type) else None
