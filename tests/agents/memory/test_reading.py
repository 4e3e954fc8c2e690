"""What is read in a sentence: names, phrases, who owns what, where things are."""

from __future__ import annotations

import pytest
from agents_pc2.memory.reading import read
from agents_pc2.memory.units import SELF


def owners(text: str) -> list[tuple[str, list[str]]]:
    reading = read(text)
    return [
        (
            SELF if isinstance(each.owner, str) else reading.units[each.owner].text,
            [reading.units[i].text for i in each.owned],
        )
        for each in reading.possessions
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my sister's birthday is on June 3", [(SELF, ["sister"]), ("sister", ["birthday"])]),
        ("my sister lives in Farnham", [(SELF, ["sister"])]),
        ("my grandmother currently lives in Farnham", [(SELF, ["grandmother"])]),
        ("the colour of the Xorn boat is teal", [("boat", ["colour"])]),
        ("Anna is afraid of deep water", []),
        ("a friend of mine", [(SELF, ["friend"])]),
        ("the name of my sister's dog", [("dog", ["name"]), (SELF, ["sister"]), ("sister", ["dog"])]),
    ],
)
def test_finds_who_owns_what(text: str, expected: list[tuple[str, list[str]]]) -> None:
    assert owners(text) == expected


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Mirel Quonn lives in Farnham", [("mirel", "quonn"), ("farnham",)]),
        ("Telephones ring on Monday in June", []),
        ("I saw Ludwig van Brastov, Anna and Tom", [("ludwig", "brastov"), ("anna",), ("tom",)]),
        ("WHEN IS THE BIRTHDAY OF MY SISTER", []),
        ("the PIN of the safe", []),
    ],
)
def test_tells_names_by_their_capitals(text: str, names: list[tuple[str, ...]]) -> None:
    assert read(text).name_words() == names


@pytest.mark.parametrize(
    ("text", "word", "placed"),
    [
        ("the lamp is in the old attic", "attic", True),
        ("she comes from Farnham", "Farnham", False),
        ("she lives in Farnham", "Farnham", True),
        ("he wants to borrow a tent", "borrow", False),
        ("it was made in 1930", "1930", False),
        ("she has a degree in law", "law", False),
    ],
)
def test_tells_places(text: str, word: str, placed: bool) -> None:
    reading = read(text)
    index = next(index for index, unit in enumerate(reading.units) if unit.text == word)
    assert reading.placed(index) is placed


def test_part_of_a_compound_is_no_value() -> None:
    reading = read("he borrowed the Xorn violin case")
    index = next(index for index, unit in enumerate(reading.units) if unit.text == "violin")
    assert not reading.valued(index)
