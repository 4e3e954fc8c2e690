"""What the assistant could bring up by itself when a user has been quiet: the questions it had no answer to.

Takes the time as an argument and keeps what it knows in memory, for the users heard last.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

_USERS = 1000
_QUESTIONS = 5


@dataclass(slots=True)
class _User:
    heard: float = 0.0
    unanswered: deque[str] = field(default_factory=lambda: deque(maxlen=_QUESTIONS))
    waiting: str | None = None


class Suggestions:
    """At most one waiting hint per user, about one question each."""

    def __init__(self, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        self._users: OrderedDict[str, _User] = OrderedDict()

    def heard(self, user: str, question: str, *, known: bool, now: float) -> None:
        """Note that `user` said something, and whether it was a question that could not be answered."""
        state = self._users.setdefault(user, _User())
        self._users.move_to_end(user)
        if len(self._users) > _USERS:
            self._users.popitem(last=False)
        state.heard = now
        if question in state.unanswered:
            state.unanswered.remove(question)
        if not known:
            state.unanswered.append(question)

    def sweep(self, now: float) -> None:
        """Make a hint for each user who has been quiet long enough and left a question open."""
        for state in self._users.values():
            if state.waiting is None and state.unanswered and now - state.heard >= self._quiet_s:
                question = state.unanswered.popleft()
                state.waiting = f'You asked "{question}" and I did not know. If you tell me, I will remember it.'

    def take(self, user: str) -> str | None:
        """Return the hint that waits for `user`, if there is one; it is gone then."""
        state = self._users.get(user)
        if state is None:
            return None
        hint, state.waiting = state.waiting, None
        return hint
