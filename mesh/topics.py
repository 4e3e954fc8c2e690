"""Topics and the patterns that choose among them: `*` stands for one segment, `#` for any rest."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mesh.errors import InvalidArgument

_TOPIC = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*\Z")
_PATTERN = re.compile(r"([a-z0-9_]+|\*)(\.([a-z0-9_]+|\*))*(\.#)?\Z|#\Z")
_REMEMBERED = 10_000


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


class Interest:
    """A set of patterns that remembers its answers, so an event costs one look-up per topic seen before."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self.patterns = tuple(sorted(set(patterns)))
        self._known: dict[str, bool] = {}

    def __contains__(self, topic: str) -> bool:
        known = self._known.get(topic)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[topic] = any(matches(pattern, topic) for pattern in self.patterns)
        return known

    def __bool__(self) -> bool:
        return bool(self.patterns)
