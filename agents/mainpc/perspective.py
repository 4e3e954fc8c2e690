"""Turns what a user said into what is said back to that user: "my sister" becomes "your sister"."""

from __future__ import annotations

import re

_SWAPS = {
    "i": "you", "me": "you", "my": "your", "mine": "yours", "myself": "yourself", "we": "you", "us": "you",
    "our": "your", "ours": "yours", "ourselves": "yourselves", "i'm": "you're", "i've": "you've", "i'd": "you'd",
    "i'll": "you'll", "we're": "you're", "we've": "you've", "we'd": "you'd", "we'll": "you'll", "your": "my",
    "yours": "mine", "yourself": "myself",
}  # fmt: skip
_VERBS_AFTER_I = {"am": "are", "was": "were"}
_SUBJECTS = frozenset({"i", "i'm", "i've", "i'd", "i'll"})
_OPENERS = frozenset({
    "my", "our", "i", "we", "the", "a", "an", "there", "it", "this", "these", "those", "his", "her", "their", "your",
    "you", "it's", "in", "on", "at",
})  # fmt: skip
_CURLY = "\u2019"
_WORD = re.compile(f"[^\\W\\d_]+(?:['{_CURLY}][^\\W\\d_]+)*")
_LEAD = re.compile(r"^\s*that\s+(?=\w)", re.IGNORECASE)


def turned(text: str) -> str:
    """Return the text as said to the person who said it; names and everything quoted by nobody stay as they are."""
    before = ""

    def swap(match: re.Match[str]) -> str:
        nonlocal before
        word = match.group()
        plain = word.lower().replace(_CURLY, "'")
        new = _SWAPS.get(plain) or (_VERBS_AFTER_I.get(plain) if before in ("i", "we") else None)
        before = plain
        if new is None or (plain not in _SUBJECTS and word.isupper() and len(word) > 1):
            return word
        return new.capitalize() if word[0].isupper() and match.start() == 0 else new

    return _WORD.sub(swap, text)


def sentence(text: str) -> str:
    """Return the text as a sentence said to the person who said it: first letter large, a mark at the end."""
    said = turned(_LEAD.sub("", text.strip()))
    if not said:
        return ""
    return said[0].upper() + said[1:] + ("" if said[-1] in ".!?…" else ".")


def clause(text: str) -> str:
    """Return the text to stand behind a colon: it begins small, unless with a name, and has no mark at its end."""
    said = turned(_LEAD.sub("", text.strip())).rstrip(".! ")
    first = said.split(" ", 1)[0]
    return said[0].lower() + said[1:] if first.lower() in _OPENERS and said else said
