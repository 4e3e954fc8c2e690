"""Say once what happens often: strangers at the door, a link that flaps."""

from __future__ import annotations

AGAIN_AFTER = 10.0
MOST_KINDS = 1000


class Throttle:
    """Lets each kind of thing through once in 10 s and counts the rest; decides from the `now` it is given."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}
        self._withheld: dict[str, int] = {}

    def passes(self, kind: str, now: float) -> int | None:
        """Return how many of a kind were withheld since the last one that passed, None if this one is withheld."""
        last = self._told.get(kind)
        if last is not None and now - last < AGAIN_AFTER:
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
