"""Is the memory about the same subject as the question? Every name, thing and owner must agree."""

from __future__ import annotations

from collections.abc import Sequence

from agents_pc2.memory.likeness import ALIKE, Alignment
from agents_pc2.memory.units import SELF, Possession, Unit

OPPOSITE = 0.3
"""What is left when the memory says "younger" and the question "older"."""


def fit(pair: Alignment) -> float:
    """Return how well the subjects agree: 0 for somebody or something else, 1 for the same."""
    score = _names(pair)
    for part in (_anchors, _owners, _opposites, _asker, _role):
        if score:
            score *= part(pair)
    return score


def names_in_both(pair: Alignment) -> tuple[str, ...]:
    """Return the names of the memory that the question speaks of, in full: which Anna it is."""
    asked = {word for name in pair.question.names for word in name}
    return tuple(" ".join(name) for name in pair.memory.name_words() if asked & set(name))


def _names(pair: Alignment) -> float:
    """Every name of the question is in the memory; "Anna Bell" is not "Anna Cole", but may be just "Anna"."""
    lowers = [token.lower for token in pair.memory.tokens]
    score = 1.0
    for name in pair.question.names:
        score *= _find_name(name, lowers, pair.memory.name_words())
    return score


def _find_name(name: tuple[str, ...], lowers: Sequence[str], told: Sequence[tuple[str, ...]]) -> float:
    if any(tuple(lowers[start : start + len(name)]) == name for start in range(len(lowers))):
        return 1.0
    alone = any(len(other) == 1 and other[0] in (name[0], name[-1]) for other in told)
    return 0.8 if len(name) > 1 and alone else 0.0


def _anchors(pair: Alignment) -> float:
    """Things, numbers and unknown words of the question are what it is about: all must be there."""
    score = 1.0
    for index, unit in enumerate(pair.question.units):
        if unit not in pair.question.anchors:
            continue
        best = pair.best(index)
        if best < ALIKE and unit.is_time and not any(told.is_time for told in pair.memory.units):
            best = 0.9  # "last summer" tells nothing apart when the memory has no time
        if best < ALIKE:
            return 0.0
        score *= max(best, 0.9)
    return score


def _owners(pair: Alignment) -> float:
    """What is said of "Anna's boss" is not said of Anna, and "my boat" is not "Anna's boat"."""
    trouble = pair.words.grammar["trouble"]
    partly = pair.question.open_ended or any(unit.words[0] in trouble for unit in pair.question.units)
    if not partly:  # else what is said of a part of it is an answer
        for mine in pair.memory.possessions:
            if _asks_of(pair, mine.owner) and not _asks_for(pair, mine) and not _stands_alone(pair, mine.owner):
                return 0.0
    score = 1.0
    for asked in pair.question.possessions:
        score *= _same_owner(pair, asked)
    return score


def _asks_of(pair: Alignment, owner: int | str) -> bool:
    if isinstance(owner, str):
        return pair.question.about_self
    return any(index in pair.covered for index in pair.memory.whole(owner))


def _asks_for(pair: Alignment, mine: Possession) -> bool:
    """Say whether the question is about what is owned: its head, and whoever is named on the way to it."""
    people = [index for index in mine.owned[:-1] if pair.memory.units[index].is_person]
    head = mine.head
    if len(mine.owned) > 1 and pair.memory.units[head].words[-1] in pair.words.grammar["attributes"]:
        head = mine.owned[-2]  # "her flight number" tells of her flight
    return all(_speaks_of(pair, index, mine.owner) for index in (*people, head))


def _speaks_of(pair: Alignment, index: int, owner: int | str) -> bool:
    """Say whether the question has a word for what is owned, other than the owner's."""
    unit = pair.memory.units[index]
    if pair.question.wanted & unit.sense.names or unit.words == ("name",):
        return True
    below = [each.head for each in pair.memory.possessions if each.owner == index]
    apart = _apart_from_owners(pair) if unit.is_person else []
    for row in pair.rows:
        if row[index] < ALIKE or (isinstance(owner, int) and row[owner] >= row[index]):
            continue
        if any(row[place] >= ALIKE and not _has_word(pair, place, row) for place in below):
            continue  # "my friend's friend": the word tells the other of the two
        if all(row[place] < row[index] for place in apart):
            return True
    return False


