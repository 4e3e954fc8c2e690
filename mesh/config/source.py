"""A YAML file as plain values, with the line of every key.

Built from the parser's events, not with a YAML loader: depth, number of values and aliases are bounded before anything
is built (the C composer follows nesting until the stack ends and takes the process with it), a key that stands twice
is seen, and no tag can construct an object. Merge keys (`<<`) are refused: with them a line no longer says which file
part a value came from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from mesh.config.findings import Finding

KeyPath = tuple[str | int, ...]

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_VALUES = 20_000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_TEXT = frozenset({None, "!", f"{_TAG}str", f"{_TAG}value"})
_SCALARS = frozenset(f"{_TAG}{name}" for name in ("null", "bool", "int", "float", "timestamp", "binary"))
_constructor: Any = SafeConstructor()
_resolver: Any = yaml.resolver.Resolver()


class Source:
    """One file: its values (always a mapping), its lines, and what is wrong with it as YAML.

    `name` is how findings call it. `readable` is False when the text broke off; `values` is empty then.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.values: dict[str, Any] = {}
        self.lines: dict[KeyPath, int] = {(): 1}
        self.findings: list[Finding] = []
        self.readable = True
        try:
            value = _Reader(self, text).document()
        except _Unreadable as problem:
            self.fail(problem.code, problem.line, str(problem), problem.hint)
            return
        if isinstance(value, dict):
            self.values = value
        elif value is not None:
            message = f"takes keys with values, found {kind(value)}"
            self.fail("wrong_type", self.lines[()], message, "write `key: value`")

    @classmethod
    def read(cls, file: Path, name: str) -> Source:
        """Return the source in `file`; what cannot be read becomes a finding."""
        try:
            with file.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
            text = data.decode("utf-8-sig")
        except OSError as error:
            return cls._unreadable(name, f"cannot be read: {error.strerror or error}")
        except UnicodeDecodeError as error:
            return cls._unreadable(name, f"is not UTF-8 text (byte {error.start})", "save it as UTF-8")
        if len(data) > MAX_BYTES:
            return cls._unreadable(name, f"is larger than {MAX_BYTES // 1024} KiB", "keep data elsewhere")
        return cls(name, text)

    @classmethod
    def _unreadable(cls, name: str, message: str, hint: str | None = None) -> Source:
        source = cls(name, "")
        source.fail("unreadable", None, message, hint)
        return source

    def line(self, path: KeyPath) -> int:
        """Return the line of the key at `path`, or of the nearest key around it."""
        for length in range(len(path), 0, -1):
            if (line := self.lines.get(path[:length])) is not None:
                return line
        return self.lines[()]

    def note(self, code: str, line: int | None, message: str, hint: str | None = None) -> None:
        """Add an error that leaves the rest of the file usable."""
        self.findings.append(Finding("error", code, self.name, line, message, hint))

    def fail(self, code: str, line: int | None, message: str, hint: str | None = None) -> None:
        """Add an error after which nothing of the file is used."""
        self.readable = False
        self.values = {}
        self.note(code, line, message, hint)


def scalar(text: str) -> Any:
    """Return the value that `text` has as one unquoted YAML value; raises ValueError if it has none."""
    return _value(_resolver.resolve(yaml.ScalarNode, text, (True, False)), text)


