"""A sentence as the memory sees it: units with meaning, who owns what, which units are names. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from agents_pc2.memory.lexicon import NO_SENSE, SKIPPED, Sense, lexicon
from agents_pc2.memory.tokens import Token

PLACE = frozenset({"place"})
SELF = "self"
"""The owner in "my boat"."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A word, phrase, number or name with meaning, at these token positions.

    `words` are its tokens in small letters, `inner` is what the first word of a phrase means alone.
    """

    positions: tuple[int, ...]
    lemmas: frozenset[str]
    text: str
    words: tuple[str, ...]
    sense: Sense = NO_SENSE
    inner: Sense = NO_SENSE
    name: bool = False
    number: bool = False
    known: bool = True

    @property
    def start(self) -> int:
        """Return the position of the first token."""
        return self.positions[0]

    @property
    def end(self) -> int:
        """Return the position after the last token."""
        return self.positions[-1] + 1

    @property
    def is_time(self) -> bool:
        """Say whether it is a month, a weekday, a time of day."""
        return bool(self.sense.kinds & {"date", "time"})

    @property
    def is_year(self) -> bool:
        """Say whether it is a number that may be a year."""
        return self.number and self.text.isdigit() and 1000 <= int(self.text) <= 2200

    @property
    def has_digit(self) -> bool:
        """Say whether it is a number or a code such as X9041b."""
        return self.number or any(mark.isdigit() for mark in self.text)

    @property
    def is_person(self) -> bool:
        """Say whether it is a word for somebody: sister, boss."""
        return "person" in self.sense.kinds


@dataclass(frozen=True, slots=True)
class Possession:
    """`owner` (SELF, or the index of a unit) has what the units in `owned` say; the last one is its head."""

    owner: int | str
    owned: tuple[int, ...]

    @property
    def head(self) -> int:
        """Return the index of what is owned, its adjectives left out."""
        return self.owned[-1]


@dataclass(frozen=True)
class Reading:
    """Everything the memory takes from a text; it does not know who told it or who asks."""

    text: str
    tokens: tuple[Token, ...]
    units: tuple[Unit, ...]
    possessions: tuple[Possession, ...]
    names: tuple[tuple[int, ...], ...]
    mentions_self: bool

    @property
    def asks(self) -> bool:
        """Say whether the text is a question, which tells nothing."""
        return self.text.rstrip().endswith("?")

    def name_words(self) -> list[tuple[str, ...]]:
        """Return the names in small letters, word by word."""
        return [tuple(self.units[index].text.lower() for index in group) for group in self.names]

    def whole(self, index: int) -> tuple[int, ...]:
        """Return the units of the name that a unit belongs to, or the unit alone."""
        return next((group for group in self.names if index in group), (index,))

    def valued(self, index: int) -> bool:
        """Say whether a unit may be a value: neither the boat of "the Xorn boat" nor the violin of "violin case"."""
        unit = self.units[index]
        before = next((other for other in self.units if other.end == unit.start), None)
        if before is not None and before.name and not unit.name:
            return False
        return not (unit.end < len(self.tokens) and self.tokens[unit.end].lower in lexicon().grammar["holders"])

    def placed(self, index: int, after: str = "places", among: frozenset[str] = PLACE) -> bool:
        """Say whether a unit stands after a word of place: "in the attic", "from Farnham".

        `after` names the list of words; what is known to be of other kinds than `among` is no place.
        """
        unit = self.units[index]
        if unit.number or (unit.sense.kinds and not unit.sense.kinds & among):
            return False
        words = lexicon()
        at = {place: other for other in self.units for place in other.positions}
        for position in range(unit.start - 1, -1, -1):
            token = self.tokens[position]
            inside = at.get(position)
            if inside is None:
                if token.lower in words.grammar[after]:
                    return token.lower != "to" or not unit.lemmas & words.verbs
                if token.lower not in SKIPPED and token.lower != "of":
                    return False
            elif not _passes(unit, inside):
                return False
        return False


def _passes(unit: Unit, between: Unit) -> bool:
    """Say whether a word may stand between "in" and the place: an adjective, no phrase and, before a name, no noun."""
    if len(between.positions) > 1 or between.number:
        return False
    return not unit.name or between.name or "place" in between.sense.names
