"""What the memory knows of words: forms, phrases, kinds."""

from __future__ import annotations

import pytest
from agents_pc2.memory.lexicon import lexicon
from agents_pc2.memory.tokens import tokenise


def phrases(text: str) -> list[tuple[str, frozenset[str]]]:
    tokens = tokenise(text)
    for token in tokens:
        token.lemmas = lexicon().lemmas(token.lower)
    return [
        (" ".join(tokens[place].lower for place in match.positions), match.sense.concepts)
        for match in lexicon().matches(tokens)
        if match.sense.concepts
    ]


@pytest.mark.parametrize(
    ("word", "base"),
    [("lives", "live"), ("bought", "buy"), ("studies", "study"), ("running", "run"), ("colours", "colour")],
)
def test_forms_lead_to_their_base(word: str, base: str) -> None:
    assert base in lexicon().lemmas(word)


def test_a_listed_noun_is_not_taken_apart() -> None:
    assert "draw" not in lexicon().lemmas("drawer")
    assert "bee" not in lexicon().lemmas("being")


def test_the_longest_phrase_wins_and_articles_do_not_matter() -> None:
    assert phrases("what does she do for a living")[0][0] == "for living"
    assert ("date of birth", lexicon().senses({"birthday"}).concepts & {"birth", "birthday"}) in phrases(
        "her date of birth"
    )


def test_a_phrase_may_enclose_others() -> None:
    found = dict(phrases("which town does Anna call home"))
    assert "residence" in found["call home"]


def test_every_line_names_concepts_and_kinds_that_exist() -> None:
    words = lexicon()
    known = {concept for sense in words.every_sense() for concept in sense.concepts}
    kinds = {kind for sense in words.every_sense() for kind in sense.names | sense.kinds}
    used = {concept for narrow in words.broader.values() for concept in narrow} | words.broader.keys()
    used |= words.answers.keys() | words.wants.keys() | words.generic | words.groups["many"] | words.groups["negative"]
    assert used - known - kinds == set()
    assert {*words.answers.values(), *words.wants.values()} - kinds == set()
