"""From text to reading: which words belong together, what they mean, which are names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from agents_pc2.memory.lexicon import NO_SENSE, Lexicon, Sense, lexicon
from agents_pc2.memory.possessions import is_verb, possessions
from agents_pc2.memory.tokens import Token, tokenise
from agents_pc2.memory.units import Reading, Unit

SHOUTED = 0.6
"""Share of capitalised words from which capitals say nothing."""


@lru_cache(maxsize=1024)
def read(text: str) -> Reading:
    """Return the reading of a text; the same text always gives the same one."""
    return _Reader(text, lexicon()).reading()


class _Reader:
    """Works through one text once."""

    def __init__(self, text: str, words: Lexicon) -> None:
        self.text = text
        self.words = words
        self.tokens = tokenise(text)
        for token in self.tokens:
            token.lemmas = words.lemmas(token.lower)
        capitals = self._capitals_mean_names()
        self.names = {place for place, token in enumerate(self.tokens) if capitals and self._is_name(token)}

    def reading(self) -> Reading:
        units = sorted(self._units(), key=lambda unit: unit.start)
        return Reading(
            text=self.text,
            tokens=tuple(self.tokens),
            units=tuple(units),
            possessions=tuple(possessions(self.tokens, units, self.words)),
            names=tuple(self._name_groups(units)),
            mentions_self=any(token.lower in self.words.grammar["me"] for token in self.tokens),
        )

    def _capitals_mean_names(self) -> bool:
        """Say whether capitals mark names here; in "WHEN IS MY BIRTHDAY" or "When Is My Birthday" they do not."""
        plain = [
            token
            for token in self.tokens
            if not token.first and token.text.isalpha() and token.lower != "i" and self.words.known(token.lower)
        ]
        return len(plain) < 3 or sum(token.capital for token in plain) < SHOUTED * len(plain)

    def _is_name(self, token: Token) -> bool:
        if not token.capital or token.number or token.lower in self.words.function:
            return False
        known = self.words.known(token.lower)
        if token.first:
            return not known
        plain = self.words.groups["plain_capital_kinds"] & self.words.senses(token.lemmas).kinds
        shortened = token.text.isupper() and len(token.text) > 1  # PIN, GP
        return not (known and (plain or shortened))

    def _units(self) -> Iterator[Unit]:
        taken: set[int] = set()
        for match in self.words.matches(self.tokens):
            if self._is_part_of_name(match.positions):
                continue
            self.names.difference_update(match.positions)
            taken.update(match.positions)
            small = all(self.tokens[place].lower in self.words.function for place in match.positions)
            if not small or match.sense != NO_SENSE:
                yield self._phrase(match.positions, match.sense)
        for place, token in enumerate(self.tokens):
            if token.possessive:
                if self._ends_phrase(place):  # "the boat is Anna's"
                    yield Unit((place,), frozenset({"belong"}), token.text, ("belong",), self.words.senses({"belong"}))
            elif place not in taken and (place in self.names or token.lower not in self.words.function):
                yield self._word(place)

    def _is_part_of_name(self, positions: Sequence[int]) -> bool:
        """Say whether a match is all name; a phrase with only some capitals is a phrase."""
        return all(place in self.names for place in positions)

    def _ends_phrase(self, place: int) -> bool:
        return place + 1 == len(self.tokens) or self.tokens[place + 1].after_break

    def _word(self, place: int) -> Unit:
        token, name = self.tokens[place], place in self.names
        known = token.number or self.words.known(token.lower)
        sense = NO_SENSE
        if name and known:  # of what a name would mean only "Olm College" tells something
            said = self.words.senses(token.lemmas)
            sense = Sense(concepts=said.concepts & self.words.groups["institutions"], kinds=said.kinds)
        words = (token.lower,)
        return Unit((place,), token.lemmas, token.text, words, sense, NO_SENSE, name, token.number, known)

    def _phrase(self, positions: tuple[int, ...], sense: Sense) -> Unit:
        tokens = [self.tokens[place] for place in positions]
        small = self.words.function
        lemmas = frozenset(lemma for token in tokens if token.lower not in small for lemma in token.lemmas)
        inner = NO_SENSE
        if len(tokens) > 1 and all(token.lower in small for token in tokens[1:]):
            inner = self.words.senses(tokens[0].lemmas - small)
        if inner.concepts & sense.concepts:
            inner = NO_SENSE
        if len(tokens) == 1 and self._is_inflected_verb(positions[0]):
            sense = replace(sense, kinds=frozenset(), names=frozenset())
        text, words = " ".join(token.text for token in tokens), tuple(token.lower for token in tokens)
        number = len(tokens) == 1 and tokens[0].number
        return Unit(positions, lemmas or tokens[0].lemmas, text, words, sense, inner, number=number)

    def _is_inflected_verb(self, place: int) -> bool:
        """Say whether "trains" or "drinks" is the verb here, not the things."""
        token = self.tokens[place]
        if place == 0 or token.lower.endswith("ing") or not is_verb(token, self.words):
            return False
        before = self.tokens[place - 1]
        return before.lower not in self.words.grammar["noun_before"] and not before.number

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
        between = self.tokens[before.end : after.start]
        broken = any(token.after_break for token in self.tokens[before.end : after.start + 1])
        return not broken and all(token.lower in self.words.grammar["joins"] for token in between)
