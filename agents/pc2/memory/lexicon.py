"""The words the memory knows: their forms, which of them mean the same, and which kinds of things they name.

Read from `agents/shared/lexicon.toml` on first use; nothing here knows of memories or questions.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from agents_pc2.memory.tokens import Token, tokenise

LEXICON = Path(__file__).resolve().parents[2] / "shared" / "lexicon.toml"
GAP = "~"
LONGEST_GAP = 5
SKIPPED = frozenset({"a", "an", "the", "my", "your", "his", "her", "their", "its", "our"})
"""Words that phrases are written and found without."""
VOWELS = frozenset("aeiou")


@dataclass(frozen=True, slots=True)
class Sense:
    """What a word or phrase stands for: concepts it expresses, kinds it is one of, names, or asks for."""

    concepts: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    wants: str | None = None

    def merged(self, other: Sense) -> Sense:
        """Return both senses in one."""
        return Sense(
            self.concepts | other.concepts,
            self.kinds | other.kinds,
            self.names | other.names,
            self.wants or other.wants,
        )


NO_SENSE = Sense()


@dataclass(frozen=True, slots=True)
class Match:
    """A word or phrase found in a text: the positions of its tokens and what it stands for."""

    positions: tuple[int, ...]
    sense: Sense


class Lexicon:
    """Forms, phrases and kinds, ready to be looked up."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.version = hashlib.sha256(repr(data).encode()).hexdigest()[:16]
        words: Mapping[str, Any] = data["words"]
        self.function = frozenset(_split(words["function"]))
        self._bases: dict[str, set[str]] = {}
        for base, forms in data["forms"].items():
            for form in [base, *_split(forms)]:
                self._bases.setdefault(form, set()).add(base)
        self._vocabulary: set[str] = set(self._bases)
        self._phrases: dict[str, list[tuple[tuple[str, ...], Sense]]] = {}
        self._collect_vocabulary(data)
        self.verbs = frozenset(_split(words["verbs"]))
        self.grammar: dict[str, frozenset[str]] = {
            name: frozenset(_split(line)) for name, line in data["grammar"].items()
        }
        self.light = self._lemmas_of(_split(words["light"]))
        self.contrast = tuple(self._lemmas_of(_split(line)) for line in words["contrast"])
        for phrase in _split(words["filler"]):
            self._add(phrase, NO_SENSE)
        self.filler = frozenset(self._key(phrase) for phrase in _split(words["filler"]))
        self._add_concepts(data["concepts"])
        self._add_kinds(data["kinds"])
        self.broader: dict[str, frozenset[str]] = {
            key: frozenset(_split(value)) for key, value in data["broader"].items()
        }
        self.answers: dict[str, str] = dict(data["answers"])
        self.wants: dict[str, str] = dict(data["wants"])
        self.groups: dict[str, frozenset[str]] = {
            name: frozenset(_split(line)) for name, line in data["groups"].items()
        }
        self.generic = self.groups["generic"]
        for phrases in self._phrases.values():
            phrases.sort(key=lambda entry: -sum(word != GAP for word in entry[0]))

    def every_sense(self) -> Iterator[Sense]:
        """Yield what each word and phrase stands for."""
        for entries in self._phrases.values():
            yield from (sense for _, sense in entries)

    def answered_by(self, concepts: Iterable[str]) -> frozenset[str]:
        """Return the kinds of values that relations have: "plays" has an instrument, a sport or a game."""
        return frozenset(self.answers[concept] for concept in concepts if concept in self.answers)

    def is_broader(self, wide: Iterable[str], narrow: frozenset[str]) -> bool:
        """Say whether one of the wide concepts takes in one of the narrow ones: a sibling is a sister."""
        return any(self.broader.get(concept, frozenset()) & narrow for concept in wide)

    def lemmas(self, word: str) -> frozenset[str]:
        """Return the word itself and the forms it may be derived from: "lives" gives lives, life, live."""
        return frozenset(self._lemmas(word))

    def known(self, word: str) -> bool:
        """Say whether the word, in any form, is one of the lexicon's or a function word."""
        return word in self.function or any(lemma in self._vocabulary for lemma in self._lemmas(word))

    def matches(self, tokens: Sequence[Token]) -> Iterator[Match]:
        """Yield the longest phrases in order; no token belongs to two of them."""
        places = [index for index, token in enumerate(tokens) if token.lower not in SKIPPED]
        taken: set[int] = set()
        for start, index in enumerate(places):
            if index in taken:
                continue
            best = self._longest(tokens, places, start, taken)
            if best is not None:
                taken.update(best.positions)
                yield best

    def senses(self, lemmas: Iterable[str]) -> Sense:
        """Return what a single word may stand for."""
        sense = NO_SENSE
        for lemma in lemmas:
            for words, candidate in self._phrases.get(lemma, ()):
                if len(words) == 1:
                    sense = sense.merged(candidate)
        return sense

    def _longest(self, tokens: Sequence[Token], places: Sequence[int], start: int, taken: set[int]) -> Match | None:
        found: list[int] | None = None
        sense, size = NO_SENSE, 0
        for lemma in tokens[places[start]].lemmas:
            for words, candidate in self._phrases.get(lemma, ()):
                length = sum(word != GAP for word in words)
                if length < size:
                    break
                positions = _follow(words, tokens, places, start)
                if positions is None or any(position in taken for position in positions):
                    continue
                if length > size:
                    found, sense, size = positions, candidate, length
                elif length == size and (found == positions or size == 1):
                    sense = sense.merged(candidate)
        return None if found is None else Match(tuple(found), sense)

    def _lemmas(self, word: str) -> set[str]:
        listed = word in self._vocabulary  # "drawer" is no person who draws
        bases = self._bases.get(word)
        if bases is None:
            return {word, *(stem for stem in _stems(word, inflected_only=listed) if stem in self._vocabulary)}
        plural = {word[:-1]} & self._vocabulary if word.endswith("s") else set()  # "leaves" may be of leaf and of leave
        return {word, *bases, *plural}

    def _collect_vocabulary(self, data: Mapping[str, Any]) -> None:
        lines: list[str] = [*data["concepts"].values()]
        lines += [line for kind in data["kinds"].values() for line in kind.values()]
        lines += data["words"]["contrast"] + [data["words"]["light"], data["words"]["filler"], data["words"]["verbs"]]
        for line in lines:
            for phrase in _split(line):
                self._vocabulary.update(token.lower for token in tokenise(phrase.partition(":")[0]))

    def _add_concepts(self, concepts: Mapping[str, str]) -> None:
        for concept, line in concepts.items():
            for entry in _split(line):
                phrase, _, kind = entry.partition(":")
                self._add(phrase, Sense(concepts=frozenset({concept}), wants=kind or None))

    def _add_kinds(self, kinds: Mapping[str, Mapping[str, str]]) -> None:
        for kind, lines in kinds.items():
            for phrase in _split(lines["names"]):
                self._add(phrase, Sense(names=frozenset({kind})))
            for phrase in _split(lines["values"]):
                self._add(phrase, Sense(kinds=frozenset({kind})))

    def _add(self, phrase: str, sense: Sense) -> None:
        words = self._key(phrase)
        if not words:
            return
        entries = self._phrases.setdefault(words[0], [])
        for index, (other, known) in enumerate(entries):
            if other == words:
                entries[index] = (words, known.merged(sense))
                return
        entries.append((words, sense))

    def _key(self, phrase: str) -> tuple[str, ...]:
        """Return the words of a phrase as they are looked up; a base form stands for all its forms."""
        words: list[str] = []
        for part in phrase.split():
            words += [GAP] if part == GAP else [token.lower for token in tokenise(part) if token.lower not in SKIPPED]
        return tuple(words)

    def _lemmas_of(self, phrases: Iterable[str]) -> frozenset[str]:
        return frozenset(lemma for phrase in phrases for lemma in self._lemmas(phrase))


