"""What callers of an agent lose with a new version of it: its operations, old against new, as they describe themselves.

Arguments that were right have to stay right, results have to stay readable. What is new beside that, an operation, an
argument with a default, a field of a result, breaks nobody. Compared are the JSON schemas that both versions tell; the
rules are those of variance: every value of the old arguments must fit the new ones, every new result the old one.

It does not know what an operation means: one that does something else under the same types passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]
Told = Mapping[str, Mapping[str, Any]]

_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EXACT = ("pattern", "format", "multipleOf", "uniqueItems", "contentEncoding", "propertyNames", "allOf", "not")
_NAMES = {"integer": "int", "number": "float", "string": "str", "boolean": "bool", "null": "None", "object": "dict",
          "binary": "bytes"}
_OWN = ("binary", "ndarray")
"""Formats that are types of their own: they do not travel as the text or the map that JSON would make of them."""
_ANY = "path"
"""A format that every text has."""
_TYPES: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


@dataclass(frozen=True, slots=True)
class Break:
    """One thing that callers of an operation lose; `kind` is for programs, `message` for people."""

    operation: str
    kind: str
    message: str

    def row(self) -> dict[str, str]:
        """Return it as plain values."""
        return {"operation": self.operation, "kind": self.kind, "message": self.message}


def breaks(old: Told, new: Told) -> list[Break]:
    """Return what callers of the `old` operations lose with the `new` ones, by operation; both as they describe
    themselves, by name."""
    found: list[Break] = []
    for name in sorted(old):
        if name not in new:
            found.append(Break(name, "removed", "is not there any more"))
        else:
            found += (Break(name, kind, message) for kind, message in _lost(old[name], new[name]))
    return found


def _lost(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if old["stream"] != new["stream"]:
        yield "stream", ("gives its items one after the other now, and gave one value" if new["stream"]
                         else "gives one value now, and gave its items one after the other")
    if old["idempotent"] and not new["idempotent"]:
        yield "idempotent", "is not idempotent any more: callers do not try it again when its fate is unknown"
    if new["max_body"] < old["max_body"]:
        yield "max_body", f"takes {new['max_body']} bytes of arguments at most, and took {old['max_body']}"
    for path, told in _Fit(old["arguments"], new["arguments"], reading=False).misfits():
        yield "argument", f"argument {path!r} {told}"
    for path, told in _Fit(new["result"], old["result"], reading=True).misfits():
        yield "result", f"field {path!r} of the result {told}" if path else f"the result {told}"


class _Fit:
    """Whether every value of `given` is one of `wanted`; `reading` values may have fields nobody asks for."""

    def __init__(self, given: Schema, wanted: Schema, *, reading: bool) -> None:
        self._given, self._wanted = given, wanted
        self._reading = reading
        self._seen: set[tuple[str, str]] = set()

    def misfits(self) -> list[tuple[str, str]]:
        """Return the places that do not fit, each with what is said of it."""
        return list(dict.fromkeys(self._compare(self._given, self._wanted, "")))

    def _compare(self, given: Schema, wanted: Schema, path: str) -> Iterator[tuple[str, str]]:
        pair = given.get("$ref", ""), wanted.get("$ref", "")
        if all(pair):
            if pair in self._seen:  # a type that holds itself: what is being looked at already
                return
            self._seen.add(pair)
        given, wanted = _resolved(given, self._given), _resolved(wanted, self._wanted)
        choices = _choices(given)
        if choices is not None:
            for choice in choices:
                yield from self._compare(choice, wanted, path)
        elif (others := _choices(wanted)) is not None:
            yield from self._compare_any(given, others, path)
        else:
            yield from self._compare_one(given, wanted, path)

    def _compare_any(self, given: Schema, others: list[Schema], path: str) -> Iterator[tuple[str, str]]:
        complaints = []
        for other in others:
            seen = set(self._seen)
            complaints.append(list(self._compare(given, other, path)))
            if not complaints[-1]:
                return
            self._seen = seen
        alike = [told for told, other in zip(complaints, others, strict=True)
                 if _type(_resolved(other, self._wanted)) == _type(given)]
        if len(alike) == 1:
            yield from alike[0]
        else:
            yield path, self._changed(given, {"anyOf": others})

    def _compare_one(self, given: Schema, wanted: Schema, path: str) -> Iterator[tuple[str, str]]:
        values = _literals(given)
        if values is not None:
            for value in values:
                if not _admits(wanted, value):
                    yield path, (f"may be {value!r} now" if self._reading else f"may not be {value!r} any more")
            return
        if _literals(wanted) is not None or not _same_type(given, wanted):
            yield path, self._changed(given, wanted)
            return
        yield from ((path, told) for told in self._tightened(given, wanted))
        if _type(wanted) == "object":
            yield from self._compare_fields(given, wanted, path)
        elif _type(wanted) == "array":
            yield from self._compare_items(given, wanted, path)

    def _compare_fields(self, given: Schema, wanted: Schema, path: str) -> Iterator[tuple[str, str]]:
        mine, theirs = given.get("properties", {}), wanted.get("properties", {})
        rest = wanted.get("additionalProperties", True)
        for name in theirs:
            if name not in mine and self._reading:
                yield _joined(path, name), "is not there any more"
            elif name in wanted.get("required", ()) and not self._always(name, given):
                yield _joined(path, name), self._missing(mine.get(name))
        for name, schema in mine.items():
            if name in theirs:
                yield from self._compare(schema, theirs[name], _joined(path, name))
            elif isinstance(rest, Mapping):
                yield from self._compare(schema, rest, _joined(path, name))
            elif rest is False and not self._reading:
                yield _joined(path, name), "is not taken any more"
        more = given.get("additionalProperties", not mine)
        if more is not False and isinstance(rest, Mapping):
            yield from self._compare(more if isinstance(more, Mapping) else {}, rest, _joined(path, "*"))
        elif more is not False and rest is False and not self._reading:
            yield path, "takes no names of the caller's own any more"

    def _always(self, name: str, given: Schema) -> bool:
        """Tell whether a field is always there; a result tells its defaults too."""
        schema: Schema = given.get("properties", {}).get(name, {})
        return name in given.get("required", ()) or (self._reading and "default" in schema)

    def _missing(self, schema: Schema | None) -> str:
        if self._reading:
            return "may be missing now"
        return "is new and has no default" if schema is None else "has no default any more"

    def _compare_items(self, given: Schema, wanted: Schema, path: str) -> Iterator[tuple[str, str]]:
        mine, theirs = given.get("prefixItems", []), wanted.get("prefixItems", [])
        for position in range(max(len(mine), len(theirs))):
            yield from self._compare(_item(given, position), _item(wanted, position), _joined(path, str(position)))
        if given.get("maxItems") is None or given["maxItems"] > len(mine):
            yield from self._compare(given.get("items") or {}, wanted.get("items") or {}, _joined(path, "*"))

    def _tightened(self, given: Schema, wanted: Schema) -> Iterator[str]:
        """Yield the bounds of `wanted` that `given` does not keep."""
        for key in (*_LOWER, *_UPPER):
            most, mine = wanted.get(key), given.get(key)
            if most is not None and (mine is None or (mine < most if key in _LOWER else mine > most)):
                yield self._bound(key, mine, most)
        for key in _EXACT:
            if wanted.get(key) not in (None, _ANY) and given.get(key) != wanted[key]:
                yield self._bound(key, given.get(key), wanted[key])

    def _bound(self, key: str, given: Any, wanted: Any) -> str:
        old, new = (wanted, given) if self._reading else (given, wanted)
        return f"has {_said(key, new)} now, and had {_said(key, old)}"

    def _changed(self, given: Schema, wanted: Schema) -> str:
        mine, theirs = _words(given, self._given), _words(wanted, self._wanted)
        new, old = (mine, theirs) if self._reading else (theirs, mine)
        return f"is {new} now, and was {old}" if new != old else f"is another {new} now"


def _said(key: str, value: Any) -> str:
    return f"no {key}" if value is None else f"{key} {value}"


def _resolved(schema: Schema, root: Schema) -> Schema:
    """Return what a reference stands for, with what is said beside it."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    beside = {key: value for key, value in schema.items() if key != "$ref"}
    return {**root["$defs"][reference.rpartition("/")[2]], **beside}


