"""What a question wants: the kind of value, from its question word, the noun beside it, or the relation asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from agents_pc2.memory.lexicon import Lexicon
from agents_pc2.memory.units import Possession, Reading, Unit

SOMEBODY = frozenset({"person", "company"})
WANTED: Mapping[str, frozenset[str]] = {
    "where": frozenset({"place"}),
    "when": frozenset({"date", "time", "year"}),
    "who": SOMEBODY,
    "whom": SOMEBODY,
    "whose": SOMEBODY,
}
IMPLIED: Mapping[str, frozenset[str]] = {
    "where": frozenset({"keepplace", "residence", "schedule"}),
    "when": frozenset({"schedule", "start", "meeting", "celebrate"}),
}
NOWHERE = frozenset({"email", "phone", "website"})
"""Relations that "where" asks for without wanting a place: "where can I call her"."""
NOTHING: frozenset[str] = frozenset()
CHOSEN_WITHIN = 3


class Asking:
    """The question word of a question and what follows from it; `word` is "" without one, `focus` as in `Question`."""

    def __init__(
        self, reading: Reading, units: Sequence[Unit], possessions: Sequence[Possession], words: Lexicon
    ) -> None:
        self.reading = reading
        self.units = units
        self.possessions = possessions
        self.words = words
        self.lowers = [token.lower for token in reading.tokens]
        found = (place for place, lower in enumerate(self.lowers) if lower in words.grammar["asking"])
        self.place = next(found, -1)
        self.word = self.lowers[self.place] if self.place >= 0 else ""
        self.focus = self._focus()

    def wanted(self) -> frozenset[str]:
        """Return the kinds of values that would answer; none when anything might."""
        if self.word == "where" and any(unit.sense.concepts & NOWHERE for unit in self.units):
            return NOTHING
        if self.word in WANTED:
            return WANTED[self.word]
        if self.word == "how":
            return self._wanted_of_how()
        if self.focus:
            return frozenset(kind for unit in self.focus for kind in unit.sense.names)
        head = self._head()
        if head is not None and head.sense.names:
            return head.sense.names
        owners = {each.owner for each in self.possessions}
        telling = [unit for index, unit in enumerate(self.units) if unit.sense.concepts and index not in owners]
        if len(telling) == 1 and telling[0].sense.wants is not None:
            return frozenset({telling[0].sense.wants})
        return self._usual()

    def implied(self) -> frozenset[str]:
        """Return the relations the question may mean without a word for them."""
        implied = IMPLIED.get(self.word, NOTHING)
        if "how" in self.lowers and "much" in self.lowers:
            implied |= {"price"}
        if self.word and "company" in self.lowers[self.place : self.place + 3]:
            implied |= {"make", "workplace"}
        wishes = self.words.grammar["wishes"]
        if any(first in wishes and second in ("i", "we") for first, second in pairwise(self.lowers)):
            implied |= {"preference"}
        return implied

    def limits(self) -> frozenset[str]:
        """Return what "by when", "until which day" and "what is it for" ask for."""
        if self.word == "what" and self.lowers[-1] == "for":
            return frozenset({"purpose", "use"})
        limited = self.place > 0 and self.lowers[self.place - 1] in self.words.grammar["limits"]
        return frozenset({"deadline", "expiry"}) if limited else NOTHING

    def chooses(self, unit: Unit) -> bool:
        """Say whether a word stands right after "which"."""
        return self.word in ("what", "which") and 0 < unit.start - self.place <= CHOSEN_WITHIN

    def describes_kind(self, unit: Unit) -> bool:
        """Say whether a word stands between "which" and the kind: "which foreign language"."""
        return any(self.place < unit.start < other.start for other in self.focus)

    def asks_which(self) -> bool:
        """Say whether a noun stands right after "which" or "what": "which doctor does she see"."""
        if self.word not in ("what", "which"):
            return False
        vague = self.words.groups["vague_kinds"]
        return any(u.start == self.place + 1 and (u.sense.kinds or u.sense.names - vague) for u in self.units)

    @staticmethod
    def named_kind(reading: Reading, units: Sequence[Unit], words: Lexicon) -> Unit | None:
        """Return "town" of "what is the name of the town where", for kinds so wide that they tell no more."""
        lowers = [token.lower for token in reading.tokens]
        for place in range(len(lowers) - 3):
            article = lowers[place + 2] in words.grammar["articles"]
            if lowers[place] in ("name", "title") and lowers[place + 1] == "of" and article:
                for unit in units:
                    if unit.start == place + 3 and unit.sense.names and unit.sense.names <= words.groups["vague_kinds"]:
                        return unit
        return None

    def _focus(self) -> list[Unit]:
        if self.word not in ("what", "which"):
            return []
        alone = self.named_kind(self.reading, self.units, self.words) or self._framed_kind()
        return [alone] if alone is not None else self._kinds_after_word()

    def _framed_kind(self) -> Unit | None:
        """Return "date" of "what is the date of Anna's wedding", if that asks for more than the date."""
        for unit in self.units:
            following = self.lowers[unit.end] if unit.end < len(self.lowers) else ""
            framed = self.lowers[unit.start - 1] == "the" and following in self.words.grammar["frames"]
            if framed and unit.sense.names and unit.sense.names <= self.words.groups["vague_kinds"]:
                rest = (u for u in self.units if u is not unit and not u.name and not u.is_person)
                return unit if any(u.sense.concepts - {"name"} for u in rest) else None
        return None

    def _kinds_after_word(self) -> list[Unit]:
        """Return the words right after "what" or "which" that name a kind: "which musical instrument"."""
        focus: list[Unit] = []
        at = {place: unit for unit in self.units for place in unit.positions}
        for place in range(self.place + 1, len(self.lowers)):
            lower, unit = self.lowers[place], at.get(place)
            if lower in self.words.grammar["verbal"] or lower in self.words.grammar["articles"] or lower == "my":
                break
            if self.reading.tokens[place].possessive or (unit is not None and unit.name):
                break
            if unit is not None and unit.sense.names and unit not in focus:
                focus.append(unit)
        return focus

    def _wanted_of_how(self) -> frozenset[str]:
        following = self.lowers[self.place + 1] if self.place + 1 < len(self.lowers) else ""
        if following == "often":
            return frozenset({"frequency", "date", "number"})
        reaches = any("phone" in unit.sense.concepts for unit in self.units)
        asker = any(lower in ("i", "we", "you") for lower in self.lowers)
        measured = following in self.words.grammar["measures"]
        return frozenset({"number"}) if measured or (reaches and asker) else NOTHING

    def _head(self) -> Unit | None:
        """Return what is asked for in "what is Anna's profession" and "what is the profession of Anna"."""
        if not self.possessions:
            return None
        last = self.possessions[-1]
        ends = [self.units[last.head]] + ([self.units[last.owner]] if isinstance(last.owner, int) else [])
        return ends[0] if any(unit is self.units[-1] for unit in ends) else None

    def _usual(self) -> frozenset[str]:
        """Return the kind of value that the one relation asked for always has."""
        telling = [u for u in self.units if u.sense.concepts and not u.sense.kinds and not self._is_light(u)]
        telling = [unit for unit in telling if not self._describes(unit)]
        nouns = [unit for unit in telling if not unit.lemmas & self.words.verbs]
        telling = nouns or [unit for unit in telling if unit.sense.concepts <= self.words.wants.keys()]
        if len(telling) != 1 or not telling[0].sense.concepts <= self.words.wants.keys():
            return NOTHING
        return frozenset(self.words.wants[concept] for concept in telling[0].sense.concepts)

    def _describes(self, unit: Unit) -> bool:
        """Say whether a noun stands right before another one: "the heating engineer"."""
        return any(other.start == unit.end and not other.lemmas & self.words.verbs for other in self.units)

    def _is_light(self, unit: Unit) -> bool:
        return len(unit.words) == 1 and bool(unit.lemmas & self.words.light)
