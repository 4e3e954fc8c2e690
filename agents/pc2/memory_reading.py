"""A sentence as the memory sees it: units with meaning, who owns what, and which kinds of values are in it.

A reading is a value: the same text always gives the same one. It does not know who told it or who asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from agents_pc2.memory_lexicon import NO_SENSE, SKIPPED, Lexicon, Sense, lexicon
from agents_pc2.memory_tokens import Token, tokenise

SELF = "self"
ME = frozenset({"i", "me", "my", "mine", "we", "us", "our", "ours", "myself", "ourselves"})
MY = frozenset({"my", "our"})
THEIR = frozenset({"his", "her", "their", "its"})
PLACES = frozenset(
    "in at to near from on under behind inside by between beneath above below around outside within into off beside towards "
    "through next underneath beyond opposite along against atop across over".split()
)
TOWNS = frozenset("in at to near from".split())
"""Words of place before a name that is no person's."""
VERBAL = frozenset("is are was were be am been has have had do does did can could will would should may might must".split())
NOUN_BEFORE = frozenset("the a an my our his her their its of in on with for some any no all these those to from by which what favourite favorite best".split())
INSTITUTIONS = frozenset({"school", "study"})
"""What a name still tells: somebody who went to Olm College studied there."""
JOINS = frozenset({"de", "van", "von", "der", "den", "la", "le", "da", "di", "del", "bin", "al", "of"})
HOLDERS = frozenset("case bag box shop store teacher lesson club player stand house museum factory farm recipe maker".split())
"""After a thing these make another thing of it: a violin case, a fish shop."""
SHOUTED = 0.6
"""Share of capitalised words from which capitals say nothing."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A word, phrase, number or name with meaning, at these token positions; `inner` is what a phrase's words mean alone."""

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


@dataclass(frozen=True, slots=True)
class Possession:
    """`owner` ("self", or the index of a unit) has what the units in `owned` say; the last one is its head."""

    owner: int | str
    owned: tuple[int, ...]


@dataclass(frozen=True)
class Reading:
    """Everything the memory takes from a text."""

    text: str
    tokens: tuple[Token, ...]
    units: tuple[Unit, ...]
    possessions: tuple[Possession, ...]
    names: tuple[tuple[int, ...], ...]
    mentions_self: bool
    negated: bool
    asks: bool

    def valued(self, index: int) -> bool:
        """Say whether a unit may be a value of its own: the boat of "the Xorn boat" and the violin of "violin case" are not."""
        unit = self.units[index]
        before = next((u for u in self.units if u.positions[-1] == unit.start - 1), None)
        if before is not None and before.name and not unit.name:
            return False
        following = unit.positions[-1] + 1
        return not (following < len(self.tokens) and self.tokens[following].lower in HOLDERS)

    def placed(self, index: int, after: frozenset[str] = PLACES) -> bool:
        """Say whether a unit stands after a word of place: "in the attic", "from Farnham"."""
        unit = self.units[index]
        if unit.number or (unit.sense.kinds and "place" not in unit.sense.kinds):
            return False
        at = {place: other for other in self.units for place in other.positions}
        for position in range(unit.start - 1, -1, -1):
            token = self.tokens[position]
            inside = at.get(position)
            if inside is None:
                if token.lower in after:
                    return token.lower != "to" or not unit.lemmas & lexicon().verbs
                if token.lower not in SKIPPED and token.lower != "of":
                    return False
            elif len(inside.positions) > 1 or inside.number or (unit.name and not inside.name and "place" not in inside.sense.names):
                return False
        return False


@lru_cache(maxsize=4096)
def read(text: str) -> Reading:
    """Return the reading of a text."""
    return _Reader(text, lexicon()).reading()


