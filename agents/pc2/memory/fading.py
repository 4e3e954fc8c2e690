"""How memories fade, rise, fall and are condensed with time: pure rules, times in Unix seconds.

Importance fades from the last sweep on, never twice for the same hour. What is read often rises a tier, what nobody
reads falls one. Facts and important memories are never shortened.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from agents_shared.messages import Memory, MemoryTier

DAY = 86_400.0
FADING_PER_DAY: Mapping[MemoryTier, float] = {"short": 0.10, "medium": 0.05, "long": 0.01}
CONDENSED_BELOW: Mapping[MemoryTier, float] = {"short": 0.4, "medium": 0.2, "long": 0.0}
RISES_AFTER: Mapping[MemoryTier, tuple[MemoryTier, int]] = {"short": ("medium", 3), "medium": ("long", 10)}
"""Tier above, and the number of readings it takes."""
FALLS_AFTER: Mapping[MemoryTier, tuple[MemoryTier, float]] = {
    "medium": ("short", 30 * DAY),
    "long": ("medium", 90 * DAY),
}
"""Tier below, and how long nobody must have read the memory."""
KEPT_TYPES = frozenset({"knowledge_fact"})
KEPT_FROM = 0.7
SUMMARY_CHARACTERS = 200
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_WORD = re.compile(r"\w{4,}")


@dataclass(frozen=True, slots=True)
class Faded:
    """What a sweep makes of a memory; `condense` says that it has become unimportant enough to be condensed."""

    importance: float
    tier: MemoryTier
    condense: bool


def fade(memory: Memory, swept_at: float, now: float) -> Faded:
    """Return importance and tier of a memory at `now`, when the last sweep was at `swept_at`."""
    days = max(0.0, now - swept_at) / DAY
    importance = min(1.0, max(0.0, memory.importance * (1 - FADING_PER_DAY[memory.memory_tier]) ** days))
    kept = memory.memory_type in KEPT_TYPES or memory.importance >= KEPT_FROM
    condense = not kept and importance < CONDENSED_BELOW[memory.memory_tier]
    return Faded(importance, _tier(memory, importance, now), condense)


def _tier(memory: Memory, importance: float, now: float) -> MemoryTier:
    above = RISES_AFTER.get(memory.memory_tier)
    if above is not None and memory.access_count >= above[1]:
        return above[0]
    below = FALLS_AFTER.get(memory.memory_tier)
    neglected = below is not None and now - memory.last_accessed_at >= below[1]
    if below is not None and neglected and importance < KEPT_FROM and memory.memory_type not in KEPT_TYPES:
        return below[0]
    return memory.memory_tier


def reinforce(importance: float, factor: float) -> float:
    """Return the importance after a reinforcement, within 0 to 1."""
    return min(1.0, max(0.0, importance * factor))


def shorten(text: str, characters: int = SUMMARY_CHARACTERS) -> str:
    """Return the sentences that say most of a text, in order, within `characters`; a short text stays as it is."""
    if len(text) <= characters:
        return text
    return summarise([text], characters)


def summarise(texts: Sequence[str], characters: int = SUMMARY_CHARACTERS) -> str:
    """Return the sentences most like all others of these texts, in their order, within `characters`."""
    sentences = [match.group().strip() for text in texts for match in _SENTENCE.finditer(text) if match.group().strip()]
    if not sentences:
        return ""
    chosen: list[int] = []
    for index in sorted(range(len(sentences)), key=_centrality(sentences).__getitem__, reverse=True):
        taken = sum(len(sentences[each]) + 1 for each in chosen)
        if taken + len(sentences[index]) <= characters:
            chosen.append(index)
    if not chosen:  # not one sentence fits: the beginning of the first one
        return sentences[0][: characters - 1].rsplit(" ", 1)[0] + "…"
    return " ".join(sentences[index] for index in sorted(chosen))


def _centrality(sentences: Sequence[str]) -> list[float]:
    """Return for each sentence how many words it shares with the others, set against its length."""
    bags = [Counter(word.lower() for word in _WORD.findall(sentence)) for sentence in sentences]
    scores = [0.0] * len(sentences)
    for first, second in combinations(range(len(sentences)), 2):
        shared = sum((bags[first] & bags[second]).values())
        likeness = shared / (1 + min(bags[first].total(), bags[second].total()))
        scores[first] += likeness
        scores[second] += likeness
    return scores
