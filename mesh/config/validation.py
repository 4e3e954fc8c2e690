"""Values against a schema: a finding for each thing that does not fit, and what is left when it is taken away.

Taking away what is wrong lets the later checks (ports, dependencies, files) see the rest, so that one run lists all.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from mesh.address import nearest
from mesh.config.findings import Finding, Place, found
from mesh.config.source import KeyPath, kind

PlaceOf = Callable[[KeyPath], Place]
ModelT = TypeVar("ModelT", bound=BaseModel)

_EXPECTED: Mapping[str, str] = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
}
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("more than {gt}", "gt"),
    "greater_than_equal": ("at least {ge}", "ge"),
    "less_than": ("less than {lt}", "lt"),
    "less_than_equal": ("at most {le}", "le"),
}
_ROUNDS = 4


def check(model: type[ModelT], values: Mapping[str, Any], place: PlaceOf) -> tuple[ModelT, list[Finding]]:
    """Return `values` as `model`, without what does not fit, and the findings about that."""
    findings: list[Finding] = []
    left: Any = values
    for _ in range(_ROUNDS):
        try:
            return model.model_validate(left), findings
        except ValidationError as error:
            left = copy.deepcopy(left)
            # from the back, so that what stands before keeps its place
            for detail in reversed(error.errors(include_url=False)):
                path = _path(detail)
                findings.append(_finding(model, detail, path, place(path)))
                _take_away(left, path, exactly=detail["type"] == "extra_forbidden")
    return model(), findings


def dotted(path: KeyPath) -> str:
    """Return `depends_on[0].service` for the path of that key."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def keys_at(model: type[BaseModel], path: KeyPath) -> tuple[str, ...]:
    """Return the keys that `model` allows at `path`; none where any key or no key is allowed."""
    annotation = _annotation(model, path)
    if not _is_model(annotation):
        return ()
    return tuple(info.alias or name for name, info in annotation.model_fields.items())


def alike(name: str, known: tuple[str, ...]) -> str | None:
    """Return the hint for an unknown `name`: the nearest known one, or all of them."""
    if near := nearest(name, known):
        return f"did you mean `{near}`?"
    return f"known: {', '.join(known)}" if known else None


def _path(detail: ErrorDetails) -> KeyPath:
    """Return where the error is, without what pydantic adds to the path of a key."""
    return tuple(step for step in detail["loc"] if step != "[key]")


def _finding(model: type[BaseModel], detail: ErrorDetails, path: KeyPath, place: Place) -> Finding:
    if detail["type"] == "extra_forbidden":
        known = keys_at(model, path[:-1])
        return found(place, "unknown_key", f"unknown key `{dotted(path)}`", alike(str(path[-1]), known))
    value = kind(detail["input"])
    if detail["type"] in _EXPECTED:
        message = f"`{dotted(path)}` takes {_EXPECTED[detail['type']]}, found {value}"
        return found(place, "wrong_type", message, _description(model, path))
    if detail["type"] == "literal_error":
        choices = _choices(_annotation(model, path))
        message = f"`{dotted(path)}` takes {' or '.join(f'`{choice}`' for choice in choices)}, found {value}"
        return found(place, "invalid_value", message, _description(model, path))
    if detail["type"] in _BOUNDS:
        text, _ = _BOUNDS[detail["type"]]
        message = f"`{dotted(path)}` must be {text.format(**detail.get('ctx', {}))}, found {value}"
        return found(place, "invalid_value", message, _description(model, path))
    return found(place, "invalid_value", f"`{dotted(path)}`: {detail['msg']}, found {value}", _description(model, path))


def _take_away(values: Any, path: KeyPath, *, exactly: bool) -> None:
    """Remove what is at `path`.

    Without `exactly`, an entry of a list goes whole: in its place stands the empty text that later checks pass over,
    so the entries after it keep their number and line.
    """
    *way, last = path
    for step in way:
        if isinstance(step, int) and not exactly:
            values[step] = ""
            return
        values = values[step]
    if isinstance(last, int):
        values[last] = ""
    else:
        values.pop(last, None)


def _description(model: type[BaseModel], path: KeyPath) -> str | None:
    """Return what the schema says about the key at `path`."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    info = _field(_annotation(model, path[:-1]), path[-1]) if path else None
    return info.description if info else None


def _annotation(model: type[BaseModel], path: KeyPath) -> Any:
    """Return the type at `path`, None where the schema names none."""
    current: Any = model
    for step in path:
        if _is_model(current):
            info = _field(current, step)
            current = info.annotation if info else None
        elif get_origin(current) in (dict, list, tuple):
            current = get_args(current)[-1]
        else:
            return None
        current = _bare(current)
    return current


def _bare(annotation: Any) -> Any:
    """Return the type inside `Annotated` and `Optional`."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return _bare(get_args(annotation)[0])
    return annotation


def _field(model: Any, key: object) -> FieldInfo | None:
    if not _is_model(model):
        return None
    return next((info for name, info in model.model_fields.items() if (info.alias or name) == key), None)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _choices(annotation: Any) -> tuple[str, ...]:
    return tuple(str(choice) for choice in get_args(annotation)) if get_origin(annotation) is Literal else ()
