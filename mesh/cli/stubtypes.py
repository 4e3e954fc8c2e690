"""JSON schemas as Python types: what a caller may give and what it gets, which is plain values described by TypedDicts.

A model often looks different from both sides: a field with a default may be left out of an argument and is always in
a result. Then it becomes two classes, the one for arguments with `Input` behind its name.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

_PLAIN: Mapping[str, str] = {
    "string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None",
}
_TEXTS: Mapping[str, tuple[str, str]] = {  # what may be given for a text of a format, and where it comes from
    "date-time": ("datetime", "datetime"), "date": ("date", "datetime"), "time": ("time", "datetime"),
    "duration": ("timedelta", "datetime"), "path": ("Path", "pathlib"), "file-path": ("Path", "pathlib"),
    "directory-path": ("Path", "pathlib"), "uuid": ("UUID", "uuid"),
}
_NOISE = frozenset({"title", "description", "default", "examples"})


class Types:
    """The types of one service: text for each schema, and the models they name."""

    def __init__(self, given: Sequence[Schema], got: Sequence[Schema]) -> None:
        self.imports: set[tuple[str, str]] = set()
        self._sides = {True: _models(given), False: _models(got)}
        self._apart = self._different()
        self._used: dict[str, tuple[str, bool]] = {}

    def text(self, schema: Schema, *, given: bool) -> str:
        """Return the type of what a schema describes: an argument if it is `given`, else a result."""
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return " | ".join(dict.fromkeys(self.text(each, given=given) for each in schema[several]))
        if len(schema.get("allOf", ())) == 1:
            return self.text(schema["allOf"][0], given=given)
        if "$ref" in schema or _is_model(schema):
            return self._model(_name_of(schema), given)
        values = schema.get("enum", [schema["const"]] if "const" in schema else [])
        if values:
            return self._literal(values)
        kind = schema.get("type")
        if isinstance(kind, list):
            return " | ".join(self.text({**schema, "type": each}, given=given) for each in kind)
        return self._of_kind(str(kind), schema, given)

    def classes(self) -> Iterator[str]:
        """Yield the source of each model that was used, those it is made of as well."""
        told: set[str] = set()
        while left := [name for name in self._used if name not in told]:
            for name in left:
                told.add(name)
                model, given = self._used[name]
                yield self._class(name, self._sides[given][model], given)

    def _of_kind(self, kind: str, schema: Schema, given: bool) -> str:
        if kind == "array":
            return self._array(schema, given)
        if kind == "object":
            inside = schema.get("additionalProperties")
            if schema.get("format") == "ndarray":
                return self._any()
            return f"dict[str, {self.text(inside, given=given) if isinstance(inside, Mapping) else self._any()}]"
        if kind == "string" and schema.get("format") == "binary":
            return "bytes"
        if kind == "string" and given and schema.get("format") in _TEXTS:
            name, module = _TEXTS[schema["format"]]
            self.imports.add((module, name))
            return f"{name} | str"
        return _PLAIN.get(kind) or self._any()

    def _array(self, schema: Schema, given: bool) -> str:
        fixed = [self.text(each, given=given) for each in schema.get("prefixItems", ())]
        items = schema.get("items")
        inside = " | ".join(dict.fromkeys(fixed)) or (self.text(items, given=given) if items else self._any())
        if given and fixed:
            return f"list[{inside}] | tuple[{', '.join(fixed)}]"
        return f"list[{inside}] | set[{inside}]" if given and schema.get("uniqueItems") else f"list[{inside}]"

    def _literal(self, values: Sequence[Any]) -> str:
        if not all(isinstance(value, (str, int, bool, type(None))) for value in values):
            return self._any()
        self.imports.add(("typing", "Literal"))
        return f"Literal[{', '.join(map(repr, values))}]"

    def _any(self) -> str:
        self.imports.add(("typing", "Any"))
        return "Any"

    # -- models

    def _model(self, name: str, given: bool) -> str:
        schema = self._sides[given].get(name)
        if schema is None or not _is_model(schema):  # an enum or another named type stands for what it is
            return self.text({key: item for key, item in (schema or {}).items() if key != "title"}, given=given)
        called = _identifier(name) + ("Input" if given and name in self._apart else "")
        self._used.setdefault(called, (name, given))
        return called

    def _different(self) -> set[str]:
        """Return the models that are not the same as arguments and as results."""
        given, got = self._sides[True], self._sides[False]
        both = given.keys() & got.keys()
        apart = {name for name in both if _bare(given[name]) != _bare(got[name])}
        while more := {name for name in both - apart if _refers(given[name]) & apart}:
            apart |= more
        return apart

    def _class(self, name: str, schema: Schema, given: bool) -> str:
        self.imports.add(("typing_extensions", "TypedDict"))
        required = set(schema.get("required", ()))
        fields = {field: self.text(each, given=given) for field, each in schema["properties"].items()}
        if len(required) < len(fields):
            self.imports.add(("typing_extensions", "NotRequired"))
        typed = {field: text if field in required else f"NotRequired[{text}]" for field, text in fields.items()}
        if not all(field.isidentifier() and not keyword.iskeyword(field) for field in typed):
            inside = ", ".join(f"{field!r}: {text!r}" for field, text in typed.items())
            return f'{name} = TypedDict("{name}", {{{inside}}})\n'
        doc = sentence(schema.get("description"))
        lines = [*([f'    """{doc}"""', ""] if doc else []), *(f"    {field}: {text}" for field, text in typed.items())]
        return "\n".join([f"class {name}(TypedDict):", *lines, *([] if typed else ["    pass"]), ""])


def sentence(text: object) -> str:
    """Return the first line of a docstring, fit to stand in one."""
    first = str(text or "").strip().partition("\n")[0]
    return first.replace("\\", "\\\\").replace('"', "'").rstrip()


def _identifier(name: str) -> str:
    clean = re.sub(r"\W+", "_", name).strip("_")
    return f"_{clean}" if not clean or clean[0].isdigit() or keyword.iskeyword(clean) else clean


def _is_model(schema: Schema) -> bool:
    return "properties" in schema and "title" in schema


def _name_of(schema: Schema) -> str:
    return str(schema["$ref"]).rpartition("/")[2] if "$ref" in schema else str(schema["title"])


def _models(schemas: Sequence[Schema]) -> dict[str, Schema]:
    """Return every named type in some schemas by name."""
    found: dict[str, Schema] = {}
    for schema in schemas:
        found.update(schema.get("$defs", {}))
        if _is_model(schema):
            found.setdefault(str(schema["title"]), schema)
    return found


def _bare(schema: Any) -> str:
    """Return a schema as text without what makes no difference to its type."""
    def strip(value: Any, names: bool) -> Any:
        if isinstance(value, Mapping):
            return {key: strip(item, key == "properties") for key, item in value.items()
                    if names or (key not in _NOISE and key != "$defs")}
        return [strip(item, False) for item in value] if isinstance(value, list) else value

    bare = strip(schema, False)
    return json.dumps({**bare, "required": sorted(bare.get("required", []))}, sort_keys=True, default=str)


def _refers(schema: Any) -> set[str]:
    if isinstance(schema, Mapping):
        own = {_name_of(schema)} if "$ref" in schema else set()
        return own.union(*(_refers(item) for item in schema.values()))
    return set().union(*map(_refers, schema)) if isinstance(schema, list) else set()
