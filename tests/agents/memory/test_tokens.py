"""Words, numbers and possessive marks of a text."""

from __future__ import annotations

import pytest
from agents_pc2.memory.tokens import tokenise


def words(text: str) -> list[str]:
    return [token.lower for token in tokenise(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("My sister's birthday", ["my", "sister", "'s", "birthday"]),
        ("my parents' house", ["my", "parents", "'s", "house"]),
        ("What's Anna's address?", ["what", "is", "anna", "'s", "address"]),
        ("Anna's allergic to nuts", ["anna", "is", "allergic", "to", "nuts"]),
        ("She can\u2019t eat it", ["she", "can", "not", "eat", "it"]),
        ("I'm late, they'll wait", ["i", "am", "late", "they", "will", "wait"]),
        ("on the 3rd of June at 7:30", ["on", "the", "3", "of", "june", "at", "7:30"]),
        ("two of twelve", ["2", "of", "12"]),
        ("Émile in Málaga", ["emile", "in", "malaga"]),
        ("write to a.b@c.example!", ["write", "to", "a.b@c.example"]),
    ],
)
def test_splits_as_people_read(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_tells_the_month_from_the_verb() -> None:
    assert words("May 3") == ["may-month", "3"]
    assert words("he was born in May") == ["he", "was", "born", "in", "may-month"]
    assert words("you may go") == ["you", "may", "go"]


def test_knows_where_sentences_and_parts_begin() -> None:
    tokens = tokenise("Anna, my aunt, sings. She dances")
    assert [token.text for token in tokens if token.first] == ["Anna", "She"]
    assert [token.text for token in tokens if token.after_break] == ["my", "sings", "She"]


def test_nothing_is_no_words() -> None:
    assert words("  ?! ") == []
