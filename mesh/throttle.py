"""Say once what happens often: strangers at the door, a link that flaps."""

from __future__ import annotations

AGAIN_AFTER = 10.0
MOST_KINDS = 1000


class Throttle:
    """Lets each kind of thing through once in `again_after` seconds and counts the rest; is told what time it is."""

    def __init__(self, again_after: float = AGAIN_AFTER) -> None:
        self._again_after = again_after
        self._told: dict[str, float] = {}
        self._withheld: dict[str, int] = {}

    def passes(self, kind: str, now: float) -> int | None:
        """Return how many of a kind were withheld since the last one that passed, None if this one is withheld."""
        last = self._told.get(kind)
        if last is not None and now - last < self._again_after:
            self._withheld[kind] = self._withheld.get(kind, 0) + 1
            return None
        if len(self._told) >= MOST_KINDS:
            self._told.clear()
        self._told[kind] = now
        return self._withheld.pop(kind, 0)

    def text(self, kind: str, text: str, now: float) -> str | None:
        """Return `text`, with how many like it were withheld, or None if it is withheld itself."""
        withheld = self.passes(kind, now)
        if withheld is None:
            return None
        return f"{text} ({withheld} more like it since the last one told)" if withheld else text
