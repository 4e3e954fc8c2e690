"""Moments named in a sentence: "tomorrow at nine", "in ten minutes", "bukas ng alas sais".

Spoken forms are first rewritten by the table `times` of intents.yaml into what dateparser reads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

_STARTERS = re.compile(
    r"(?:at|on|in|by|for|this|next|tomorrow|today|tonight|noon|midnight|half|\d.*|(?:mon|tues|wednes|thurs|fri|satur|sun)day"
    r"|(?:january|february|march|april|may|june|july|august|september|october|november|december)"
    r"|bukas|mamaya|mamayang|ngayong|sa|ng|nang|alas|ala)\b",
    re.IGNORECASE,
)
_MEANING = re.compile(
    r"\d|noon|midnight|morning|afternoon|evening|night|tomorrow|today|week|hour|minute|month|day\b|bukas|mamaya|alas|ala"
    r"|umaga|hapon|gabi|lunes|martes|miyerkules|huwebes|biyernes|sabado|linggo|\b(?:one|two|three|four|five|six|seven"
    r"|eight|nine|ten|eleven|twelve)\b",
    re.IGNORECASE,
)
_LONGEST = 8  # words
_HALF_DAY = timedelta(hours=12)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SpokenTime:
    """The words that name a moment, and the moment."""

    phrase: str
    moment: datetime


class SpokenTimes:
    """Finds moments by a table of (pattern, replacement), applied in order to a phrase in lower case."""

    def __init__(self, table: Sequence[tuple[str, str]]) -> None:
        self._table = [(re.compile(pattern), replacement) for pattern, replacement in table]

    def find(self, text: str, now: datetime) -> SpokenTime | None:
        """Return the longest phrase of `text` that names a moment after `now`; of two as long, the first.

        Raises `ImportError` when dateparser is not installed.
        """
        words = text.split()
        for length in range(min(_LONGEST, len(words)), 0, -1):
            for start in range(len(words) - length + 1):
                phrase = " ".join(words[start:start + length]).strip(" ,.;!?")
                if _STARTERS.match(phrase) and _MEANING.search(phrase):
                    moment = self._moment(phrase, now)
                    if moment is not None:
                        return SpokenTime(phrase, moment)
        return None

    def _moment(self, phrase: str, now: datetime) -> datetime | None:
        import dateparser  # half a second and 30 MB: only a sentence with a time in it is worth them

        plain = phrase.lower()
        for pattern, replacement in self._table:
            plain = pattern.sub(replacement, plain)
        naive = now.replace(tzinfo=None)
        found: datetime | None = dateparser.parse(
            plain.strip(), languages=["en"],
            settings={"PREFER_DATES_FROM": "future", "RELATIVE_BASE": naive, "RETURN_AS_TIMEZONE_AWARE": False},
        )
        if found is None:
            return None
        if found <= naive < found + _DAY:  # "today at five", said at noon, is this afternoon
            named_half = re.search(r"\b[ap]m\b", plain)
            found += _HALF_DAY if not named_half and found + _HALF_DAY > naive else _DAY
        return found.replace(tzinfo=now.tzinfo)
