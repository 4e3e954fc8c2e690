"""How alike the words of a question and of a memory are, and what of the memory the question did not bring along."""

from __future__ import annotations

from functools import cached_property

from agents_pc2.memory.lexicon import Lexicon
from agents_pc2.memory.questions import Question
from agents_pc2.memory.units import Reading, Unit

ALIKE = 0.6
"""From here on two words count as meaning the same."""
SURE = 0.85
CLAIMED = 0.95
SHARED_PREFIX = 5
LONGEST_ENDING = 3


def likeness(asked: Unit, told: Unit, words: Lexicon) -> float:
    """Return how much a word of a question and a word of a memory mean the same, 0 to 1."""
    if asked.name:
        return 1.0 if asked.text.lower() == told.text.lower() else 0.0
    single = len(asked.words) == 1
    if _same_words(asked, told) or (single and len(told.words) == 1 and asked.lemmas & told.lemmas):
        return 1.0
    if asked.number or told.number:
        return 0.0
    concepts, telling = asked.sense.concepts, told.sense.concepts | told.inner.concepts
    if concepts & told.sense.concepts:
        return 0.95
    if single and not concepts and asked.lemmas & told.lemmas:
        return 0.9
    if concepts & told.inner.concepts or words.is_broader(concepts, telling):
        return 0.85
    if asked.sense.names & told.sense.names and not (concepts and told.sense.concepts):
        return 0.9
    if words.is_broader(telling - words.generic, concepts):
        return 0.7
    return 0.8 if single and not told.name and _same_stem(asked, told) else 0.0


def names_kind_of(kind: Unit, value: Unit, among: frozenset[str]) -> bool:
    """Say whether one word names the kind of which the other is a value: "pet" and "dog"."""
    return bool(kind.sense.names & value.sense.kinds & among)


class Alignment:
    """A question beside a memory: `rows` hold for each unit of the question how like it each unit of the memory is."""

    def __init__(self, question: Question, memory: Reading, words: Lexicon) -> None:
        self.question = question
        self.memory = memory
        self.words = words
        kinds = frozenset(kind for unit in question.units for kind in unit.sense.names)
        self._telling_kinds = kinds - words.groups["vague_kinds"]
        self.rows = [[self._likeness(asked, told) for told in memory.units] for asked in question.units]
        self._keep_apart()

    def best(self, index: int) -> float:
        """Return how like the likest word of the memory is to this unit of the question."""
        return max(self.rows[index], default=0.0)

    def best_of(self, unit: Unit) -> float:
        """Return the same for a unit."""
        return self.best(self.question.units.index(unit))

    @property
    def share(self) -> float:
        """Return the share of the question's words that the memory has in some way."""
        if not self.rows:
            return 0.0
        return sum(max(row, default=0.0) for row in self.rows) / len(self.rows)

    @cached_property
    def covered(self) -> frozenset[int]:
        """The units of the memory that the question brought along; "dog" told to "which pet" is news."""
        return frozenset(
            index
            for asked, row in zip(self.question.units, self.rows, strict=True)
            for index, value in enumerate(row)
            if value == 1.0 or (value >= ALIKE and not self._is_news(asked, self.memory.units[index]))
        )

    @cached_property
    def news(self) -> list[tuple[int, Unit]]:
        """The units of the memory that the question did not bring along, with their indices."""
        return [(index, unit) for index, unit in enumerate(self.memory.units) if index not in self.covered]

    @cached_property
    def lacking(self) -> list[Unit]:
        """The units of the question of which nothing alike is in the memory."""
        return [unit for index, unit in enumerate(self.question.units) if self.best(index) < ALIKE]

    def _is_news(self, asked: Unit, told: Unit) -> bool:
        return names_kind_of(asked, told, self._telling_kinds)

    def _likeness(self, asked: Unit, told: Unit) -> float:
        value = likeness(asked, told, self.words)
        if value < 1.0 and asked in self.question.things and told.lemmas & self.words.verbs:
            return 0.0  # "the engineer" is not what somebody engineered
        if value >= ALIKE:
            return value
        if asked in self.question.anchors:  # "my pet" may be "my dog", and the other way round
            if names_kind_of(asked, told, self._telling_kinds):
                return 0.9
            return 0.65 if names_kind_of(told, asked, self.words.groups["thing_kinds"]) else value
        return 0.85 if asked.sense.names & self.words.answered_by(told.sense.concepts) else value

    def _keep_apart(self) -> None:
        """A word of the memory that is what the question is about does not also tell the relation."""
        anchored = [unit in self.question.anchors for unit in self.question.units]
        claimed = {
            row.index(max(row))
            for row, anchor in zip(self.rows, anchored, strict=True)
            if row and anchor and max(row) >= CLAIMED
        }
        for unit, row, anchor in zip(self.question.units, self.rows, anchored, strict=True):
            if not anchor and not unit.name:
                for index in claimed:
                    row[index] = 0.0


def _same_words(asked: Unit, told: Unit) -> bool:
    """Say whether two phrases are the same but for a plural."""
    if asked.words == told.words:
        return True
    if not 1 < len(asked.words) == len(told.words):
        return False
    return all(one.rstrip("s") == other.rstrip("s") for one, other in zip(asked.words, told.words, strict=True))


def _same_stem(asked: Unit, told: Unit) -> bool:
    """Say whether two words look derived from one: "paints" and "painter"."""
    return any(_derived(first, second) for first in asked.lemmas for second in told.lemmas)


def _derived(first: str, second: str) -> bool:
    if min(len(first), len(second)) >= 3 and first.rstrip("s") == second.rstrip("s"):
        return True
    shared = 0
    while shared < min(len(first), len(second)) and first[shared] == second[shared]:
        shared += 1
    return shared >= SHARED_PREFIX and max(len(first), len(second)) - shared <= LONGEST_ENDING
