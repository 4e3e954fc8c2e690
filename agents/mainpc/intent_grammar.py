"""Word patterns that tell what a sentence wants, and how sentences are trimmed before they are compared.

Knows nothing of classifiers or of the mesh: text goes in, a match comes out. Patterns work on the text as it was
written (case is ignored), so what they cut out of it keeps its capitals.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from agents_shared.intents import IntentBook, PatternRule

_QUOTES = str.maketrans({
    "\u2019": "'", "\u2018": "'", "`": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2026": ".",
})
_CLOSING = re.compile(r"(?:[\s.!?,;:]+|,?\s+(?:please|pls|po|thanks|thank you|naman))+$", re.IGNORECASE)
_QUESTION = (
    r"(?:(?:in|on|at|to|from|for|with|by|of|since|until|sa) )?(?:%wh%)(?:'s|'re|'ll|'d)?\b|(?:%aux%)\b"
    r"|.*\b(?:ba|nga ulit)\b"
)
_LEADS = 4  # polite words pile up ("hey assistant, could you please ..."), but not for ever


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text made ready: `text` tidied, `core` what is left without polite words, `question` whether it asks.

    `query` is the question in full, also when words such as "tell me" left only what is asked for.
    """

    text: str
    core: str
    question: bool
    query: str


@dataclass(frozen=True, slots=True)
class Match:
    """The pattern that fits: its intent, the entities it cut out, and the share of the text it explains."""

    intent: str
    coverage: float
    entities: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Rule:
    intent: str
    statement: bool
    pattern: re.Pattern[str]
    added: dict[str, str]


def tidy(text: str) -> str:
    """Return `text` with plain quotes and dashes and single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(_QUOTES).split())


class IntentGrammar:
    """The compiled patterns of an `IntentBook`."""

    def __init__(self, book: IntentBook) -> None:
        self.intents = tuple(dict.fromkeys(rules.intent for rules in book.intents))
        self._terms = {name: f"(?:{term})" for name, term in book.terms.items()}
        self._polite = [self._compiled(pattern) for pattern in book.polite]
        self._asking = [self._compiled(pattern) for pattern in book.asking]
        self._question = self._compiled(_QUESTION)
        self._rules: list[_Rule] = []
        for rules in book.intents:
            for entry in rules.patterns:
                rule = entry if isinstance(entry, PatternRule) else PatternRule(match=entry)
                self._rules.append(_Rule(rules.intent, rules.statement, self._compiled(rule.match), rule.set))

    def read(self, text: str) -> Sentence:
        """Return `text` tidied and trimmed."""
        whole = tidy(text)
        core = _CLOSING.sub("", whole) or whole
        asking = False
        for _ in range(_LEADS):
            shorter = _without(core, self._polite)
            without_asking = _without(shorter, self._asking)
            asking = asking or without_asking != shorter
            if without_asking == core:
                break
            core = without_asking
        begins = self._question.match(core) is not None
        question = asking or begins or whole.rstrip(" .!\"'").endswith("?")
        return Sentence(whole, core, question, f"what is {core}" if asking and not begins else core)

    def match(self, sentence: Sentence) -> Match | None:
        """Return what the first fitting pattern says of `sentence`; None if none fits."""
        for rule in self._rules:
            found = None if rule.statement and sentence.question else rule.pattern.fullmatch(sentence.core)
            if found is not None:
                groups = {name: (value or "").strip(" ,") for name, value in found.groupdict().items()}
                cut = {name: value for name, value in groups.items() if value and not name.startswith("_")}
                added = {name: value.format_map(groups) for name, value in rule.added.items()}
                return Match(rule.intent, len(sentence.core) / max(1, len(sentence.text)), {**added, **cut})
        return None

    def _compiled(self, pattern: str) -> re.Pattern[str]:
        for name, term in self._terms.items():
            pattern = pattern.replace(f"%{name}%", term)
        return re.compile(pattern, re.IGNORECASE)


def _without(text: str, leads: list[re.Pattern[str]]) -> str:
    """Return `text` without the leading words that one of `leads` matches, unless nothing would be left."""
    for lead in leads:
        found = lead.match(text)
        if found is not None and found.end() and text[found.end():].strip():
            return text[found.end():].strip()
    return text
