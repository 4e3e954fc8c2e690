"""Does this memory answer this question? Decided by parts, each of which must hold.

* The *subject* must be the same: every name, every thing and every owner of the question is in the memory, and what the
  memory says is said of them and not of something of theirs ("Anna's boss").
* The *relation* must be the same, in whatever words: each meaningful word of the question has its like in the memory.
* A value of the asked *kind* must be there that the question did not bring along: a date for "when", a colour for "which shade".

What it does not know: time, users, and what other memories say. Not knowing is better than a wrong answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agents_pc2.memory_lexicon import Lexicon, lexicon
from agents_pc2.memory_questions import VAGUE_KINDS, Question
from agents_pc2.memory_reading import SELF, TOWNS, Possession, Reading, Unit

ANSWERS_FROM = 0.6
ALIKE = 0.6
OPEN_KINDS = frozenset({"title", "company", "person", "name", "model", "team"})
"""Kinds whose values are mostly proper names."""
THINGS = frozenset({"animal", "transport", "instrument", "plant", "gem", "title"})
NAMED_KINDS = frozenset({"place", "company", "language", "date", "person", "title", "team", "religion", "zodiac"})
"""Kinds of which a word with a capital may be a value."""
NEGATIVE = frozenset({"dislike", "allergy", "fear", "diet", "lose", "sell", "quit"})
"""Relations that turn a question round: they are never passed over."""
NOMINATIVE = frozenset({"i", "me", "we", "us", "mine", "myself", "ours"})
PLAIN_VERBS = frozenset("be have do get become turn work keep put find stand lie hang leave store go come use hold stay know learn".split())
"""Verbs that only join a subject to its value."""
OBJECT_AFTER = frozenset("to with near next beside by against behind for about".split())
"""Before a name these say that the sentence is about somebody else."""
SHARED_PREFIX = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """How well a memory answers a question: each part from 0 to 1, and the score they make together.

    `likeness` is the share of the question's words that the memory has in some way, `about` are the names both speak of.
    """

    subject: float
    relation: float
    kind: float
    likeness: float = 0.0
    concepts: frozenset[str] = frozenset()
    about: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """Return the product of the parts."""
        return self.subject * self.relation * self.kind

    @property
    def answers(self) -> bool:
        """Say whether the memory may be given as the answer."""
        return self.score >= ANSWERS_FROM


def judge(question: Question, memory: Reading) -> Verdict:
    """Return how well `memory` answers `question`."""
    return _Comparison(question, memory, lexicon()).verdict()


def likeness(asked: Unit, told: Unit, words: Lexicon) -> float:
    """Return how much a word of a question and a word of a memory mean the same, 0 to 1."""
    if asked.name:
        return 1.0 if asked.text.lower() == told.text.lower() else 0.0
    single = len(asked.positions) == 1
    if _same_words(asked, told) or (single and len(told.positions) == 1 and asked.lemmas & told.lemmas):
        return 1.0
    if asked.number or told.number:
        return 0.0
    concepts, inner = asked.sense.concepts, told.inner.concepts
    if concepts & told.sense.concepts:
        return 0.95
    if concepts & inner:
        return 0.85
    if single and not concepts and asked.lemmas & told.lemmas:
        return 0.9
    if _broader(concepts, told.sense.concepts | inner, words):
        return 0.85
    if asked.sense.names & told.sense.names and not (concepts and told.sense.concepts):
        return 0.9
    if _broader((told.sense.concepts | inner) - words.generic, concepts, words):
        return 0.7
    return 0.8 if single and not told.name and _same_stem(asked, told) else 0.0


def _same_words(asked: Unit, told: Unit) -> bool:
    """Say whether two phrases are the same but for the forms of their words."""
    if asked.words == told.words:
        return True
    several = 1 < len(asked.words) == len(told.words)
    return several and all(one.rstrip("s") == other.rstrip("s") for one, other in zip(asked.words, told.words, strict=True))


def names_kind_of(kind: Unit, value: Unit, among: frozenset[str] | None = None) -> bool:
    """Say whether one word names the kind of which the other is a value: "pet" and "dog"."""
    kinds = (kind.sense.names & value.sense.kinds) - VAGUE_KINDS
    return bool(kinds if among is None else kinds & among)


def _broader(wide: frozenset[str], narrow: frozenset[str], words: Lexicon) -> bool:
    return any(words.broader.get(concept, frozenset()) & narrow for concept in wide)


def _same_stem(asked: Unit, told: Unit) -> bool:
    """Say whether two words look derived from one: "paints" and "painter"."""
    for first in asked.lemmas:
        for second in told.lemmas:
            shared = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))
            if shared >= SHARED_PREFIX and len(first) - shared <= 3 and len(second) - shared <= 3:
                return True
            if min(len(first), len(second)) >= 3 and first.rstrip("s") == second.rstrip("s"):
                return True
    return False


class _Comparison:
    """One question against one memory."""

    def __init__(self, question: Question, memory: Reading, words: Lexicon) -> None:
        self.question = question
        self.memory = memory
        self.words = words
        self.likes = [[self._likeness(asked, told) for told in memory.units] for asked in question.units]
        self._keep_apart()
        self.covered = {
            index
            for asked, row in zip(question.units, self.likes, strict=True)
            for index, value in enumerate(row)
            if value >= ALIKE and (value == 1.0 or not names_kind_of(asked, memory.units[index]))
        }
        self.lowers = {token.lower for token in memory.tokens}

    def _likeness(self, asked: Unit, told: Unit) -> float:
        value = likeness(asked, told, self.words)
        if value < ALIKE and asked in self.question.anchors:  # "my pet" may be "my dog", and the other way round
            return max(value, 0.9 if names_kind_of(asked, told) else 0.65 if names_kind_of(told, asked, THINGS) else 0.0)
        if value < ALIKE and asked.sense.names & self._answered_by(told):
            return 0.85
        return value

    def _keep_apart(self) -> None:
        """A word of the memory that is what the question is about does not also tell the relation."""
        claimed = {
            row.index(max(row))
            for unit, row in zip(self.question.units, self.likes, strict=True)
            if row and unit in self.question.anchors and max(row) >= 0.95
        }
        for unit, row in zip(self.question.units, self.likes, strict=True):
            if unit not in self.question.anchors and not unit.name:
                for index in claimed:
                    row[index] = 0.0

    def _answered_by(self, unit: Unit) -> frozenset[str]:
        """Return the kinds of values that a relation has: "plays" has an instrument, a sport or a game."""
        return frozenset(self.words.answers[concept] for concept in unit.sense.concepts if concept in self.words.answers)

    def verdict(self) -> Verdict:
        """Judge part by part, cheapest and hardest first."""
        likeness = self._likeness_of_all()
        nothing = Verdict(0.0, 0.0, 0.0, likeness)
        if self.memory.asks:
            return nothing
        names, about = self._names()
        subject = names and names * self._anchors() * self._owners() * self._contrast() * self._self() * self._role()
        if subject < 0.3:
            return nothing
        relation, concepts = self._relation()
        return Verdict(subject, relation, self._kind(), likeness, concepts, about)

    def _likeness_of_all(self) -> float:
        if not self.likes:
            return 0.0
        return sum(max(row, default=0.0) for row in self.likes) / len(self.likes)

    # --- subject

    def _names(self) -> tuple[float, tuple[str, ...]]:
        """Every name of the question is in the memory; "Anna Bell" is not "Anna Cole", but may be just "Anna"."""
        score, about = 1.0, []
        lowers = [token.lower for token in self.memory.tokens]
        for group in self.question.name_groups:
            group_score = _find_name(group, lowers, self._memory_names())
            if group_score == 0:
                return 0.0, ()
            score *= group_score
            about += [" ".join(name) for name in self._memory_names() if set(name) & set(group)]
        return score, tuple(about)

    def _memory_names(self) -> list[tuple[str, ...]]:
        return [tuple(self.memory.units[index].text.lower() for index in group) for group in self.memory.names]

    def _anchors(self) -> float:
        """Things, numbers and unknown words of the question are what it is about: all must be there."""
        score = 1.0
        for unit, row in zip(self.question.units, self.likes, strict=True):
            if unit in self.question.anchors:
                best = max(row, default=0.0)
                if best < ALIKE and _is_time(unit) and not any(_is_time(told) for told in self.memory.units):
                    best = 0.9  # "last summer" tells nothing apart when the memory has no time
                if best < ALIKE:
                    return 0.0
                score *= max(best, 0.9)
        return score

    def _owners(self) -> float:
        score = 1.0
        broken = any("problem" in unit.sense.concepts for unit in self.question.units)  # then a part of it is the answer
        for mine in self.memory.possessions if not broken else ():
            if self._asked_owner(mine) and not self._speaks_of(mine) and not self._bare(mine.owner):
                return 0.0
        for asked in self.question.possessions:
            score *= self._same_owner(asked)
        return score

    def _speaks_of(self, mine: Possession) -> bool:
        """Say whether the question is about what is owned: its head, and whoever is named on the way to it."""
        people = [index for index in mine.owned[:-1] if "person" in self.memory.units[index].sense.kinds]
        return all(self._covers(index, mine.owner) for index in (*people, mine.owned[-1]))

    def _asked_owner(self, possession: Possession) -> bool:
        """Say whether the question names the owner."""
        if isinstance(possession.owner, str):
            return self.question.about_self
        return possession.owner in self.covered

    def _covers(self, index: int, owner: int | str) -> bool:
        """Say whether the question speaks of what is owned, in a word other than the owner's."""
        if self.question.wanted & self.memory.units[index].sense.names:
            return True
        owned = {place for possession in self.memory.possessions for place in possession.owned}
        rest = [place for place, unit in enumerate(self.memory.units) if place not in owned and not unit.sense.kinds]
        below = [p.owned[-1] for p in self.memory.possessions if p.owner == index]
        for row in self.likes:
            here = row[index]
            if here < ALIKE or (isinstance(owner, int) and row[owner] >= here) or any(row[place] >= ALIKE for place in below):
                continue  # "my friend's friend": the word tells the other of the two
            person = "person" in self.memory.units[index].sense.kinds
            if not person or all(row[place] < here for place in rest):
                return True
        return False

    def _bare(self, owner: int | str) -> bool:
        """Say whether the memory also speaks of the owner as such, not only of what is theirs."""
        if isinstance(owner, str):
            return bool(self.lowers & NOMINATIVE)
        text = self.memory.units[owner].text.lower()
        owning = {position for p in self.memory.possessions if isinstance(p.owner, int) for position in self.memory.units[p.owner].positions}
        owning |= {place for p in self.memory.possessions for index in p.owned for place in self.memory.units[index].positions}
        return any(token.lower == text and index not in owning for index, token in enumerate(self.memory.tokens))

    def _same_owner(self, asked: Possession) -> float:
        """Whose it is must agree where both say it."""
        heads = {i for i, value in enumerate(self.likes[asked.owned[-1]]) if value >= ALIKE}
        rivals = [p for p in self.memory.possessions if heads & set(p.owned)]
        if any(self._owner_agrees(asked.owner, p.owner) for p in rivals):
            return 1.0
        if rivals:
            return 0.0
        if asked.owner == SELF and not self.memory.mentions_self:
            return 0.6 if heads and self.memory.names else 0.9
        return 1.0

    def _owner_agrees(self, asked: int | str, told: int | str) -> bool:
        if isinstance(asked, str) or isinstance(told, str):
            return asked == told
        return self.likes[asked][told] >= ALIKE

    def _contrast(self) -> float:
        """ "My older sister" is not "my younger sister". """
        lacking = [u for u, row in zip(self.question.units, self.likes, strict=True) if max(row, default=0.0) < ALIKE]
        extra = [unit for _, unit in self._values()]
        for unit in lacking:  # a book is no film
            if any(unit.sense.names & o.sense.names and unit.sense.concepts and o.sense.concepts for o in extra):
                return 0.3
        for line in self.words.contrast:
            asked, told = _words_of(lacking, line), _words_of(extra, line)
            if asked and told and not asked & told:
                return 0.3
        return 1.0 if not _words_of(extra, _MODIFIERS) else 0.95

    def _role(self) -> float:
        """ "Mina lives next to Anna" does not tell where Anna lives. """
        if "person" in self.question.wanted or not self.question.name_groups:
            return 1.0
        for group in self.memory.names:
            unit = self.memory.units[group[0]]
            if unit.text.lower() not in self.question.name_groups[0] or unit.start == 0:
                continue
            before = self.memory.tokens[unit.start - 1].lower
            others = any(other.name or other.words[0] in NOMINATIVE for other in self.memory.units[: group[0]])
            if before in OBJECT_AFTER and others and self.question.name_leads:
                return 0.5
        return 1.0

    def _self(self) -> float:
        """A question about the asker needs a memory about the asker."""
        if not self.question.about_self:
            return 1.0
        if self.memory.mentions_self:
            return 1.0
        return 0.5 if self.question.only_self or self.memory.names else 0.85

    # --- relation

    def _relation(self) -> tuple[float, frozenset[str]]:
        units, weights = self.question.units, list(self.question.weights)
        by_words = [max(row, default=0.0) for row in self.likes]
        best = [max(likes, self._by_value(unit)) for likes, unit in zip(by_words, units, strict=True)]
        for index, unit in enumerate(units):  # "which university" tells the relation if the memory speaks of studying
            if unit in self.question.focus and not weights[index] and self._tells_relation(index):
                weights[index] = 1.0
        reached = [unit for unit, value, weight in zip(units, best, weights, strict=True) if value >= ALIKE and weight]
        worded = any(value >= ALIKE and weight for value, weight in zip(by_words, weights, strict=True))
        for index, unit in enumerate(units):
            if best[index] < ALIKE and weights[index] and self._said_again(unit, [*reached, *self.question.chosen]):
                best[index], worded = 0.8, worded or self._said_again(unit, list(self.question.chosen))
        concepts = frozenset(concept for unit in reached for concept in unit.sense.concepts)
        if not any(weights):
            if self.question.open_ended:
                return 0.9, concepts
            told = any(unit.sense.concepts & self.question.implied for unit in self.memory.units)
            return (0.95 if told else 0.9) * self._says_little(), concepts
        parts = [
            (weight if value >= ALIKE or not reached else weight * self._discount(unit, reached), value if value >= ALIKE else value / 2)
            for unit, weight, value in zip(units, weights, best, strict=True)
        ]
        if not reached and self._implied():
            return 0.75 * self._says_little(), concepts
        score = sum(weight * value for weight, value in parts) / sum(weight for weight, _ in parts)
        return score * (1.0 if worded else self._says_little()) * self._identity(), concepts

    def _identity(self) -> float:
        """ "Who is her friend" is not answered by what her friend has. """
        if not self.question.asks_who or not any("have" in token.lemmas for token in self.memory.tokens):
            return 1.0
        return 0.6

    def _implied(self) -> bool:
        """Say whether nothing but unknown words asks for the relation, and the memory tells the one the question implies."""
        asked = [unit for unit, weight in zip(self.question.units, self.question.weights, strict=True) if weight]
        if any(unit.sense.concepts and not unit.lemmas & self.words.verbs for unit in asked):
            return False
        return any(unit.sense.concepts & self.question.strongly_implied for unit in self.memory.units)

    def _discount(self, unit: Unit, reached: Sequence[Unit]) -> float:
        """Return how much a word that was not found still counts when others were: unknown and vague words little."""
        if not unit.sense.concepts and not unit.sense.names:
            return 0.35
        if unit.sense.concepts <= self.words.generic:
            return 0.4
        if unit.sense.concepts & NEGATIVE:
            return 1.0
        told_by_words = any(other not in self.question.focus or self._best_by_words(other) >= 0.85 for other in reached)
        acts = unit.lemmas & self.words.verbs or (len(unit.words) == 1 and unit.words[0].endswith(("ed", "ing")))
        return 0.5 if acts and told_by_words else 1.0

    def _best_by_words(self, unit: Unit) -> float:
        return max(self.likes[self.question.units.index(unit)], default=0.0)

    def _said_again(self, unit: Unit, reached: Sequence[Unit]) -> bool:
        """Say whether a word only repeats another one that was found: "which instrument does she play"."""
        kinds = {self.words.answers[concept] for concept in unit.sense.concepts if concept in self.words.answers}
        return any(unit.sense.concepts & other.sense.concepts or kinds & other.sense.names for other in reached)

    def _tells_relation(self, asked: int) -> bool:
        unit = self.question.units[asked]
        return any(
            value >= 0.85 and unit.sense.concepts & told.sense.concepts
            for value, told in zip(self.likes[asked], self.memory.units, strict=True)
        )

    def _by_value(self, unit: Unit) -> float:
        """Return how well a value alone tells the relation: "a teal boat" has a colour, "my doctor is Anna Bell" a name."""
        kinds = {kind for kind in unit.sense.names if kind not in VAGUE_KINDS}
        if unit.sense.concepts & {"name", "model"} and any(u.name and not self.memory.placed(i, TOWNS) for i, u in self._values()):
            return 0.85
        if self.question.wanted:
            kinds &= self.question.wanted
        if "age" in unit.sense.concepts and any(value.number for _, value in self._values()):
            return 0.9 if all(not told.sense.concepts or told.sense.kinds for told in self.memory.units) else 0.0
        usual = {self.words.answers[c] for c in unit.sense.concepts - NEGATIVE if c in self.words.answers}
        if self.question.wanted:
            usual &= self.question.wanted
        by_name = max((self._kind_fit(kind) for kind in kinds), default=0.0)
        return max(by_name, min(0.8, max((self._kind_fit(kind) for kind in usual), default=0.0)))

    def _says_little(self) -> float:
        """Return less the more the memory says that was not asked; then it is about something else."""
        extra = 0
        implied = self.question.implied | self.question.strongly_implied | {"preference", "own"}
        if "person" in self.question.wanted or not self.question.wanted:
            implied |= {"name"}
        for index, unit in enumerate(self.memory.units):
            if index in self.covered or unit.name or unit.number or unit.sense.kinds:
                continue
            if unit.sense.concepts & implied or unit.lemmas & PLAIN_VERBS:
                continue
            if unit.sense.concepts or unit.lemmas & self.words.verbs or (not unit.known and unit.words[0].endswith("ed")):
                extra += 1
        return float(0.6**extra)

    # --- kind

    def _kind(self) -> float:
        """Return how well the memory's values fit what the question wants."""
        if self.question.open_ended:
            return 1.0
        if not self.question.wanted:
            return 1.0 if self._values() else 0.5
        if self._kind_named() and self._values():
            return 1.0
        best = max(self._kind_fit(kind) for kind in self.question.wanted)
        return 1.0 if best >= 0.8 else 0.75 if best >= 0.45 else 0.3

    def _kind_named(self) -> bool:
        """Say whether the memory itself names the kind of its value: "her favourite colour is zelphic"."""
        for unit, row in zip(self.question.units, self.likes, strict=True):
            if unit in self.question.focus and not unit.sense.names <= VAGUE_KINDS:
                told = [self.memory.units[index] for index, value in enumerate(row) if value >= 0.85]
                if any(other.sense.names & unit.sense.names or (other.sense.kinds & unit.sense.names) for other in told):
                    return True
        return False

    def _values(self) -> list[tuple[int, Unit]]:
        """Return the units that the question did not bring along."""
        return [(index, unit) for index, unit in enumerate(self.memory.units) if index not in self.covered]

    def _kind_fit(self, kind: str) -> float:
        values = self._values()
        if any(kind in unit.sense.kinds and self._is_value(index, unit, kind) for index, unit in values):
            return 0.95
        if kind == "place":
            placed = any(self.memory.placed(index) and not _is_time(unit) for index, unit in values)
            return 0.95 if placed else 0.8 if any(unit.name for _, unit in values) and self._says(kind) else 0.0
        if kind in ("number", "time", "frequency", "unit"):
            return 0.95 if any(unit.number for _, unit in values) else 0.0
        if kind == "year":
            return 0.95 if any(_is_year(unit) for _, unit in values) else 0.0
        if kind == "date":
            return 0.95 if any(_is_time(unit) or _is_year(unit) for _, unit in values) else 0.0
        if kind == "person" and self.memory.mentions_self and not self.question.mentions_self:
            return 0.8
        if kind in OPEN_KINDS and any(unit.name for _, unit in values):
            return 0.9
        strange = any(not unit.sense.kinds and not unit.number and not unit.name and not unit.known for _, unit in values)
        return 0.45 if strange else 0.0

    def _is_value(self, index: int, unit: Unit, kind: str) -> bool:
        if unit.name:
            return kind in NAMED_KINDS
        after = unit.positions[-1] + 1
        titled = kind == "job" and any(other.name and other.start == after for other in self.memory.units)  # "doctor Bell"
        return not titled and self.memory.valued(index)

    def _says(self, kind: str) -> bool:
        """Say whether the memory names the kind or answers a relation whose values are of it."""
        return any(kind in unit.sense.names or unit.sense.concepts & _PLACE_RELATIONS for unit in self.memory.units)


