"""Does the memory tell the relation that the question asks for, in whatever words?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agents_pc2.memory import values
from agents_pc2.memory.likeness import ALIKE, SURE, Alignment
from agents_pc2.memory.questions import LIGHT
from agents_pc2.memory.units import Unit

PLAIN = 0.9
"""A question without a word for the relation, such as "where is the boat", and a memory that says little else."""
SAID_AGAIN = 0.8
BY_VALUE = 0.8
PER_EXTRA = 0.6
"""What is left for each thing the memory says that was not asked."""
OWNED = frozenset({"preference", "own"})


def fit(pair: Alignment) -> tuple[float, frozenset[str]]:
    """Return how well the relations agree, 0 to 1, and the concepts of the question that were found."""
    return _Relation(pair).fit()


class _Relation:
    """Weighs the words of the question that tell the relation against what the memory has of them."""

    def __init__(self, pair: Alignment) -> None:
        self.pair = pair
        self.words = pair.words
        self.units = pair.question.units
        self.by_words = [pair.best(index) for index in range(len(self.units))]
        self.weights = [self._weight(index) for index in range(len(self.units))]
        self.best = [max(like, self._by_value(unit)) for like, unit in zip(self.by_words, self.units, strict=True)]
        self.reached = [self.units[index] for index in self._telling() if self.best[index] >= ALIKE]
        self.worded = any(self.by_words[index] >= ALIKE for index in self._telling())

    def fit(self) -> tuple[float, frozenset[str]]:
        concepts = frozenset(concept for unit in self.reached for concept in unit.sense.concepts)
        return self._score(), concepts

    def _score(self) -> float:
        if not self.reached and self._is_implied():
            return 0.75 * self._says_little()
        if not any(self.weights):
            return PLAIN if self.pair.question.open_ended else self._plain()
        if self.reached and self.pair.question.things.issuperset(self.reached) and self._is_more_asked():
            return 0.5  # the thing is there, but nothing of what is asked about it
        self._count_repetitions()
        total = score = 0.0
        for index in self._telling():
            found = self.best[index] >= ALIKE
            weight = self.weights[index] * (1.0 if found else self._discount(self.units[index]))
            total += weight
            score += weight * self.best[index] * (1.0 if found else 0.5)
        return score / total * (1.0 if self.worded else self._says_little()) * self._identity()

    def _is_more_asked(self) -> bool:
        return any(self.weights[index] > LIGHT and self.best[index] < ALIKE for index in self._telling())

    def _telling(self) -> list[int]:
        return [index for index, weight in enumerate(self.weights) if weight]

    def _weight(self, index: int) -> float:
        """ "Which university" tells the relation after all if the memory speaks of studying."""
        unit, weight = self.units[index], self.pair.question.weights[index]
        if weight or unit not in self.pair.question.focus:
            return weight
        told = zip(self.pair.rows[index], self.pair.memory.units, strict=True)
        return float(any(value >= SURE and unit.sense.concepts & other.sense.concepts for value, other in told))

    def _count_repetitions(self) -> None:
        """A word that only repeats another one that was found counts as found: "which instrument does she play"."""
        chosen = list(self.pair.question.chosen)
        for index in self._telling():
            unit = self.units[index]
            if self.best[index] < ALIKE and self._repeats(unit, [*self.reached, *chosen]):
                self.best[index] = SAID_AGAIN
                self.worded = self.worded or self._repeats(unit, chosen)

    def _repeats(self, unit: Unit, others: Iterable[Unit]) -> bool:
        kinds = self.words.answered_by(unit.sense.concepts)
        return any(unit.sense.concepts & other.sense.concepts or kinds & other.sense.names for other in others)

    def _plain(self) -> float:
        if self.pair.question.limits:
            return 0.3
        if self.pair.question.asks_who and self._introduces():
            return PLAIN
        told = any(unit.sense.concepts & self.pair.question.implied for unit in self.pair.memory.units)
        return (0.95 if told else PLAIN) * self._says_little() * self._identity()

    def _introduces(self) -> bool:
        """Say whether the memory says who a name is: "my sister Anna"."""
        units = self.pair.memory.units
        starts = {units[index].start for index in self.pair.covered if units[index].name}
        return any(unit.is_person and unit.end in starts for unit in units)

    def _identity(self) -> float:
        """ "Who is her friend" is not answered by what her friend has."""
        if not self.pair.question.asks_who or any("name" in unit.sense.concepts for unit in self.pair.memory.units):
            return 1.0
        return 0.6 if any("have" in token.lemmas for token in self.pair.memory.tokens) else 1.0

    def _is_implied(self) -> bool:
        """Say whether no noun asks for the relation, and the memory tells the one that "by when" implies."""
        asked = [self.units[index] for index in self._telling()]
        if any(unit.sense.concepts and not unit.lemmas & self.words.verbs for unit in asked):
            return False
        return any(unit.sense.concepts & self.pair.question.limits for unit in self.pair.memory.units)

    def _discount(self, unit: Unit) -> float:
        """Return how much a word that was not found still counts when others were: unknown and vague words little."""
        if not self.reached or unit.sense.concepts & self.words.groups["negative"]:
            return 1.0
        if not unit.sense.concepts and not unit.sense.names:
            return 0.35
        if unit.sense.concepts <= self.words.generic:
            return 0.4
        acts = unit.lemmas & self.words.verbs or (len(unit.words) == 1 and unit.words[0].endswith(("ed", "ing")))
        return 0.5 if acts and self._is_told_by_words(self.reached) else 1.0

    def _is_told_by_words(self, reached: Sequence[Unit]) -> bool:
        focus = self.pair.question.focus
        return any(unit not in focus or self.pair.best_of(unit) >= SURE for unit in reached)

    def _by_value(self, unit: Unit) -> float:
        """Return how well a value alone tells the relation: "a teal boat" has a colour, "I am Anna Bell" a name."""
        if unit.sense.concepts & self.words.groups["named"] and values.has_name(self.pair):
            return SURE
        if "age" in unit.sense.concepts and any(told.number for _, told in self.pair.news):
            only = all(not told.sense.concepts or told.sense.kinds for told in self.pair.memory.units)
            return 0.9 if only else 0.0
        named = self._wanted(unit.sense.names - self.words.groups["vague_kinds"])
        usual = self._wanted(self.words.answered_by(unit.sense.concepts - self.words.groups["negative"]))
        by_name = max((values.of_kind(self.pair, kind) for kind in named), default=0.0)
        by_relation = max((values.of_kind(self.pair, kind) for kind in usual), default=0.0)
        return max(by_name, min(BY_VALUE, by_relation))

    def _wanted(self, kinds: frozenset[str]) -> frozenset[str]:
        return kinds & self.pair.question.wanted if self.pair.question.wanted else kinds

    def _says_little(self) -> float:
        """Return less the more the memory says that was not asked; then it is about something else."""
        question = self.pair.question
        expected = question.implied | question.limits | OWNED
        if "person" in question.wanted or not question.wanted:
            expected |= {"name"}
        extra = sum(self._is_extra(unit, expected) for _, unit in self.pair.news)
        return float(PER_EXTRA**extra)

    def _is_extra(self, unit: Unit, expected: frozenset[str]) -> bool:
        if unit.name or unit.number or unit.sense.kinds or unit.sense.concepts & expected:
            return False
        if len(unit.words) == 1 and unit.lemmas & self.words.grammar["plain_verbs"]:
            return False
        acts = unit.lemmas & self.words.verbs or (not unit.known and unit.words[0].endswith("ed"))
        return bool(unit.sense.concepts or acts)