def _choices(schema: Schema) -> list[Schema] | None:
    """Return what a value may be one of, None if there is no choice."""
    several = schema.get("anyOf") or schema.get("oneOf")
    if several:
        return list(several)
    kinds = schema.get("type")
    return [{**schema, "type": kind} for kind in kinds] if isinstance(kinds, list) else None


def _literals(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return list(schema["enum"]) if "enum" in schema else None


def _type(schema: Schema) -> str | None:
    kind, form = schema.get("type"), schema.get("format")
    if form in _OWN:
        return str(form)
    return kind if isinstance(kind, str) else None


def _same_type(given: Schema, wanted: Schema) -> bool:
    """Tell whether values of one type count as the other; anything fits what says nothing."""
    mine, theirs = _type(given), _type(wanted)
    return theirs is None or mine == theirs or (mine, theirs) == ("integer", "number")


def _admits(schema: Schema, value: Any) -> bool:
    """Tell whether one plain value is of a schema, as far as its type, its values and its bounds go."""
    literals = _literals(schema)
    if literals is not None:
        return any(value == one and type(value) is type(one) for one in literals)
    kind = _type(schema)
    if kind is not None and _TYPES.get(type(value)) != kind and (type(value), kind) != (int, "number"):
        return False
    size = len(value) if isinstance(value, str) else value
    if any(schema.get(key) is not None for key in _EXACT):
        return False
    return all(not _outside(key, schema.get(key), size) for key in (*_LOWER, *_UPPER))


def _outside(key: str, bound: Any, size: Any) -> bool:
    if bound is None or not isinstance(size, (int, float)):
        return False
    if key.startswith("exclusive"):
        return bool(size <= bound) if key in _LOWER else bool(size >= bound)
    return bool(size < bound) if key in _LOWER else bool(size > bound)


def _item(schema: Schema, position: int) -> Schema:
    first = schema.get("prefixItems", [])
    found: Schema = first[position] if position < len(first) else schema.get("items") or {}
    return found


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _words(schema: Schema, root: Schema) -> str:
    """Return a schema as an author would say it."""
    schema = _resolved(schema, root)
    choices, literals = _choices(schema), _literals(schema)
    if literals is not None:
        return " | ".join(repr(value) for value in literals)
    if choices is not None:
        return " | ".join(_words(choice, root) for choice in choices)
    kind = _type(schema)
    if kind == "array":
        return f"list[{_words(schema.get('items') or {}, root)}]"
    if kind == "object" and schema.get("properties"):
        return str(schema.get("title", "dict"))
    if kind == "string" and schema.get("format"):
        return str(schema["format"])
    return "anything" if kind is None else _NAMES.get(kind, kind)
