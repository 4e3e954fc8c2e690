"""The words under which a memory is indexed and looked for: its own, their base forms, and the concepts they express.

Concepts make the full text index find "resides in Farnham" for "where does she live": both carry the term
`conceptresidence`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from agents_pc2.memory.lexicon import Sense, lexicon
from agents_pc2.memory.questions import Question
from agents_pc2.memory.reading import read
from agents_pc2.memory.units import Unit

ASKER = "selfmention"


def index_terms(content: str, tags: Sequence[str] = ()) -> str:
    """Return the terms of a memory, separated by spaces."""
    reading = read(content)
    terms = {ASKER} if reading.mentions_self else set()
    for unit in reading.units:
        terms.update(_own_terms(unit))
    return " ".join([*sorted(terms), *tags])


def search_terms(question: Question) -> list[str]:
    """Return the terms of which a memory that answers must have some."""
    words = lexicon()
    terms: set[str] = {ASKER} if question.about_self else set()
    for unit in question.units:
        terms.update(_own_terms(unit))
        for concept in unit.sense.concepts:
            terms.update(f"concept{narrow}" for narrow in words.broader.get(concept, ()))
            if concept in words.answers:
                terms.add(f"kind{words.answers[concept]}")
        terms.update(f"kind{kind}" for kind in unit.sense.names)
    return sorted(terms)


def anchor_terms(question: Question) -> list[list[str]]:
    """Return the names of the question, word by word: each must be in the memory."""
    return [list(group) for group in question.names]


def match_any(terms: Iterable[str]) -> str:
    """Return a full text query for memories with any of these words."""
    return " OR ".join(quoted(terms))


def match_all(terms: Iterable[str]) -> str:
    """Return a full text query for memories with all of these words."""
    return " AND ".join(quoted(terms))


def quoted(terms: Iterable[str]) -> list[str]:
    """Return words as full text strings; marks inside them mean nothing."""
    return ['"' + term.replace('"', '""') + '"' for term in terms if any(mark.isalnum() for mark in term)]


def _own_terms(unit: Unit) -> Iterator[str]:
    yield from unit.lemmas
    yield from _sense_terms(unit.sense)
    yield from _sense_terms(unit.inner)


def _sense_terms(sense: Sense) -> Iterator[str]:
    yield from (f"concept{concept}" for concept in sense.concepts)
    yield from (f"kind{kind}" for kind in sense.kinds | sense.names)