def _follow(words: Sequence[str], tokens: Sequence[Token], places: Sequence[int], start: int) -> list[int] | None:
    """Return the positions of a phrase that begins at `places[start]`, or None."""
    positions, place, gap = [], start, 0
    for word in words:
        if word == GAP:
            gap = LONGEST_GAP
            continue
        while place < len(places) and word not in tokens[places[place]].lemmas and gap:
            place, gap = place + 1, gap - 1
        if place >= len(places) or word not in tokens[places[place]].lemmas:
            return None
        positions.append(places[place])
        place, gap = place + 1, 0
    return positions


def _stems(word: str, *, inflected_only: bool) -> Iterator[str]:
    """Yield what a regular English form may come from; the caller keeps those that exist."""
    if len(word) < 4:
        return
    if word.endswith("ies"):
        yield word[:-3] + "y"
    if word.endswith("es"):
        yield word[:-2]
    if word.endswith("s") and not word.endswith("ss"):
        yield word[:-1]
    for suffix in ("ing", "ed") if inflected_only else ("ing", "ed", "er", "est", "ers"):
        if word.endswith(suffix):
            stem = word.removesuffix(suffix)
            yield stem
            yield stem + "e"
            if suffix in ("ed", "er", "est") and stem.endswith("i"):
                yield stem[:-1] + "y"
            if len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] not in VOWELS:
                yield stem[:-1]
    if word.endswith("ly") and not inflected_only:
        yield word[:-2]
    if "ise" in word or "isa" in word:
        yield word.replace("ise", "ize").replace("isa", "iza")
    if "ize" in word or "iza" in word:
        yield word.replace("ize", "ise").replace("iza", "isa")


def _split(line: str) -> list[str]:
    return [phrase for phrase in (part.strip() for part in line.replace("\n", " ").split(",")) if phrase]


@cache
def lexicon() -> Lexicon:
    """Return the shared lexicon, read once."""
    with LEXICON.open("rb") as file:
        return Lexicon(tomllib.load(file))
