"""Topics and the patterns that choose among them: `*` stands for one segment, `#` for any rest."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeVar

from mesh.errors import InvalidArgument

T = TypeVar("T")

_TOPIC = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*\Z")
_PATTERN = re.compile(r"([a-z0-9_]+|\*)(\.([a-z0-9_]+|\*))*(\.#)?\Z|#\Z")
_REMEMBERED = 10_000


@lru_cache(_REMEMBERED)
def check_topic(topic: str) -> None:
    """Raise `InvalidArgument` unless `topic` is dotted lower-case words without wildcards."""
    if len(topic) > 256 or not _TOPIC.match(topic):
        raise InvalidArgument(
            f"{topic!r} is no topic; write dotted lower-case words, such as memory.added", path="topic"
        )


def check_pattern(pattern: str) -> None:
    """Raise `InvalidArgument` unless `pattern` is a topic in which `*` may stand for a segment and a final `#` for
    the rest."""
    if len(pattern) > 256 or not _PATTERN.match(pattern):
        raise InvalidArgument(
            f"{pattern!r} is no topic pattern; `*` stands for one segment and a final `#` for the rest, "
            "such as errors.*.pc2.#", path="pattern",
        )


def matches(pattern: str, topic: str) -> bool:
    """Tell whether `pattern` chooses `topic`; `a.#` also chooses `a`."""
    wanted, segments = pattern.split("."), topic.split(".")
    for index, want in enumerate(wanted):
        if want == "#":
            return True
        if index == len(segments) or want not in ("*", segments[index]):
            return False
    return len(wanted) == len(segments)


class Choices(dict[str, tuple[T, ...]]):
    """Who chooses a topic, among those given with their patterns: each once, in the order given.

    It remembers its answers, so an event costs one look-up per topic seen before.
    """

    def __init__(self, choosers: Iterable[tuple[Iterable[str], T]] = ()) -> None:
        super().__init__()
        self._choosers = tuple((tuple(patterns), chooser) for patterns, chooser in choosers)

    def __missing__(self, topic: str) -> tuple[T, ...]:
        if len(self) >= _REMEMBERED:
            self.clear()
        found = self[topic] = tuple(
            chooser for patterns, chooser in self._choosers if any(matches(pattern, topic) for pattern in patterns)
        )
        return found


class Interest:
    """A set of patterns, as whether it chooses a topic."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self.patterns = tuple(sorted(set(patterns)))
        self._choices = Choices([(self.patterns, True)])

    def __contains__(self, topic: str) -> bool:
        return bool(self._choices[topic])

    def __bool__(self) -> bool:
        return bool(self.patterns)
