"""Does the memory hold a value of the kind the question wants, one the question did not bring along itself?"""

from __future__ import annotations

from agents_pc2.memory.likeness import SURE, Alignment
from agents_pc2.memory.units import Unit

FITS = 0.8
MAY_FIT = 0.45
OF_THINGS = frozenset({"colour", "material"})
"""Kinds that stand as adjectives before things."""
COUNTED = frozenset({"number", "time", "frequency", "unit"})


def fit(pair: Alignment) -> float:
    """Return how well the values of the memory fit what the question wants, 0 to 1."""
    if pair.question.open_ended:
        return 1.0
    if not pair.question.wanted:
        return 1.0 if pair.news else 0.5
    if pair.news and _names_kind(pair):
        return 1.0
    best = max(of_kind(pair, kind) for kind in pair.question.wanted)
    return 1.0 if best >= FITS else 0.75 if best >= MAY_FIT else 0.3


def of_kind(pair: Alignment, kind: str) -> float:
    """Return how sure it is that the memory has a value of this kind."""
    values = pair.news
    if any(kind in unit.sense.kinds and _is_value(pair, index, unit, kind) for index, unit in values):
        return 0.9
    if kind == "place":
        return _place(pair)
    if kind in COUNTED:
        return 0.95 if any(unit.number or (kind == "number" and unit.has_digit) for _, unit in values) else 0.0
    if kind in ("date", "year"):
        times = any(unit.is_year or (kind == "date" and unit.is_time) for _, unit in values)
        return 0.95 if times else 0.0
    if kind == "person" and pair.memory.mentions_self and not pair.question.reading.mentions_self:
        return FITS
    if kind in pair.words.groups["open_kinds"] and any(unit.name for _, unit in values):
        return 0.9
    return MAY_FIT if any(_is_strange(unit) for _, unit in values) else 0.0


def has_name(pair: Alignment) -> bool:
    """Say whether the memory brings a name that is no town."""
    return any(unit.name and not pair.memory.placed(index, "towns") for index, unit in pair.news)


def _place(pair: Alignment) -> float:
    if any(pair.memory.placed(index) and not unit.is_time for index, unit in pair.news):
        return 0.95
    if not any(unit.name for _, unit in pair.news):
        return 0.0
    placing = pair.words.groups["placing"]
    told = any("place" in unit.sense.names or unit.sense.concepts & placing for unit in pair.memory.units)
    return FITS if told else 0.0


def _is_value(pair: Alignment, index: int, unit: Unit, kind: str) -> bool:
    if unit.name:
        return kind in pair.words.groups["capital_kinds"]
    if kind in OF_THINGS and pair.memory.placed(index, among=OF_THINGS):
        return False  # "in the blue cupboard" tells the colour of the cupboard
    titled = kind == "job" and any(
        other.name and other.start == unit.end for other in pair.memory.units
    )  # "doctor Bell"
    return not titled and pair.memory.valued(index)


def _is_strange(unit: Unit) -> bool:
    """Say whether it is a word nobody knows, which may be of any kind."""
    return not (unit.sense.kinds or unit.number or unit.name or unit.known)


def _names_kind(pair: Alignment) -> bool:
    """Say whether the memory itself names the kind of its value: "her favourite colour is zelphic"."""
    vague = pair.words.groups["vague_kinds"]
    for asked, row in zip(pair.question.units, pair.rows, strict=True):
        if asked not in pair.question.focus or asked.sense.names <= vague:
            continue
        told = (pair.memory.units[index] for index, value in enumerate(row) if value >= SURE)
        if any((other.sense.names | other.sense.kinds) & asked.sense.names for other in told):
            return True
    return False
