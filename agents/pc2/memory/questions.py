"""A question as the memory sees it: what it is about, what it asks, and which kind of value it wants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from agents_pc2.memory.asking import Asking
from agents_pc2.memory.lexicon import Lexicon, lexicon
from agents_pc2.memory.possessions import is_verb
from agents_pc2.memory.reading import read
from agents_pc2.memory.units import SELF, Possession, Reading, Unit

LIGHT = 0.25
"""Weight of a word that says little."""


@dataclass(frozen=True)
class Question:
    """What is asked.

    `units` leave out what says nothing; `weights` say how much each of them tells of the relation that is asked for;
    `anchors` are those it is about and that must be found again, `chosen` the anchors right after "which", `things`
    what an article points at;
    `focus` are words that only name the kind of value that is `wanted`; `implied` are relations it may mean without a
    word for them, `limits` those of "by when"; `leads` says that the first name is the subject, not "with Anna".
    """

    reading: Reading
    units: tuple[Unit, ...]
    weights: tuple[float, ...]
    anchors: frozenset[Unit]
    things: frozenset[Unit]
    chosen: frozenset[Unit]
    focus: frozenset[Unit]
    possessions: tuple[Possession, ...]
    names: tuple[tuple[str, ...], ...]
    wanted: frozenset[str]
    implied: frozenset[str]
    limits: frozenset[str]
    leads: bool
    asks_who: bool
    about_self: bool
    only_self: bool
    open_ended: bool


@lru_cache(maxsize=256)
def ask(text: str) -> Question:
    """Return the question in a text; a statement is taken as asking for what it says."""
    return _Asker(read(text), lexicon()).question()


class _Asker:
    """Works through one question once."""

    def __init__(self, reading: Reading, words: Lexicon) -> None:
        self.reading = reading
        self.words = words
        self.lowers = [token.lower for token in reading.tokens]
        named = Asking.named_kind(reading, reading.units, words)
        kept = [index for index, unit in enumerate(reading.units) if not self._says_nothing(unit, named)]
        self.units = tuple(reading.units[index] for index in kept)
        self.possessions = tuple(_kept(reading.possessions, {old: new for new, old in enumerate(kept)}))
        self.asking = Asking(reading, self.units, self.possessions, words)

    def question(self) -> Question:
        names = tuple(self.reading.name_words())
        vague = {unit for unit in self.asking.focus if unit.sense.names <= self.words.groups["vague_kinds"]}
        anchors = frozenset(self._anchors())
        relation = [unit for unit in self.units if unit not in anchors | vague and not unit.name]
        things = frozenset(self._things())
        alone = not (names or anchors or things)
        about_self = any(each.owner == SELF for each in self.possessions) or (self._acts_self() and alone)
        wanted = self.asking.wanted()
        return Question(
            reading=self.reading,
            units=self.units,
            weights=tuple(self._weights(anchors | vague)),
            anchors=anchors,
            things=things,
            chosen=frozenset(unit for unit in anchors if self.asking.chooses(unit)),
            focus=frozenset(self.asking.focus),
            possessions=self.possessions,
            names=names,
            wanted=wanted,
            implied=self.asking.implied(),
            limits=self.asking.limits(),
            leads=self._leads(),
            asks_who=self.asking.word == "who" and len(relation) <= 1,
            about_self=about_self,
            only_self=about_self and alone,
            open_ended=not wanted and not relation and any(each in self.words.grammar["about"] for each in self.lowers),
        )

    def _says_nothing(self, unit: Unit, named: Unit | None) -> bool:
        if unit.name:
            return False
        if unit.words == ("name",) and named is not None:
            return True
        filler = self.words.filler
        return unit.words in filler or (len(unit.words) == 1 and any((lemma,) in filler for lemma in unit.lemmas))

    # --- what it is about

    def _anchors(self) -> Iterator[Unit]:
        """Yield owners, things, and what is the asker's when something else is asked of it."""
        subjects = {self.units[each.owner] for each in self.possessions if isinstance(each.owner, int)}
        subjects.update(
            unit for before, unit in pairwise(self.units) if before.name and self._extends_name(before, unit)
        )
        mine = {self.units[index] for each in self.possessions if each.owner == SELF for index in each.owned}
        more = any(not (u in mine or u.name or self._is_anchor(u) or self._is_light(u)) for u in self.units)
        for unit in self.units:
            if unit.name or unit in self.asking.focus or self.asking.describes_kind(unit):
                continue
            if unit in subjects or self._is_anchor(unit) or (unit in mine and more):
                yield unit

    def _things(self) -> Iterator[Unit]:
        """Yield what an article points at: "the back door", but not "the colour of", which is what is asked."""
        at = {place: unit for unit in self.units for place in unit.positions}
        for place, lower in enumerate(self.lowers):
            if lower != "the":
                continue
            end = place + 1
            while end in at and not self._starts_predicate(end):
                end += 1
            if end < len(self.lowers) and self.lowers[end] in self.words.grammar["frames"]:
                continue
            phrase = [at[each] for each in range(place + 1, end) if at[each].start > place]
            if not any(unit.name for unit in phrase):
                yield from phrase

    def _starts_predicate(self, place: int) -> bool:
        lower = self.lowers[place]
        if lower in self.words.grammar["verbal"] or lower in self.words.verbs:
            return True
        return is_verb(self.reading.tokens[place], self.words)

    def _extends_name(self, name: Unit, unit: Unit) -> bool:
        """Say whether a noun belongs to a name: "the Xorn boat"."""
        before = name.start - 1
        while before >= 0 and self.reading.tokens[before].capital and not self.reading.tokens[before].first:
            before -= 1
        return before >= 0 and self.lowers[before] in self.words.grammar["naming"] and unit.start == name.end

    def _is_anchor(self, unit: Unit) -> bool:
        """Things, people and numbers, and words nobody knows, unless they stand where a verb would."""
        if unit.name or unit.number:
            return unit.number
        if unit.known:
            return unit.is_person or bool(unit.sense.kinds and not unit.sense.concepts | unit.sense.names)
        return not unit.text.lower().endswith("ly") and not self._stands_as_verb(unit)

    def _stands_as_verb(self, unit: Unit) -> bool:
        """Guess whether an unknown word is the verb: after "does" and a subject."""
        before = self.lowers[: unit.start]
        if not before or before[-1] in self.words.grammar["determiners"]:
            return False
        return any(lower in self.words.grammar["before_verb"] for lower in before)

    def _acts_self(self) -> bool:
        """Say whether the asker is the subject, as in "what am I allergic to"; "can I" and "tell me" do not count."""
        acts = any(
            second in ("i", "we") and first in self.words.grammar["acting"] for first, second in pairwise(self.lowers)
        )
        return acts or any(lower in self.words.grammar["my"] for lower in self.lowers)

    def _leads(self) -> bool:
        if not self.reading.names:
            return False
        start = self.reading.units[self.reading.names[0][0]].start
        return start == 0 or self.lowers[start - 1] not in self.words.grammar["not_leading"]

    # --- what it asks

    def _weights(self, apart: frozenset[Unit]) -> list[float]:
        """Return how much each unit tells of the relation; light verbs count only where there is nothing else."""
        weights = [0.0 if unit in apart or unit.name else self._weight(unit) for unit in self.units]
        if any(unit.sense.names - self.words.groups["measured_kinds"] for unit in self.units):
            weights = [0.0 if self._asker_does(unit) else each for unit, each in self._paired(weights)]
        if self.asking.asks_which():
            weights = [0.0 if each == LIGHT else each for each in weights]
        if any(each > LIGHT for each in weights):
            return weights
        family = self.words.groups["family"]
        enough = any(unit.is_person and unit.sense.concepts - family for unit in apart)  # "who became her boss"
        return [float(bool(each) and not enough and not self._is_placing(unit)) for unit, each in self._paired(weights)]

    def _paired(self, weights: Sequence[float]) -> Iterator[tuple[Unit, float]]:
        return zip(self.units, weights, strict=True)

    def _weight(self, unit: Unit) -> float:
        helps = self._asker_does(unit) and not unit.sense.concepts & self.words.groups["reaching"]
        if self._is_light(unit) or helps or self._is_placing(unit):
            return LIGHT
        if unit.sense.concepts:
            return 0.6 if unit.sense.concepts <= self.words.generic else 1.0
        return 1.0 if unit.sense.names else 0.6 if unit.known else 0.8

    def _is_light(self, unit: Unit) -> bool:
        return len(unit.words) == 1 and bool(unit.lemmas & self.words.light)

    def _is_placing(self, unit: Unit) -> bool:
        """Say whether "where" already says it: "where did I put"."""
        return self.asking.word == "where" and "keepplace" in unit.sense.concepts

    def _asker_does(self, unit: Unit) -> bool:
        """Say whether it is what the asker wants to do with the answer: "should I offer"."""
        before = self.lowers[max(0, unit.start - 4) : unit.start]
        while before and before[-1] in self.words.grammar["obliged"]:
            before.pop()
        if len(before) < 2:
            return False
        return before[-1] in self.words.grammar["askers"] and before[-2] in self.words.grammar["wishes"]


def _kept(possessions: Sequence[Possession], moved: dict[int, int]) -> Iterator[Possession]:
    """Yield possessions by the new places of units; those whose units are gone are left out."""
    for each in possessions:
        owned = tuple(moved[index] for index in each.owned if index in moved)
        owner = moved.get(each.owner) if isinstance(each.owner, int) else each.owner
        if owned and owner is not None:
            yield Possession(owner, owned)