def _apart_from_owners(pair: Alignment) -> list[int]:
    """Return the units that nobody owns and that are no mere values."""
    owned = {place for each in pair.memory.possessions for place in each.owned}
    return [
        place
        for place, unit in enumerate(pair.memory.units)
        if place not in owned and (unit.is_person or not unit.sense.kinds)
    ]


def _has_word(pair: Alignment, place: int, besides: list[float]) -> bool:
    return any(row is not besides and row[place] >= ALIKE for row in pair.rows)


def _stands_alone(pair: Alignment, owner: int | str) -> bool:
    """Say whether the memory also speaks of the owner as such, not only of what is theirs."""
    if isinstance(owner, str):
        return any(token.lower in pair.words.grammar["nominative"] for token in pair.memory.tokens)
    units, held = pair.memory.units, set[int]()
    for each in pair.memory.possessions:
        held.update(place for index in each.owned for place in units[index].positions)
        if isinstance(each.owner, int):
            held.update(units[each.owner].positions)
    text = units[owner].text.lower()
    return any(token.lower == text and place not in held for place, token in enumerate(pair.memory.tokens))


def _same_owner(pair: Alignment, asked: Possession) -> float:
    """Whose it is must agree where both say it."""
    heads = {index for index, value in enumerate(pair.rows[asked.head]) if value >= ALIKE}
    told = [each for each in pair.memory.possessions if heads & set(each.owned)]
    if told:
        return 1.0 if any(_is_same(pair, asked.owner, each) for each in told) else 0.0
    if asked.owner == SELF and not pair.memory.mentions_self:
        return 0.6 if heads and pair.memory.names else 0.9
    return 1.0


def _is_same(pair: Alignment, asked: int | str, told: Possession) -> bool:
    if isinstance(asked, str):
        return asked == told.owner
    owner = pair.memory.whole(told.owner) if isinstance(told.owner, int) else ()
    owners = (*told.owned, *owner)  # the ice cream of "ice cream flavour" owns it, too
    return any(pair.rows[asked][index] >= ALIKE for index in owners)


def _opposites(pair: Alignment) -> float:
    """ "My older sister" is not "my younger sister", and a book is no film."""
    news = [unit for _, unit in pair.news]
    for unit in pair.lacking:
        rivals = [other for other in news if other.sense.names & unit.sense.names]
        if unit.sense.concepts and any(other.sense.concepts for other in rivals):
            return OPPOSITE
    for line in pair.words.contrast:
        asked, told = _standing_alone(pair.lacking, line), _standing_alone(news, line)
        if asked and told and not asked & told:
            return OPPOSITE
    return 0.95 if _standing_alone(news, pair.words.grammar["modifiers"]) else 1.0


def _standing_alone(units: Sequence[Unit], line: frozenset[str]) -> frozenset[str]:
    """Return the words of a line that are units of their own."""
    found = set[str]()
    for unit in units:
        if len(unit.words) == 1:
            found |= {unit.words[0]} & line or unit.lemmas & line
    return frozenset(found)


def _asker(pair: Alignment) -> float:
    """A question about the asker needs a memory about the asker."""
    if not pair.question.about_self or pair.memory.mentions_self:
        return 1.0
    return 0.5 if pair.question.only_self or pair.memory.names else 0.85


def _role(pair: Alignment) -> float:
    """ "Mina lives next to Anna" does not tell where Anna lives."""
    if "person" in pair.question.wanted or not pair.question.names or not pair.question.leads:
        return 1.0
    grammar, units = pair.words.grammar, pair.memory.units
    for group in pair.memory.names:
        unit = units[group[0]]
        if unit.text.lower() not in pair.question.names[0] or unit.start == 0:
            continue
        before = pair.memory.tokens[unit.start - 1].lower
        others = any(other.name or other.words[0] in grammar["nominative"] for other in units[: group[0]])
        if before in grammar["object_after"] and others:
            return 0.5
    return 1.0
