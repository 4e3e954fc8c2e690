"""A question as the memory sees it: what it is about, what it asks, and which kind of value it wants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from agents_pc2.memory_lexicon import Lexicon, lexicon
from agents_pc2.memory_reading import MY, SELF, VERBAL, Possession, Reading, Unit, read
from agents_pc2.memory_tokens import Token

ASKING = ("where", "when", "who", "whom", "whose", "how", "what", "which", "why")
WANTED = {
    "where": frozenset({"place"}),
    "when": frozenset({"date", "time", "year"}),
    "who": frozenset({"person", "company"}),
    "whom": frozenset({"person", "company"}),
    "whose": frozenset({"person", "company"}),
}
IMPLIED = {
    "where": frozenset({"keepplace", "residence", "schedule"}),
    "when": frozenset({"schedule", "start", "meeting", "celebrate"}),
}
MEASURES = frozenset(
    "old tall heavy far long big deep wide hot cold expensive much many high fast large thick broad warm loud small".split()
)
NUMERIC = frozenset({"number", "date", "time", "year", "place"})
KIN = frozenset(
    "mother father parent sister brother sibling son daughter child aunt uncle cousin grandmother grandfather niece nephew kin".split()
)
LIGHT = 0.25
WISHES = frozenset({"should", "can", "could", "would", "must", "shall", "may", "might"})
OPENINGS = frozenset({"about", "regarding", "concerning"})
SUBJECTS = frozenset({"am", "do", "did", "have", "was", "were", "are", "had"})
VAGUE_KINDS = frozenset({"number", "person", "place", "date", "time", "year", "company", "unit", "title", "frequency"})
"""Kinds so wide that a value of them does not tell the relation."""
DETERMINERS = frozenset("the a an my our his her their of for in on at 's to this that".split())


@dataclass(frozen=True)
class Question:
    """What is asked.

    `units` leave out what says nothing; `anchors` are those it is about and that must be found again; `weights` say how much
    each unit tells of the relation that is asked for; `focus` are words that only name the kind of value that is `wanted`,
    `chosen` the anchors that stand right after "which".
    """

    text: str
    tokens: tuple[Token, ...]
    units: tuple[Unit, ...]
    weights: tuple[float, ...]
    anchors: frozenset[Unit]
    possessions: tuple[Possession, ...]
    name_groups: tuple[tuple[str, ...], ...]
    chosen: frozenset[Unit]
    focus: frozenset[Unit]
    wanted: frozenset[str]
    implied: frozenset[str]
    strongly_implied: frozenset[str]
    name_leads: bool
    mentions_self: bool
    asks_who: bool
    about_self: bool
    only_self: bool
    open_ended: bool


@lru_cache(maxsize=256)
def ask(text: str) -> Question:
    """Return the question in a text."""
    return _Asker(read(text), lexicon()).question()


class _Asker:
    """Works through one question once."""

    def __init__(self, reading: Reading, words: Lexicon) -> None:
        self.reading = reading
        self.words = words
        self.asking = next(((i, t.lower) for i, t in enumerate(reading.tokens) if t.lower in ASKING), None)

    def question(self) -> Question:
        kept = [index for index, unit in enumerate(self.reading.units) if not self._says_nothing(unit)]
        units = tuple(self.reading.units[index] for index in kept)
        possessions = tuple(self._possessions({old: new for new, old in enumerate(kept)}))
        focus = self._focus(units)
        vague = frozenset(unit for unit in focus if unit.sense.names <= VAGUE_KINDS)
        anchors = frozenset(self._anchors(units, possessions, focus))
        names = tuple(
            tuple(self.reading.units[index].text.lower() for index in group) for group in self.reading.names
        )
        owns_self = any(possession.owner == SELF for possession in possessions)
        acts_self = self._acts_self()
        about_self = owns_self or (acts_self and not names and not anchors)
        relation = [unit for unit in units if unit not in anchors and unit not in vague and not unit.name]
        wanted = self._wanted(units, possessions, focus)
        return Question(
            text=self.reading.text,
            tokens=self.reading.tokens,
            units=units,
            weights=tuple(self._weights(units, anchors | vague)),
            anchors=anchors,
            possessions=possessions,
            name_groups=names,
            chosen=frozenset(unit for unit in anchors if self._follows_which(unit)),
            focus=frozenset(focus),
            wanted=wanted,
            implied=self._implied(),
            strongly_implied=self._limit(),
            mentions_self=self.reading.mentions_self,
            name_leads=self._name_leads(),
            asks_who=self.asking is not None and self.asking[1] == "who" and len(relation) <= 1,
            about_self=about_self,
            only_self=about_self and not names and not anchors,
            open_ended=not wanted and not relation and any(t.lower in OPENINGS for t in self.reading.tokens),
        )

    def _says_nothing(self, unit: Unit) -> bool:
        if unit.words == ("name",) and self._named(self.reading.units) is not None:
            return True
        texts = tuple(self.reading.tokens[position].lower for position in unit.positions)
        if texts in self.words.filler and not unit.name:
            return True
        return not unit.name and len(texts) == 1 and any((lemma,) in self.words.filler for lemma in unit.lemmas)

    def _anchors(self, units: Sequence[Unit], possessions: Sequence[Possession], focus: Sequence[Unit]) -> Iterator[Unit]:
        """Yield what the question is about: owners, things, and what is the asker's when something else is asked of it."""
        subjects = {units[p.owner] for p in possessions if isinstance(p.owner, int)}
        subjects.update(unit for before, unit in pairwise(units) if before.name and self._extends_name(before, unit))
        mine = {units[index] for p in possessions if p.owner == SELF for index in p.owned}
        rest = [u for u in units if u not in mine and not u.name and not self._is_anchor(u) and not u.lemmas & self.words.light]
        last = max((unit.start for unit in focus), default=-1)
        asking = self.asking[0] if self.asking is not None else len(self.reading.tokens)
        for unit in units:
            if unit in focus or unit.name or asking < unit.start < last:
                continue
            if unit in subjects or self._is_anchor(unit) or (unit in mine and rest):
                yield unit

    def _extends_name(self, name: Unit, unit: Unit) -> bool:
        """Say whether a noun belongs to a name: "the Xorn boat"."""
        before = name.start - 1
        while before >= 0 and self.reading.tokens[before].capital and not self.reading.tokens[before].first:
            before -= 1
        determined = before >= 0 and self.reading.tokens[before].lower in ("the", "my", "our", "a", "this", "that")
        return determined and unit.start == name.positions[-1] + 1 and not unit.name

    def _is_anchor(self, unit: Unit) -> bool:
        """Things and numbers, and words nobody knows, unless they stand where a verb would."""
        if unit.name:
            return False
        if unit.number:
            return True
        if unit.known:
            return bool(unit.sense.kinds) and ("person" in unit.sense.kinds or not unit.sense.concepts | unit.sense.names)
        if unit.text.lower().endswith("ly"):
            return False
        return not self._is_verb(unit)

    def _weights(self, units: Sequence[Unit], apart: frozenset[Unit]) -> list[float]:
        """Return how much each unit tells of the relation; light verbs count only where there is nothing else."""
        weights = [0.0 if unit in apart or unit.name else self._weight(unit) for unit in units]
        if any(unit.sense.names - NUMERIC for unit in units):
            weights = [0.0 if self._asker_does(unit) else weight for unit, weight in zip(units, weights, strict=True)]
        if self._asks_which(units):
            weights = [0.0 if weight == LIGHT else weight for weight in weights]
        if sum(weight for weight in weights if weight > LIGHT) == 0:
            placing = self.asking is not None and self.asking[1] == "where"
            enough = any(unit.sense.concepts - KIN and "person" in unit.sense.kinds for unit in apart)  # "who became her boss" asks for the boss
            return [
                0.0 if enough or not weight or (placing and "keepplace" in unit.sense.concepts) else 1.0
                for unit, weight in zip(units, weights, strict=True)
            ]
        return weights

    def _weight(self, unit: Unit) -> float:
        informs = unit.sense.concepts & {"phone", "email", "code"}
        if len(unit.positions) == 1 and unit.lemmas & self.words.light or (self._asker_does(unit) and not informs):
            return LIGHT
        if self.asking is not None and self.asking[1] == "where" and "keepplace" in unit.sense.concepts:
            return LIGHT
        if unit.sense.concepts and unit.sense.concepts <= self.words.generic:
            return 0.6
        return 1.0 if unit.sense.concepts or unit.sense.names else 0.6 if unit.known else 0.8

    def _asks_which(self, units: Sequence[Unit]) -> bool:
        """Say whether a noun stands right after "which" or "what": "which doctor does she see"."""
        if self.asking is None or self.asking[1] not in ("what", "which"):
            return False
        after = self.asking[0] + 1
        return any(unit.start == after and (unit.sense.kinds or unit.sense.names - VAGUE_KINDS) for unit in units)

    def _asker_does(self, unit: Unit) -> bool:
        """Say whether it is what the asker wants to do with the answer: "should I offer"."""
        before = [token.lower for token in self.reading.tokens[max(0, unit.start - 4) : unit.start]]
        while before and before[-1] in ("have", "need", "to", "be", "best"):
            before.pop()
        return len(before) >= 2 and before[-1] in ("i", "we", "you", "one") and before[-2] in WISHES

    def _is_verb(self, unit: Unit) -> bool:
        """Guess whether an unknown word is the verb: after "does" and a subject."""
        before = self.reading.tokens[: unit.start]
        if not before or before[-1].lower in DETERMINERS or before[-1].possessive:
            return False
        return any(token.lower in ("do", "does", "did", "to", "can", "could", "should", "would", "will") for token in before)

    def _possessions(self, moved: dict[int, int]) -> list[Possession]:
        found = []
        for possession in self.reading.possessions:
            owned = tuple(moved[index] for index in possession.owned if index in moved)
            if isinstance(possession.owner, int):
                if possession.owner in moved and owned:
                    found.append(Possession(moved[possession.owner], owned))
            elif owned:
                found.append(replace(possession, owned=owned))
        return found

    def _follows_which(self, unit: Unit) -> bool:
        return self.asking is not None and self.asking[1] in ("what", "which") and 0 < unit.start - self.asking[0] <= 3

    def _name_leads(self) -> bool:
        """Say whether the first name is the subject, not "with Anna" or "to Anna"."""
        if not self.reading.names:
            return False
        start = self.reading.units[self.reading.names[0][0]].start
        return start == 0 or self.reading.tokens[start - 1].lower not in ("to", "with", "near", "by", "for", "about", "of")

    def _acts_self(self) -> bool:
        """Say whether the asker is the subject, as in "what am I allergic to"; "can I" and "tell me" do not count."""
        tokens = self.reading.tokens
        for before, token in zip(tokens, tokens[1:], strict=False):
            if token.lower in ("i", "we") and before.lower in SUBJECTS:
                return True
        return any(token.lower in MY for token in tokens)

    def _implied(self) -> frozenset[str]:
        """Return the relations a question may mean without a word for them."""
        tokens = [token.lower for token in self.reading.tokens]
        implied = IMPLIED.get(self.asking[1], frozenset()) if self.asking else frozenset()
        if "how" in tokens and "much" in tokens:
            implied |= {"price"}
        if self.asking is not None and "company" in tokens[self.asking[0] :][:3]:
            implied |= {"make", "workplace"}
        if any(first in WISHES and second in ("i", "we") for first, second in pairwise(tokens)):
            implied |= {"preference"}
        return implied

    def _limit(self) -> frozenset[str]:
        """Return what "by when" and "until which day" ask for."""
        if self.asking is None or self.asking[0] == 0:
            return frozenset()
        before = self.reading.tokens[self.asking[0] - 1].lower
        return frozenset({"deadline", "expiry"}) if before in ("by", "until", "till") else frozenset()

    def _wanted(
        self, units: Sequence[Unit], possessions: Sequence[Possession], focus: Sequence[Unit]
    ) -> frozenset[str]:
        position, word = self.asking or (-1, "what")
        if word == "where" and any(unit.sense.concepts & {"email", "phone", "website"} for unit in units):
            return frozenset()
        if word in WANTED:
            return WANTED[word]
        if word == "how":
            following = self.reading.tokens[position + 1].lower if position + 1 < len(self.reading.tokens) else ""
            if following in MEASURES:
                return frozenset({"number"})
            if any("phone" in u.sense.concepts for u in units) and any(t.lower in ("i", "we", "you") for t in self.reading.tokens):
                return frozenset({"number"})
            return frozenset({"frequency", "date", "number"}) if following == "often" else frozenset()
        if focus:
            return frozenset(kind for unit in focus for kind in unit.sense.names)
        owners = {possession.owner for possession in possessions}
        head = self._head(units, possessions)
        if head is not None and head.sense.names:
            return head.sense.names
        wants: set[str | None] = {unit.sense.wants for index, unit in enumerate(units) if unit.sense.wants and index not in owners}
        told = frozenset(want for want in wants if want is not None)
        return told or self._usual(units)

    def _usual(self, units: Sequence[Unit]) -> frozenset[str]:
        """Return the kind of value that the one relation asked for always has."""
        relations = [
            unit.sense.concepts
            for unit in units
            if unit.sense.concepts and not unit.sense.kinds and not (unit.lemmas & self.words.light and len(unit.words) == 1)
        ]
        if len(relations) > 1:
            relations = [unit.sense.concepts for unit in units if unit.sense.concepts in relations and not unit.lemmas & self.words.verbs]
        if len(relations) != 1 or not all(concept in self.words.wants for concept in relations[0]):
            return frozenset()
        return frozenset(self.words.wants[concept] for concept in relations[0])

    def _focus(self, units: Sequence[Unit]) -> list[Unit]:
        """Return the words right after "what" or "which" that name a kind: "which musical instrument"."""
        if self.asking is None or self.asking[1] not in ("what", "which"):
            return []
        named = self._named(units)
        if named is not None:
            return [named]
        kind_of = self._kind_of(units)
        if kind_of is not None:
            return [kind_of]
        focus: list[Unit] = []
        by_position = {place: unit for unit in units for place in unit.positions}
        for place in range(self.asking[0] + 1, len(self.reading.tokens)):
            token = self.reading.tokens[place]
            if token.lower in VERBAL or token.possessive or token.lower in ("the", "my", "a", "an"):
                break
            unit = by_position.get(place)
            if unit is None:
                continue
            if unit.name:
                break
            if unit.sense.names and unit not in focus:
                focus.append(unit)
        return focus

    def _named(self, units: Sequence[Unit]) -> Unit | None:
        """Return "town" of "what is the name of the town where"."""
        lowers = [token.lower for token in self.reading.tokens]
        for place in range(len(lowers) - 3):
            if lowers[place] in ("name", "title") and lowers[place + 1] == "of" and lowers[place + 2] in ("the", "a"):
                for unit in units:
                    if unit.start == place + 3 and unit.sense.names and unit.sense.names <= VAGUE_KINDS:
                        return unit
        return None

    def _head(self, units: Sequence[Unit], possessions: Sequence[Possession]) -> Unit | None:
        """Return what is asked for in "what is Anna's profession" and "what is the profession of Anna"."""
        if not possessions or not units:
            return None
        last = possessions[-1]
        head = units[last.owned[-1]]
        ends = head is units[-1] or (isinstance(last.owner, int) and units[last.owner] is units[-1])
        return head if ends else None

    def _kind_of(self, units: Sequence[Unit]) -> Unit | None:
        """Return "date" of "what is the date of Anna's wedding", if that asks for more than the date."""
        lowers = [token.lower for token in self.reading.tokens]
        for unit in units:
            place = unit.positions[-1]
            framed = lowers[unit.start - 1] == "the" and lowers[place + 1 : place + 2] in (["of"], ["for"], ["when"], ["where"], ["that"], ["on"], ["in"])
            if framed and unit.sense.names and unit.sense.names <= VAGUE_KINDS:
                rest = [u for u in units if u is not unit and not u.name and (u.sense.concepts - {"name"}) and not u.sense.kinds]
                return unit if rest else None
        return None