_MODIFIERS = frozenset({"older", "younger", "first", "second", "left", "right", "work", "home", "summer", "north", "south", "old", "new"})
_PLACE_RELATIONS = frozenset({"residence", "origin", "birth", "keepplace", "school", "study", "travel", "workplace", "capital"})


def _is_time(unit: Unit) -> bool:
    return bool(unit.sense.kinds & {"date", "time"})


def _is_year(unit: Unit) -> bool:
    return unit.number and unit.text.isdigit() and 1000 <= int(unit.text) <= 2200


def _words_of(units: Sequence[Unit], line: frozenset[str]) -> frozenset[str]:
    """Return the words of a line of opposites that stand alone in these units."""
    found = set()
    for unit in units:
        if len(unit.words) == 1:
            found |= {unit.words[0]} & line or unit.lemmas & line
    return frozenset(found)


def _find_name(group: tuple[str, ...], lowers: Sequence[str], names: Sequence[tuple[str, ...]]) -> float:
    """Return 1 for the whole name, less for a part of it that stands alone, 0 for another one."""
    for start in range(len(lowers)):
        if tuple(lowers[start : start + len(group)]) == group:
            return 1.0
    if len(group) > 1:
        for name in names:
            if len(name) == 1 and name[0] in (group[0], group[-1]):
                return 0.8
    return 0.0
