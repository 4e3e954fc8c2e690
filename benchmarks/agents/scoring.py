"""The rules beside `assessor.py`: how readings make a score, without I/O; a generated agent has a copy of its own."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

Grade = Literal["good", "fair", "poor", "unknown"]
LIMITS: tuple[tuple[float, Grade], ...] = ((0.8, "good"), (0.5, "fair"), (0.0, "poor"))
HISTORY = 200
STOP_WORDS = frozenset({"a", "an", "and", "are", "be", "for", "in", "is", "it", "of", "on", "or", "the", "to", "with"})


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one source, seen at a time (seconds)."""

    source: str
    value: float
    time: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A score from 0 to 1, its grade, and the sources it rests on."""

    score: float
    grade: Grade
    sources: tuple[str, ...]


@dataclass(slots=True)
class Trend:
    """The last samples of a source, and how often each grade was given."""

    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=HISTORY))
    grades: Counter[str] = field(default_factory=Counter)

    def add(self, sample: Sample) -> None:
        """Take a sample; the oldest goes when there are too many."""
        self.samples.append(sample)

    def mean(self) -> float:
        """Return the mean value, 0 without a sample."""
        return sum(sample.value for sample in self.samples) / len(self.samples) if self.samples else 0.0

    def spread(self) -> float:
        """Return the standard deviation, 0 with less than two samples."""
        if len(self.samples) < 2:
            return 0.0
        mean = self.mean()
        return math.sqrt(sum((sample.value - mean) ** 2 for sample in self.samples) / (len(self.samples) - 1))

    def slope(self) -> float:
        """Return the change per second by least squares, 0 when all samples have one time."""
        count = len(self.samples)
        middle = sum(sample.time for sample in self.samples) / count if count else 0.0
        width = sum((sample.time - middle) ** 2 for sample in self.samples)
        if not width:
            return 0.0
        mean = self.mean()
        return sum((sample.time - middle) * (sample.value - mean) for sample in self.samples) / width


def grade_of(score: float) -> Grade:
    """Return the grade of a score; one that is no number is unknown."""
    if math.isnan(score):
        return "unknown"
    return next((grade for limit, grade in LIMITS if score >= limit), "unknown")


def verdict(trends: Sequence[tuple[str, Trend]], weight: float) -> Verdict:
    """Return the score of several sources: steady ones count more, by `weight`."""
    parts = [(name, trend.mean(), 1.0 / (1.0 + weight * trend.spread())) for name, trend in trends if trend.samples]
    total = sum(part for _, _, part in parts)
    score = sum(mean * part for _, mean, part in parts) / total if total else math.nan
    return Verdict(score, grade_of(score), tuple(name for name, _, _ in parts))


def words(text: str) -> Iterator[str]:
    """Yield the words of a text that carry a meaning, in lower case."""
    for word in text.lower().split():
        bare = word.strip(".,;:!?()[]\"'")
        if bare and bare not in STOP_WORDS:
            yield bare


def alike(one: Iterable[str], other: Iterable[str]) -> float:
    """Return how alike two sets of words are, from 0 to 1."""
    first, second = set(one), set(other)
    return len(first & second) / len(first | second) if first | second else 0.0
