"""Who has what in a sentence: "Anna's boss", "my sister's dog", "the colour of the boat"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents_pc2.memory.lexicon import Lexicon
from agents_pc2.memory.tokens import Token
from agents_pc2.memory.units import SELF, Possession, Unit


def is_verb(token: Token, words: Lexicon) -> bool:
    """Guess whether a word after a noun is its verb: "my sister lives", "my boss married"."""
    if token.lower.endswith("ed") and len(token.lemmas) > 1:
        return True
    return token.lower not in words.verbs and bool(token.lemmas & words.verbs)


def possessions(tokens: Sequence[Token], units: Sequence[Unit], words: Lexicon) -> Iterator[Possession]:
    """Yield who has what, in the order of the marks of possession."""
    finder = _Finder(tokens, units, words)
    for position, token in enumerate(tokens):
        if token.possessive:
            owned = finder.owned(position)
            owner = finder.at.get(position - 1)
            if owned and owner is not None:
                yield Possession(owner, owned)
        elif token.lower in words.grammar["my"]:
            owned = finder.owned(position)
            if owned:
                yield Possession(SELF, owned)
        elif token.lower == "of":
            yield from finder.of(position)


class _Finder:
    """Walks along the noun phrases of one sentence."""

    def __init__(self, tokens: Sequence[Token], units: Sequence[Unit], words: Lexicon) -> None:
        self.tokens = tokens
        self.units = units
        self.words = words
        self.at = {position: index for index, unit in enumerate(units) for position in unit.positions}

    def owned(self, mark: int) -> tuple[int, ...]:
        """Return the noun phrase after a mark, up to a verb, a small word, a name after a noun, or a break."""
        owned: list[int] = []
        aided = self._aided(mark)
        for place in range(mark + 1, len(self.tokens)):
            token = self.tokens[place]
            index = self.at.get(place)
            if index is None or token.possessive or self.units[index].start <= mark:
                break
            if (token.after_break and place > mark + 1) or self._is_no_noun(token):
                break
            if index in owned:
                continue
            if owned and (self.units[index].name or self._starts_predicate(token, aided)):
                break
            owned.append(index)
        return tuple(owned)

    def of(self, position: int) -> Iterator[Possession]:
        """Yield "the name of my dog" as the dog's name, "a friend of mine" as mine."""
        before = self.at.get(position - 1)
        after = position + 1
        while after < len(self.tokens) and self.tokens[after].lower in self.words.grammar["articles"]:
            after += 1
        if before is None or after >= len(self.tokens) or not self._determined(self.units[before]):
            return
        following = self.tokens[after].lower
        if following in ("mine", "ours"):
            yield Possession(SELF, (before,))
        elif following in self.words.grammar["my"] or following in self.words.grammar["their"]:
            if after + 1 in self.at:
                yield Possession(self._head(after + 1), (before,))
        elif after in self.at and not self.units[self.at[after]].number:
            head = self._head(after)
            if head != before and not (self.units[head].name and self.units[before].name):
                yield Possession(head, (before,))

    def _head(self, start: int) -> int:
        """Return the last unit of a noun phrase: "wedding" of "Anna's wedding", "boat" of "the Xorn boat"."""
        head = self.at[start]
        aided = self._aided(start)
        for place in range(start + 1, len(self.tokens)):
            token = self.tokens[place]
            if token.possessive:
                continue
            if token.after_break or place not in self.at or token.lower in self.words.grammar["verbal"]:
                break
            if not self.units[self.at[place]].name and self._starts_predicate(token, aided):
                break
            head = self.at[place]
        return head

    def _aided(self, position: int) -> bool:
        """Say whether an auxiliary stands before, so that a bare verb may follow the subject: "does my sister live"."""
        return any(token.lower in self.words.grammar["verbal"] for token in self.tokens[:position])

    def _starts_predicate(self, token: Token, aided: bool) -> bool:
        return is_verb(token, self.words) or (aided and token.lower in self.words.verbs)

    def _is_no_noun(self, token: Token) -> bool:
        return token.lower in self.words.function or token.lower.endswith("ly") or (token.lower,) in self.words.filler

    def _determined(self, unit: Unit) -> bool:
        """Say whether a noun has an article a few words before: "the best friend of", but not "afraid of"."""
        before = self.tokens[max(0, unit.start - 3) : unit.start]
        return any(token.lower in self.words.grammar["determined"] for token in before)
