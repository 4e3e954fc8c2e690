"""What it is to hold the event loop, judged from readings of its thread: a value machine without a thread or a frame.

A callback holds the loop when it keeps it over a quarter of a second and spends that time in itself: it computes (the
thread's CPU time says so), it stands still in one place (three samples in a row that found it in the same frame), or
it keeps the interpreter to itself (nobody could take a sample, though there was a core to do it on). One that merely
waited for a core, or for the interpreter, is nobody's fault and is let go.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

LIMIT = 0.25
IDLE = 0.25
SAMPLE = 0.05
SAMPLES = 3
LATE = 0.3
ROLLED = 0.001
QUEUED = 0.2
OTHERS = 0.2
MOSTLY = 0.5
RIVAL = 0.25
KEPT = 16


class Kind(StrEnum):
    """How the loop was held."""

    COMPUTING = "computing"
    WAITING = "waiting"
    SEIZING = "seizing the interpreter"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the loop was held: whose code, in what operation, the innermost line of that agent's own files.

    `service` is `supervisor` for the mesh's own code. `inside` names the library function that line called, if any.
    """

    service: str
    operation: str | None
    function: str
    file: str
    line: int
    inside: str | None = None

    @property
    def key(self) -> str:
        """What makes it the same place: a function that works goes from line to line."""
        return f"{self.service}:{self.file}:{self.function}"

    def __str__(self) -> str:
        return f"{self.function}() at {self.file}:{self.line}" + (f" in {self.inside}" if self.inside else "")


@dataclass(frozen=True, slots=True)
class Reading:
    """The loop's thread at a moment of the monotonic clock; all in seconds.

    `cpu` it has used so far and `queued` it has waited for a core. Since the reading before, `others` is what the other
    threads of the process have used, and `missed` how long the sampler could not have the interpreter. `cpu` is None
    where the platform does not tell.
    """

    at: float
    cpu: float | None
    queued: float = 0.0
    others: float = 0.0
    missed: float = 0.0


@dataclass(frozen=True, slots=True)
class Stand:
    """What the thread was found in: `step` is equal for as long as one callback lasts, `began` when it did, if known.

    `spot` is equal for as long as the innermost frame stands at the same instruction.
    """

    place: Place
    step: object
    began: float | None
    spot: object


@dataclass(frozen=True, slots=True)
class Step:
    """A callback that took long and has ended; `place` where it begins, for one that nobody saw from within."""

    place: Place
    step: object
    began: float
    end: Reading


@dataclass(frozen=True, slots=True)
class Hold:
    """The loop was held: where, for how many seconds, how; `lasts` while it is held still."""

    place: Place
    seconds: float
    kind: Kind
    lasts: bool = False


@dataclass(slots=True)
class _Standing:
    """The callback that runs now, as far as it was seen."""

    stand: Stand
    began: float
    cpu: float | None
    queued: float
    same: int = 1
    still: bool = False
    missed: float = 0.0
    kind: Kind | None = None
    place: Place | None = None