def kind(value: Any) -> str:
    """Name a value for a message: `'abc'`, `true`, `nothing`, `a list`."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Unreadable(Exception):
    """The text breaks off here."""

    def __init__(self, line: int, message: str, hint: str | None = None, code: str = "syntax") -> None:
        super().__init__(message)
        self.line = line
        self.hint = hint
        self.code = code


def _value(tag: str | None, text: str) -> Any:
    """Return the value of a scalar; raises ValueError for a tag that is not allowed, or that the text does not fit."""
    if tag in _TEXT:
        return text
    if tag not in _SCALARS:
        raise ValueError(f"the tag {tag} is not allowed")
    try:
        return _constructor.yaml_constructors[tag](_constructor, yaml.ScalarNode(tag, text))
    except (ValueError, KeyError, IndexError, OverflowError, yaml.YAMLError) as error:
        raise ValueError(f"{kind(text)} is not a valid {str(tag).removeprefix(_TAG)}") from error


class _Reader:
    """Builds the value of one document from its events."""

    def __init__(self, source: Source, text: str) -> None:
        self._source = source
        self._text = text
        self._count = 0
        # anchor -> the value and how many values it holds; None while it is being built
        self._anchors: dict[str, tuple[Any, int] | None] = {}

    def document(self) -> Any:
        """Return the value of the only document; raises _Unreadable."""
        try:
            self._loader = _LOADER(self._text)
            self._next()  # start of the stream
            if isinstance(self._loader.peek_event(), yaml.StreamEndEvent):
                return None
            self._next()  # start of the document
            first = self._next()
            self._source.lines[()] = first.start_mark.line + 1
            value = self._build(first, ())
            self._next()  # end of the document
            after = self._next()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise _Unreadable(line, f"this is not YAML: {error.problem or error.context}") from error
        except yaml.reader.ReaderError as error:
            line = self._text.count("\n", 0, error.position) + 1
            raise _Unreadable(line, "a character that YAML does not allow", "remove the control character") from error
        except UnicodeEncodeError as error:
            line = self._text.count("\n", 0, error.start) + 1
            raise _Unreadable(line, "a character that is not Unicode text") from error
        if not isinstance(after, yaml.StreamEndEvent):
            raise _Unreadable(after.start_mark.line + 1, "a second document begins here", "one file is one document")
        return value

    def _next(self) -> Any:
        return self._loader.get_event()

    def _build(self, event: Any, path: KeyPath) -> Any:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before = self._count
        self._spend(1, event)
        if event.anchor:
            self._anchors[event.anchor] = None
        value = self._collection_or_scalar(event, path)
        if event.anchor:
            self._anchors[event.anchor] = (value, self._count - before)
        return value

    def _collection_or_scalar(self, event: Any, path: KeyPath) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if len(path) >= MAX_DEPTH:
            raise _Unreadable(event.start_mark.line + 1, f"nested deeper than {MAX_DEPTH} levels")
        if event.tag not in (None, "!", f"{_TAG}map", f"{_TAG}seq"):
            self._source.note("syntax", event.start_mark.line + 1, f"the tag {event.tag} is not allowed", "remove it")
        return self._mapping(path) if isinstance(event, yaml.MappingStartEvent) else self._sequence(path)

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event)
            here = (*path, key)
            line = event.start_mark.line + 1
            if key in values:
                first = self._source.lines[here]
                message = f"`{key}` stands twice, first in line {first}"
                self._source.note("duplicate_key", line, message, "keep one of them")
            self._source.lines[here] = line
            values[key] = self._build(self._next(), here)
        return values

    def _sequence(self, path: KeyPath) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            here = (*path, len(values))
            self._source.lines[here] = event.start_mark.line + 1
            values.append(self._build(event, here))
        return values

    def _key(self, event: Any) -> str:
        line = event.start_mark.line + 1
        if not isinstance(event, yaml.ScalarEvent):
            raise _Unreadable(line, "a key must be a text", "write `key: value`")
        self._spend(1, event)
        text: str = event.value
        tag = self._tag(event)
        if tag == f"{_TAG}merge":
            raise _Unreadable(line, "merge keys (`<<`) are not supported", "write the values out")
        if tag not in _TEXT:
            self._source.note("syntax", line, f"YAML does not read the key `{text}` as a text", f'write "{text}"')
        return text

    def _scalar(self, event: Any) -> Any:
        try:
            return _value(self._tag(event), event.value)
        except ValueError as error:
            self._source.note("syntax", event.start_mark.line + 1, str(error), "put a text in quotes")
            return event.value

    def _tag(self, event: Any) -> str | None:
        if event.tag is not None and event.tag != "!":
            return str(event.tag)
        if event.tag == "!" or not event.implicit[0]:
            return None
        return str(self._loader.resolve(yaml.ScalarNode, event.value, event.implicit))

    def _alias(self, event: Any) -> Any:
        line = event.start_mark.line + 1
        if event.anchor not in self._anchors:
            raise _Unreadable(line, f"`*{event.anchor}` refers to nothing above it")
        anchored = self._anchors[event.anchor]
        if anchored is None:
            raise _Unreadable(line, f"`*{event.anchor}` refers to itself")
        value, size = anchored
        self._spend(size, event)
        return value

    def _spend(self, count: int, event: Any) -> None:
        """Count values, those behind aliases each time they are used."""
        self._count += count
        if self._count > MAX_VALUES:
            raise _Unreadable(event.start_mark.line + 1, f"more than {MAX_VALUES} values, aliases included")
