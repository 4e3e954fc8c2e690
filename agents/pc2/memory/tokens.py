"""Text to tokens: words, numbers and possessive marks, with contractions written out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

POSSESSIVE = "'s"
MAY = "May-month"
"""The month, told from the verb."""
_WORD = re.compile(r"[^\W_]+(?:[.:,/'@_&-][^\W_]+)*(?:(?<=s)'(?=\s))?|[$€£¥₱]|[.!?;](?=\s|$)|[,()]|:(?=\s|$)")
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u02bc": "'", "\u00b4": "'", "`": "'"})
_SENTENCE_END = frozenset(".!?;")
_BREAKS = frozenset(",():")
_IS_AFTER = frozenset({
    "what", "who", "where", "when", "why", "how", "that", "it", "he", "she", "there", "here", "which", "let", "this",
    "whatever", "i", "you", "we", "they", "everything",
})  # fmt: skip
"""After these "'s" is "is"."""
_NOT_POSSESSED = frozenset({
    "a", "an", "the", "not", "in", "on", "at", "from", "to", "of", "with", "by", "for", "my", "your", "his", "her",
    "their", "our", "so", "very", "always", "never", "now", "also", "only", "been", "being", "called", "named", "born",
    "married", "allergic", "afraid", "scared", "going", "gonna", "about", "near", "due", "it", "that", "is", "and",
    "or",
})  # fmt: skip
"""Before these, too."""
_ORDINAL = re.compile(r"^(\d+)(?:st|nd|rd|th)$")
_NUMBER = re.compile(r"^\d[\d.,:/-]*$")
_SPLIT: dict[str, tuple[str, ...]] = {
    "cannot": ("can", "not"), "can't": ("can", "not"), "won't": ("will", "not"), "shan't": ("shall", "not"),
    "i'm": ("i", "am"), "gonna": ("going", "to"), "wanna": ("want", "to"), "let's": ("let", "us"),
    "dont": ("do", "not"), "doesnt": ("does", "not"), "cant": ("can", "not"), "whats": ("what", "is"),
    "wheres": ("where", "is"), "whos": ("who", "is"), "whens": ("when", "is"), "gotta": ("got", "to"),
    "ain't": ("is", "not"),
}  # fmt: skip
_ENDINGS = (("n't", "not"), ("'re", "are"), ("'ve", "have"), ("'ll", "will"), ("'d", "would"), ("'m", "am"))
_NUMBERS = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen twenty"
)
_ORDINALS = (
    "fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth "
    "seventeenth eighteenth nineteenth twentieth"
)
NUMBER_WORDS = {
    **{word: str(number) for number, word in enumerate(_NUMBERS.split(), start=2)},
    **{word: str(number) for number, word in enumerate(_ORDINALS.split(), start=4)},
}


@dataclass(slots=True)
class Token:
    """A word, number or mark as written; `lower` is its comparable form, `lemmas` are filled in from the lexicon."""

    text: str
    lower: str
    capital: bool = False
    first: bool = False
    number: bool = False
    after_break: bool = False
    lemmas: frozenset[str] = field(default_factory=frozenset)

    @property
    def possessive(self) -> bool:
        """Say whether this is the mark in "Anna's"."""
        return self.lower == POSSESSIVE


def tokenise(text: str) -> list[Token]:
    """Return the tokens of a text; "Anna's" is two, "can't" is "can" and "not", "3rd" is "3"."""
    tokens: list[Token] = []
    first, broken = True, False
    words = _WORD.findall(unicodedata.normalize("NFC", text).translate(_APOSTROPHES))
    for index, word in enumerate(words):
        if word in _SENTENCE_END or word in _BREAKS:
            first, broken = first or word in _SENTENCE_END, True
            continue
        following = words[index + 1].lower() if index + 1 < len(words) else ""
        if word.lower() == "may" and _is_month(word, words[index - 1] if index else "", following):
            word = MAY
        for part in _parts(word, following):
            lower = _plain(part.lower())
            number = bool(_NUMBER.match(lower))
            tokens.append(Token(part, lower, part[:1].isupper(), first, number, broken, frozenset({lower})))
            first = broken = False
    return tokens


def _parts(word: str, following: str) -> Iterator[str]:
    lower = word.lower()
    if lower in _SPLIT:
        start, *rest = _SPLIT[lower]
        yield start.capitalize() if word[0].isupper() else start
        yield from rest
        return
    for ending, full in _ENDINGS:
        if lower.endswith(ending) and len(word) > len(ending):
            yield word[: -len(ending)]
            yield full
            return
    if lower.endswith("s'"):
        yield word[:-1]
        yield POSSESSIVE
        return
    if lower.endswith("'s") and len(word) > 2:
        yield word[:-2]
        says_is = lower[:-2] in _IS_AFTER or following in _NOT_POSSESSED or following[:1].isdigit()
        yield "is" if says_is else POSSESSIVE
        return
    yield word


def _plain(lower: str) -> str:
    """Return a word without accents, an ordinal as its number."""
    ordinal = _ORDINAL.match(lower)
    if ordinal:
        return ordinal.group(1)
    if lower.isascii():
        return NUMBER_WORDS.get(lower, lower)
    return "".join(mark for mark in unicodedata.normalize("NFKD", lower) if not unicodedata.combining(mark))


def _is_month(word: str, before: str, following: str) -> bool:
    """Tell the month of "May 12", "12 May" and "in May" from the verb."""
    if following[:1].isdigit() or before[:1].isdigit():
        return True
    return word[0].isupper() and before.lower() in ("in", "of", "on", "until", "by", "since", "every", "last", "next")