class Holds:
    """Takes what is seen of one loop, in order, and tells of each hold: while it lasts, and how long it was."""

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque(maxlen=KEPT)
        self._now: _Standing | None = None

    def seen(self, reading: Reading, stand: Stand | None, rival: Place | None = None) -> list[Hold]:
        """Take a sample; `stand` is None for a loop that waits for something to do.

        `rival` is where the busiest other thread is, for a sample that could not be taken in time.
        """
        found = [] if rival is None else self._seized(reading, rival)
        if self._now is not None and (stand is None or stand.step != self._now.stand.step):
            found += self._gone()
        if stand is not None:
            found += self._stands(reading, stand)
        self._readings.append(reading)
        return found

    def ended(self, step: Step, reading: Reading) -> list[Hold]:
        """Take a callback that tells its own begin and end; `reading` is the first after it, yet to be seen."""
        now = self._now
        if now is None or now.stand.step != step.step:
            stand = Stand(step.place, step.step, step.began, None)
            now = self._standing(stand, step.began, step.end)
        else:
            self._now = None
        seconds = step.end.at - step.began
        now.missed += min(reading.missed, seconds)
        self._judge(now, step.end, rivals=reading.others)
        return [] if now.kind is None or now.place is None else [Hold(now.place, seconds, now.kind)]

    def _stands(self, reading: Reading, stand: Stand) -> list[Hold]:
        now = self._now
        if now is None:
            began = reading.at if stand.began is None else stand.began
            self._now = now = self._standing(stand, began, reading)
        else:
            now.same = now.same + 1 if self._stayed(now.stand, stand, reading) else 1
            now.still = now.still or now.same >= SAMPLES
            now.stand = stand
        now.missed += min(reading.missed, reading.at - now.began)
        self._judge(now, reading, rivals=reading.others)
        if now.kind is None or now.place is None:
            return []
        return [Hold(now.place, reading.at - now.began, now.kind, lasts=True)]

    def _standing(self, stand: Stand, began: float, reading: Reading) -> _Standing:
        queued = self._readings[-1].queued if self._readings else reading.queued
        return _Standing(stand, began, self._cpu_at(began, reading), queued)

    def _judge(self, now: _Standing, reading: Reading, *, rivals: float) -> None:
        """Say how the loop is held, if it is and that is not known yet."""
        seconds = reading.at - now.began
        if now.kind is not None or seconds <= LIMIT:
            return
        if now.missed > max(LIMIT, MOSTLY * seconds) > rivals and reading.queued - now.queued < QUEUED * seconds:
            now.kind = Kind.SEIZING
        elif (used := _used(now.cpu, reading)) > LIMIT:
            now.kind = Kind.COMPUTING
        elif now.still and used < MOSTLY * seconds:  # else it computes, and has only not had its time of a core yet
            now.kind = Kind.WAITING
        if now.kind is not None:
            now.place = now.stand.place

    def _gone(self) -> list[Hold]:
        """Close a callback that is no more; one that tells its end itself was closed by that."""
        now, self._now = self._now, None
        if now is None or now.kind is None or now.place is None or not self._readings:
            return []
        return [Hold(now.place, self._readings[-1].at - now.began, now.kind)]

    def others(self, computed: float, cpu: float | None) -> float:
        """Return what is left for other threads of what the process has computed since the last sample."""
        last = self._readings[-1].cpu if self._readings else None
        return computed if cpu is None or last is None else max(0.0, computed - (cpu - last))

    @property
    def pace(self) -> float:
        """Seconds until the next sample should be taken: soon while a callback runs, seldom while the loop waits."""
        return IDLE if self._now is None else SAMPLE

    def _seized(self, reading: Reading, rival: Place) -> list[Hold]:
        """Tell whether another thread kept the interpreter since the last sample, so that nothing else could run."""
        last = self._readings[-1] if self._readings else reading
        own = 0.0 if reading.cpu is None or last.cpu is None else reading.cpu - last.cpu
        if reading.others <= max(LIMIT, RIVAL * reading.missed) or own > reading.others:
            return []  # it may have waited for a core itself, but Python code gives way within 5 ms of computing
        return [Hold(rival, reading.missed, Kind.SEIZING)]

    def _stayed(self, before: Stand, after: Stand, reading: Reading) -> bool:
        """Tell whether the thread stood still between two samples, and that by its own doing."""
        last = self._readings[-1]
        gap = reading.at - last.at
        if gap > LATE:
            return False  # the sampler could not run, so perhaps the loop could not either
        if reading.cpu is None or last.cpu is None:
            return before.place.key == after.place.key
        alone = reading.cpu - last.cpu < ROLLED or reading.others < OTHERS * gap  # else it may have waited for the GIL
        return before.spot == after.spot and alone and reading.queued - last.queued < QUEUED * gap

    def _cpu_at(self, moment: float, after: Reading) -> float | None:
        """Return the CPU time used until `moment`, by the readings before and after it."""
        for before in reversed(self._readings):
            if before.at <= moment:
                if before.cpu is None or after.cpu is None:
                    return None
                span = after.at - before.at
                share = (moment - before.at) / span if span > 0 else 1.0
                return before.cpu + (after.cpu - before.cpu) * min(1.0, share)
            after = before
        return after.cpu


def _used(before: float | None, reading: Reading) -> float:
    return 0.0 if before is None or reading.cpu is None else reading.cpu - before
