"""Send nothing before the moment a callee has named, and then no more at a time than it turns out to take.

To refuse a call costs the callee some per cent of what a short call costs, so twenty times the load could take all it
has. Whoever calls on regardless is therefore held back where he is: his own host answers him at once. When the pause
is over, as many calls may be outstanding as a window allows, which begins at one, grows with each good answer and is
halved by each refusal (congestion avoidance as in TCP, RFC 5681). Not by chance, as in the adaptive throttling of
Google's SRE book (chapter 21), which needs minutes of history to know when to stop: here the callee says when.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from mesh.clock import Clock
from mesh.errors import MeshError, Overloaded, RateLimited, through
from mesh.message import Request
from mesh.metrics import Sample, counter

MOST_PAUSES = 4096
MOST_AT_ONCE = 2048
FULL_AFTER = 0.02
FORGOTTEN = 1.0

PAUSED = counter("mesh_paused_total", "Calls that were not sent: their callee had said when to come again.", "service")


class Placed(Protocol):
    """A row of the directory, as far as it says which instance it is."""

    @property
    def host(self) -> str:
        """The host of the instance."""

    @property
    def number(self) -> int:
        """Which of the host's instances it is."""


Key = tuple[str, str, str, int]


class Pause:
    """What one caller may send to one operation of one instance that has refused a call of his."""

    __slots__ = ("_threshold", "_window", "kind", "outstanding", "until", "used")

    def __init__(self, kind: type[MeshError]) -> None:
        self.kind = kind
        self.until = 0.0
        self.used = 0.0
        self.outstanding = 0
        self._window = 1.0
        self._threshold = float(MOST_AT_ONCE)

    def refused(self, now: float, until: float) -> None:
        """Take note of a refusal; those of calls that left before the last one are the same news again."""
        self.used = now
        if now < self.until:
            return
        first, self.until = not self.until, until
        self._threshold = MOST_AT_ONCE if first else max(1.0, self._window / 2)
        self._window = 1.0 if first else self._threshold

    def answered(self, now: float) -> None:
        """Take note of an answer that was no refusal: there may be more at a time."""
        self.used = now
        self._window += 1.0 if self._window < self._threshold else 1.0 / self._window

    def left(self, now: float) -> float:
        """Return 0 if a call may be sent now, else for how many seconds it should not."""
        if now < self.until:
            return self.until - now
        if self.kind is Overloaded and self.outstanding >= self._window:
            return FULL_AFTER
        self.used = now
        return 0.0

    def over(self, now: float) -> bool:
        """Tell whether it holds nobody back any more: nothing was sent for a second, or as much as anybody sends."""
        idle = not self.outstanding and now - max(self.used, self.until) >= FORGOTTEN
        return idle or self._window > MOST_AT_ONCE


class Pauses:
    """The pauses of this host, by caller, operation and instance."""

    def __init__(self) -> None:
        self.refused: dict[str, int] = {}
        self._of: dict[Key, Pause] = {}

    def __len__(self) -> int:
        return len(self._of)

    def __bool__(self) -> bool:
        return bool(self._of)

    def note(self, key: Key, error: Overloaded | RateLimited, now: float, most_s: float) -> None:
        """Take note of an answer that says when to come again; after `most_s` seconds that may be in any case."""
        seconds = error.details.get("retry_after")
        if not isinstance(seconds, (int, float)) or not seconds > 0:
            return
        found = self._of.get(key)
        if found is None:
            if len(self._of) >= MOST_PAUSES:
                self._of = {one: pause for one, pause in self._of.items() if not pause.over(now)}
            if len(self._of) >= MOST_PAUSES:
                return
            found = self._of[key] = Pause(type(error))
        found.kind = type(error)
        found.refused(now, now + min(float(seconds), most_s))

    def of(self, key: Key, now: float) -> Pause | None:
        """Return the pause that holds for a call, None if there is none."""
        found = self._of.get(key)
        if found is not None and found.over(now):
            del self._of[key]
            return None
        return found

    def row(self, service: str) -> dict[str, int]:
        """Return what those of a service do now, for `mesh describe`."""
        return {"held": sum(1 for _, target, *_ in self._of if target.startswith(f"{service}.")),
                "refused": self.refused.get(service, 0)}

    def samples(self) -> Iterator[Sample]:
        """Yield how many calls were held back, by called service."""
        for service, count in self.refused.items():
            yield PAUSED.sample(count, service)


class Hold:
    """What one operation's calls have to do with the pauses of their host; none is longer than `most_s`."""

    def __init__(self, pauses: Pauses, most_s: float, clock: Clock) -> None:
        self.pauses = pauses
        self._most_s = most_s
        self._clock = clock

    def of(self, request: Request, row: Placed, now: float) -> Pause | MeshError | None:
        """Return the pause that a call is to be counted in while it runs, the error of one that has to wait."""
        found = self.pauses.of(_key(request, row), now)
        if found is None:
            return None
        left = found.left(now)
        return self._held(request, row, left, found.kind) if left else found

    def avoids(self, request: Request, row: Placed) -> bool:
        """Tell whether an instance has just asked the caller for patience, so that others are called."""
        if not self.pauses:
            return False
        now = self._clock.monotonic()
        found = self.pauses.of(_key(request, row), now)
        return found is not None and found.left(now) > 0

    def ended(self, request: Request, row: Placed, pause: Pause | None, error: MeshError | None) -> None:
        """Take note of what a call came to that was sent."""
        if isinstance(error, (Overloaded, RateLimited)) and through(error) is None:
            self.pauses.note(_key(request, row), error, self._clock.monotonic(), self._most_s)
        elif pause is not None:
            pause.answered(self._clock.monotonic())

    def _held(self, request: Request, row: Placed, left: float, kind: type[MeshError]) -> MeshError:
        service, refused = request.service, self.pauses.refused
        refused[service] = refused.get(service, 0) + 1
        return kind(f"{request.target} was not called: {service} on {row.host} takes no more calls of "
                    f"{request.caller} for {left:.3g} s, as it has said", retry_after=left)


def _key(request: Request, row: Placed) -> Key:
    return request.caller, request.target, row.host, row.number
