"""Whether those who look dead may be believed to be, or the one who looks is to be doubted first.

If many look dead at the same time, or just after the watcher itself stood still, then it is the watcher, the machine
or what they share that is not well; to restart them all would help nobody. Only decides: who looks is told whether to
look once more, and does that.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from mesh.clock import Clock

SAME = 2.5
FEW = 3
LONG = 2.0
RECENT = 2.0
QUESTION = 3
MORE_LOOKS = 11

Stood = tuple[float, float]
"""Until when something stood still, and for how many seconds."""


class Sight(Enum):
    """What a look at one who is silent means: not yet, now, is it believed, yes."""

    WAITS = auto()
    LOOKS_DEAD = auto()
    IN_QUESTION = auto()
    DEAD = auto()


class Doubt:
    """What was seen lately. Times are monotonic seconds.

    Many are three or more, if they are over half of those who are watched. The watcher stood still if its loop did not
    turn for over two seconds, until less than two seconds ago.
    """

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}

    def looks_dead(self, who: str, now: float) -> None:
        """Note that somebody gave no answer in time."""
        self._seen = {one: at for one, at in self._seen.items() if now - at <= SAME}
        self._seen[who] = now

    def reason(self, now: float, watched: int, stood: Stood) -> str | None:
        """Say why what looks dead at `now` should be looked at once more, None if it may be believed."""
        until, seconds = stood
        if seconds > LONG and now - until <= RECENT:
            return f"this host itself stood still for {seconds:.1f} s"
        many = sum(now - at <= SAME for at in self._seen.values())
        if many >= FEW and 2 * many > watched:
            return f"{many} of {watched} look dead at the same time"
        return None


class Silence:
    """How long one who is watched has not answered, counted in looks, not in seconds of a clock.

    A look counts as two at most, however late it comes: a watcher that was stopped has not watched. Who is silent for
    `limit` seconds looks dead; that is believed two looks later, or eight more if there is doubt.
    """

    def __init__(self, limit: float, look: float, now: float) -> None:
        self._limit = limit
        self._look = look
        self._last = now
        self._silent = 0.0
        self._over = 0

    def look(self, now: float) -> Sight:
        """Take a look at which it has not answered, and say what that means."""
        self._silent += min(now - self._last, 2 * self._look)
        self._last = now
        if self._silent < self._limit:
            return Sight.WAITS
        self._over += 1
        if self._over == 1:
            return Sight.LOOKS_DEAD
        if self._over == QUESTION:
            return Sight.IN_QUESTION
        return Sight.DEAD if self._over > MORE_LOOKS else Sight.WAITS

    def answered(self, now: float) -> None:
        """Begin anew: it has answered."""
        self._last = now
        self._silent = 0.0
        self._over = 0


class Watcher:
    """A host as one who watches: its doubt, and its voice.

    `stood` tells until when and for how many seconds its loop last stood still; `tell` puts a text on the error bus.
    """

    def __init__(self, clock: Clock, stood: Callable[[], Stood], tell: Callable[[str], object]) -> None:
        self._doubt = Doubt()
        self._clock = clock
        self._stood = stood
        self._tell = tell

    def looks_dead(self, who: str) -> None:
        """Note that somebody gave no answer in time."""
        self._doubt.looks_dead(who, self._clock.monotonic())

    def doubts(self, watched: int) -> bool:
        """Tell whether to look once more at those who look dead before they are ended, and say so."""
        reason = self._doubt.reason(self._clock.monotonic(), watched, self._stood())
        if reason is not None:
            self._tell(f"{reason}: the watcher is doubted first and looks once more before it restarts anybody")
        return reason is not None
