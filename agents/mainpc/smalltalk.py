"""The built-in talker: pattern, turned-round words, reply; it knows nothing and does not pretend to.

One talker serves all users; which of a rule's replies comes next depends on how often that user had one of it.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict

from agents_shared.smalltalk import SmallTalkBook

_USERS = 1000


class SmallTalk:
    """The compiled rules of a `SmallTalkBook` and how often each user heard each of them."""

    def __init__(self, book: SmallTalkBook) -> None:
        self._rules = [(re.compile(rule.pattern, re.IGNORECASE), rule.replies) for rule in book.rules]
        self._rules.append((re.compile(""), book.otherwise))
        self._turned = {word.lower(): other for word, other in book.reflections.items()}
        self._heard: OrderedDict[str, Counter[int]] = OrderedDict()

    def reply(self, text: str, user: str) -> str:
        """Return an answer to `text`; the same sentence is answered in turn by each reply that fits it."""
        sentence = " ".join(text.replace("\u2019", "'").split())
        for number, (pattern, replies) in enumerate(self._rules):
            found = pattern.search(sentence)
            if found is not None:
                chosen = replies[self._next(user, number) % len(replies)]
                return chosen.format(*(self._turn(group or "") for group in found.groups()))
        raise AssertionError("the last rule fits every sentence")

    def forget(self, user: str) -> None:
        """Begin anew with `user`."""
        self._heard.pop(user, None)

    def _next(self, user: str, rule: int) -> int:
        heard = self._heard.setdefault(user, Counter())
        self._heard.move_to_end(user)
        if len(self._heard) > _USERS:
            self._heard.popitem(last=False)
        heard[rule] += 1
        return heard[rule] - 1

    def _turn(self, words: str) -> str:
        """Return `words` as the other side would say them, without what closes the sentence."""
        bare = words.strip(" .!?,;")
        return " ".join(self._turned.get(word.lower(), word) for word in bare.split())