class _Reader:
    """Works through one text once."""

    def __init__(self, text: str, words: Lexicon) -> None:
        self.text = text
        self.words = words
        self.tokens = tokenise(text)
        for token in self.tokens:
            token.lemmas = words.lemmas(token.lower)
        self.capitals = self._capitals_mean_names()

    def reading(self) -> Reading:
        units = self._units()
        names = tuple(self._name_groups(units))
        lowers = [token.lower for token in self.tokens]
        return Reading(
            text=self.text,
            tokens=tuple(self.tokens),
            units=tuple(units),
            possessions=tuple(self._possessions(units)),
            names=names,
            mentions_self=any(lower in ME for lower in lowers),
            negated=any(lower in ("not", "never", "no") for lower in lowers),
            asks=self.text.rstrip().endswith("?"),
        )

    def _capitals_mean_names(self) -> bool:
        """Say whether capitals mark names here; in "WHEN IS MY BIRTHDAY" or "When Is My Birthday" they do not."""
        plain = [t for t in self.tokens if not t.first and t.text.isalpha() and t.lower != "i" and self.words.known(t.lower)]
        return len(plain) < 3 or sum(token.capital for token in plain) < SHOUTED * len(plain)

    def _is_name(self, token: Token) -> bool:
        if not token.capital or not self.capitals or token.number or token.lower in self.words.function:
            return False
        if token.lower.isdigit():
            return False
        if not token.first:
            known = self.words.known(token.lower)
            plain = {"date", "language", "zodiac", "religion", "person"} & self.words.senses(token.lemmas).kinds
            return not (known and (plain or (token.text.isupper() and len(token.text) > 1)))
        return not self.words.known(token.lower)

    def _units(self) -> list[Unit]:
        units: list[Unit] = []
        taken: set[int] = set()
        names = {index for index, token in enumerate(self.tokens) if self._is_name(token)}
        for match in self.words.matches(self.tokens):
            if any(position in names for position in match.positions):
                if len(match.positions) == 1 or all(position in names for position in match.positions):
                    continue
                names.difference_update(match.positions)
            if all(self.tokens[position].lower in self.words.function for position in match.positions):
                if match.sense == NO_SENSE:
                    taken.update(match.positions)
                    continue
            taken.update(match.positions)
            units.append(self._phrase_unit(match.positions, match.sense))
        for index, token in enumerate(self.tokens):
            if token.possessive and self._ends_phrase(index):  # "the boat is Anna's"
                units.append(Unit((index,), frozenset({"belong"}), token.text, ("belong",), self.words.senses({"belong"})))
            if index in taken or token.possessive or (token.lower in self.words.function and index not in names):
                continue
            known = token.number or self.words.known(token.lower)
            sense = NO_SENSE
            if index in names and known:
                said = self.words.senses(token.lemmas)
                sense = Sense(concepts=said.concepts & INSTITUTIONS, kinds=said.kinds)
            words = (token.lower,)
            units.append(
                Unit((index,), token.lemmas, token.text, words, sense, NO_SENSE, index in names, token.number, known)
            )
        return sorted(units, key=lambda unit: unit.start)

    def _ends_phrase(self, index: int) -> bool:
        return index + 1 == len(self.tokens) or self.tokens[index + 1].after_break

    def _phrase_unit(self, positions: tuple[int, ...], sense: Sense) -> Unit:
        tokens = [self.tokens[position] for position in positions]
        lemmas = frozenset(lemma for token in tokens for lemma in token.lemmas if token.lower not in self.words.function)
        text = " ".join(token.text for token in tokens)
        number = len(tokens) == 1 and tokens[0].number
        inner = NO_SENSE
        if len(tokens) > 1 and all(token.lower in self.words.function for token in tokens[1:]):
            inner = self.words.senses(tokens[0].lemmas - self.words.function)
        words = tuple(token.lower for token in tokens)
        if len(tokens) == 1 and self._inflected_verb(positions[0]):
            sense = replace(sense, kinds=frozenset(), names=frozenset())
        if inner.concepts & sense.concepts:
            inner = NO_SENSE
        return Unit(positions, lemmas or tokens[0].lemmas, text, words, sense, inner, number=number)

    def _inflected_verb(self, position: int) -> bool:
        """Say whether "trains" or "drinks" is the verb here, not the things."""
        token = self.tokens[position]
        if position == 0 or token.lower.endswith("ing") or not self._is_verb(token):
            return False
        return self.tokens[position - 1].lower not in NOUN_BEFORE and not self.tokens[position - 1].number

    def _name_groups(self, units: Sequence[Unit]) -> Iterator[tuple[int, ...]]:
        group: list[int] = []
        for index, unit in enumerate(units):
            if not unit.name:
                continue
            if group and not self._joined(units[group[-1]], unit):
                yield tuple(group)
                group = []
            group.append(index)
        if group:
            yield tuple(group)

    def _joined(self, before: Unit, after: Unit) -> bool:
        between = self.tokens[before.positions[-1] + 1 : after.start]
        return not after_break(self.tokens, before, after) and all(token.lower in JOINS for token in between)

    def _possessions(self, units: Sequence[Unit]) -> Iterator[Possession]:
        owner_of = {position: index for index, unit in enumerate(units) for position in unit.positions}
        for position, token in enumerate(self.tokens):
            if token.possessive:
                owned = self._owned(units, owner_of, position)
                if owned and position - 1 in owner_of:
                    yield Possession(owner_of[position - 1], owned)
            elif token.lower in MY:
                owned = self._owned(units, owner_of, position)
                if owned:
                    yield Possession(SELF, owned)
            elif token.lower == "of":
                yield from self._of(units, owner_of, position)

    def _owned(self, units: Sequence[Unit], owner_of: dict[int, int], position: int) -> tuple[int, ...]:
        """Return the units of the noun phrase after a mark of possession, up to a verb, a name after a noun, or a break."""
        owned: list[int] = []
        aided = any(token.lower in VERBAL for token in self.tokens[:position])
        for place in range(position + 1, len(self.tokens)):
            token = self.tokens[place]
            if token.after_break and place > position + 1:
                break
            index = owner_of.get(place)
            if index is None or token.possessive or units[index].start <= position:
                break
            if token.lower in self.words.function or token.lower.endswith("ly") or (token.lower,) in self.words.filler:
                break
            if index not in owned:
                if units[index].name and owned:
                    break
                if owned and (self._is_verb(token) or (aided and token.lower in self.words.verbs)):
                    break
                owned.append(index)
        return tuple(owned)

    def _is_verb(self, token: Token) -> bool:
        """Guess whether a word after a noun is its verb: "my sister lives", "my boss married"."""
        if token.lower.endswith("ed") and len(token.lemmas) > 1:
            return True
        return token.lower not in self.words.verbs and bool(token.lemmas & self.words.verbs)

    def _of(self, units: Sequence[Unit], owner_of: dict[int, int], position: int) -> Iterator[Possession]:
        """Yield "the name of my dog" as the dog's name, "a friend of mine" as mine."""
        before = owner_of.get(position - 1)
        if before is None or not self._determined(units[before]):
            return
        after = position + 1
        while after < len(self.tokens) and self.tokens[after].lower in ("the", "a", "an"):
            after += 1
        if after >= len(self.tokens):
            return
        if self.tokens[after].lower in ("mine", "ours"):
            yield Possession(SELF, (before,))
        elif self.tokens[after].lower in MY or self.tokens[after].lower in THEIR:
            owned = self._owned(units, owner_of, after)
            if owned:
                yield Possession(owned[-1], (before,))
        elif after in owner_of and not units[owner_of[after]].number:
            head = self._last_of_phrase(units, owner_of, after)
            if head != before:
                yield Possession(head, (before,))

    def _determined(self, unit: Unit) -> bool:
        """Say whether a noun has an article a few words before: "the best friend of", but not "afraid of"."""
        return any(token.lower in ("the", "a", "an", "what", "which") for token in self.tokens[max(0, unit.start - 3) : unit.start])

    def _last_of_phrase(self, units: Sequence[Unit], owner_of: dict[int, int], start: int) -> int:
        """Return the head of a noun phrase: "wedding" of "Anna's wedding", "boat" of "the Xorn boat"."""
        head = owner_of[start]
        aided = any(token.lower in VERBAL for token in self.tokens[:start])
        for place in range(start + 1, len(self.tokens)):
            token = self.tokens[place]
            if aided and token.lower in self.words.verbs:
                break
            if token.possessive:
                continue
            if token.after_break or place not in owner_of or token.lower in VERBAL:
                break
            if not units[owner_of[place]].name and self._is_verb(token):
                break
            head = owner_of[place]
        return head


def after_break(tokens: Sequence[Token], before: Unit, after: Unit) -> bool:
    """Say whether a comma, bracket or full stop stands between two units."""
    return any(token.after_break for token in tokens[before.positions[-1] + 1 : after.start + 1])
