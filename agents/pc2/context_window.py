"""The rolling window of what has been said: pure rules for what matters, what stays and what goes."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

CUES = Path(__file__).resolve().parent.parent / "shared" / "context_cues.toml"
START, LEAST, MOST = 10, 5, 20
GROWS_ABOVE, SHRINKS_BELOW = 0.7, 0.3
GROWTH, SHRINKAGE = 2, 1
PRUNED_BELOW = 0.5
PRUNED_SHARE = 4
FADING = 0.97
"""What is left of an item's importance with each later item."""
LONG_UTTERANCE = 15
_WORD = re.compile("[^\\W_]+(?:['\u2019][^\\W_]+)*")


@dataclass(frozen=True, slots=True)
class Said:
    """One utterance; `timestamp` in Unix seconds, `importance` 0 to 1."""

    text: str
    timestamp: float
    speaker: str | None
    importance: float
    metadata: dict[str, Any] = field(default_factory=dict)


class Window:
    """The items that are kept; it grows while they matter and shrinks while they do not."""

    def __init__(self, size: int = START, *, fixed: bool = False) -> None:
        self.size = size
        self._fixed = fixed
        self._items: list[Said] = []

    @property
    def items(self) -> Sequence[Said]:
        """The items in the order they were said."""
        return tuple(self._items)

    def add(self, said: Said) -> None:
        """Take an item in; what matters least by now goes when there is no room."""
        self._items.append(said)
        if not self._fixed:
            self._adapt()
        while len(self._items) > self.size:
            del self._items[min(range(len(self._items) - 1), key=self._weight)]

    def top(self, most: int | None = None) -> list[Said]:
        """Return up to `most` of the items that matter most by now, in the order they were said."""
        if most is None or most >= len(self._items):
            return list(self._items)
        chosen = sorted(range(len(self._items)), key=self._weight, reverse=True)[:most]
        return [self._items[index] for index in sorted(chosen)]

    def prune(self) -> list[Said]:
        """Remove what matters little from a full window, at most a quarter of it; return what was removed."""
        if len(self._items) < self.size:
            return []
        faint = [index for index in range(len(self._items)) if self._items[index].importance < PRUNED_BELOW]
        faint = sorted(faint, key=self._weight)[: self.size // PRUNED_SHARE]
        removed = [self._items[index] for index in sorted(faint)]
        self._items = [said for index, said in enumerate(self._items) if index not in faint]
        return removed

    def clear(self) -> None:
        """Forget everything and start at the first size."""
        self._items.clear()
        if not self._fixed:
            self.size = START

    def _weight(self, index: int) -> float:
        return self._items[index].importance * float(FADING ** (len(self._items) - 1 - index))

    def _adapt(self) -> None:
        if len(self._items) < self.size:
            return
        mean = sum(said.importance for said in self._items) / len(self._items)
        if mean > GROWS_ABOVE and len(self._items) > self.size:
            self.size = min(MOST, self.size + GROWTH)
        elif mean < SHRINKS_BELOW:
            self.size = max(LEAST, self.size - SHRINKAGE)


def importance_of(text: str, before: Sequence[Said] = ()) -> float:
    """Return how much an utterance matters, 0 to 1, given what was said before it.

    It starts at 0.5; cues, questions, requests and length raise it, a mere "okay" or a repetition lowers it.
    """
    words = [word.lower().replace("\u2019", "'") for word in _WORD.findall(text)]
    plain = f" {' '.join(words)} "
    cues = _cues()
    score = 0.5
    score += 0.2 * any(f" {cue} " in plain for cue in cues["remember"])
    score += 0.1 * ("?" in text)
    score += 0.1 * any(f" {cue} " in plain for cue in cues["polite"])
    score += 0.1 * (len(words) > LONG_UTTERANCE)
    score -= 0.3 * (len(words) <= 3 and all(word in cues["backchannel"] for word in words))
    score -= 0.2 * any(said.text.strip().lower() == text.strip().lower() for said in before)
    return round(min(1.0, max(0.0, score)), 3)


@cache
def _cues() -> dict[str, frozenset[str]]:
    with CUES.open("rb") as file:
        return {name: frozenset(words) for name, words in tomllib.load(file).items()}
