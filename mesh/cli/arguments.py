"""`key=value` on the command line becomes arguments: what each is, the operation's schema says.

A text stays a text where the schema asks for one; anywhere else the value is read as JSON. Without a schema it is JSON
if it reads as JSON, else a text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mesh.errors import UsageError

Schema = Mapping[str, Any]

_KINDS: Mapping[type, str] = {
    dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null",
}


def pairs_of(words: Sequence[str]) -> dict[str, str]:
    """Return the words split at their first `=`; raises `UsageError` for one that has none or comes twice."""
    pairs: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{word!r} is no argument; write key=value, or give them all as --data '{{\"key\": ...}}'")
        if key in pairs:
            raise UsageError(f"{key} is given twice; for a list write {key}='[\"first\", \"second\"]'")
        pairs[key] = value
    return pairs


def object_of(data: str | None) -> dict[str, Any]:
    """Return the arguments in `--data`; raises `UsageError` for anything but a JSON object."""
    value = {} if data is None else json_of(data)
    if not isinstance(value, dict):
        raise UsageError(f"--data holds {_found(value)}; arguments are an object, such as '{{\"key\": 1}}'")
    return value


def json_of(data: str) -> Any:
    """Return the value in `--data`; raises `UsageError` for what is no JSON."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise UsageError(f"--data is no JSON ({error}); a text needs its quotes: --data '\"text\"'") from None


def typed(pairs: Mapping[str, str], schema: Schema | None) -> dict[str, Any]:
    """Return the values of `pairs` as the operation's argument schema wants them."""
    properties = {} if schema is None else schema.get("properties", {})
    definitions = {} if schema is None else schema.get("$defs", {})
    return {key: _value(text, _allowed(properties.get(key, {}), definitions)) for key, text in pairs.items()}


def is_text(schema: Schema, path: Sequence[str]) -> bool:
    """Tell whether a schema takes nothing but a text at `path`."""
    definitions = schema.get("$defs", {})
    found: Schema = schema
    for step in path:
        for option in (found, *found.get("anyOf", ()), *found.get("allOf", ())):
            section = definitions.get(str(option.get("$ref", "")).rpartition("/")[2], option)
            if step in section.get("properties", {}):
                found = section["properties"][step]
                break
        else:
            return False
    allowed = _allowed(found, definitions)
    return bool(allowed) and not allowed - {"string", "null"}


def _value(text: str, allowed: set[str]) -> Any:
    if allowed and not allowed - {"string", "null"}:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if "string" in allowed and _KINDS[type(value)] not in allowed:
        return text
    return value


def _allowed(schema: Schema, definitions: Mapping[str, Schema]) -> set[str]:
    """Return the JSON types a schema takes; empty when it takes anything."""
    if "$ref" in schema:
        return _allowed(definitions.get(str(schema["$ref"]).rpartition("/")[2], {}), definitions)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            each = [_allowed(item, definitions) for item in schema[several]]
            return set() if not all(each) else set().union(*each)
    if "allOf" in schema and len(schema["allOf"]) == 1:
        return _allowed(schema["allOf"][0], definitions)
    if "const" in schema or "enum" in schema:
        return {_KINDS.get(type(item), "string") for item in schema.get("enum", [schema.get("const")])}
    kind = schema.get("type")
    return set() if kind is None else {kind} if isinstance(kind, str) else set(kind)


def _found(value: Any) -> str:
    return f"{_KINDS[type(value)]} {json.dumps(value):.40}"
