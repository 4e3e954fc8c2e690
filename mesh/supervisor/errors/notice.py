"""What somebody should be told of now, and when: gathered, so that a storm is one notification with a count.

The first notice waits a little for its like; after a notification there is quiet for a while, and what comes meanwhile
is told together afterwards. Decides from the `now` it is given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mesh.errorbus import ErrorRecord, Severity

GATHER_S = 2.0
QUIET_S = 60.0
URGENT_QUIET_S = 5.0
AGAIN_S = 30.0
LISTED = 20
NEVER = float("inf")

Occasion = Literal["error", "quarantine", "host_dead"]

_WORDS: dict[str, tuple[str, str]] = {
    "error": ("new error", "new errors"), "quarantine": ("agent in quarantine", "agents in quarantine"),
    "host_dead": ("host dead", "hosts dead"),
}


@dataclass(frozen=True, slots=True)
class Notice:
    """An error that somebody should know of, and why: it is new, an agent's restarts are used up, a host is gone."""

    occasion: Occasion
    record: ErrorRecord
    decision: str | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        record = self.record
        return {"occasion": self.occasion, "severity": record.severity.value, "service": record.service,
                "host": record.host, "operation": record.operation, "type": record.type, "message": record.message,
                "id": record.id, "fingerprint": record.fingerprint, "trace_id": record.trace_id, "time": record.time,
                "decision": self.decision}


def is_news(occasion: Occasion, record: ErrorRecord, wanted: Sequence[Occasion]) -> bool:
    """Tell whether somebody is to be told: nothing that is muted; of errors only bad ones that open their group."""
    if occasion not in wanted or record.muted:
        return False
    return occasion != "error" or (record.opens and record.severity.rank >= Severity.ERROR.rank)


@dataclass(slots=True)
class Batch:
    """What is told at once: the first 20 notices and how many there were of each occasion."""

    notices: list[Notice] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, notice: Notice) -> None:
        """Take one more; what is rarer than an error is never left out for one."""
        self.counts[notice.occasion] += 1
        if len(self.notices) >= LISTED:
            last = next((at for at in range(LISTED - 1, -1, -1) if self.notices[at].occasion == "error"), None)
            if notice.occasion == "error" or last is None:
                return
            del self.notices[last]
        self.notices.append(notice)

    def merge(self, later: Batch) -> None:
        """Take what came after this one."""
        known = self.counts + later.counts
        for notice in later.notices:
            self.add(notice)
        self.counts = known

    @property
    def count(self) -> int:
        """How many there were."""
        return self.counts.total()

    def document(self, mesh: str, host: str, environment: str, now: float) -> dict[str, Any]:
        """Return what is sent: `text` for people, the rest for programs."""
        return {"mesh": mesh, "host": host, "environment": environment, "time": now, "text": self._text(mesh, host),
                "count": self.count, "counts": dict(self.counts), "left_out": self.count - len(self.notices),
                "notices": [notice.plain() for notice in self.notices]}

    def _text(self, mesh: str, host: str) -> str:
        parts = [f"{count} {_WORDS[occasion][count > 1]}" for occasion, count in sorted(self.counts.items())]
        first = min(self.notices, key=lambda notice: notice.occasion == "error")
        record = first.record
        return (f"{mesh}: {', '.join(parts)}, told by {host}. {record.service} on {record.host}: {record.type}: "
                f"{record.message[:300]} (mesh errors show {record.id})")


class Gathering:
    """What waits to be told over one way; of an agent in quarantine and a dead host the quiet is only 5 s."""

    def __init__(self, *, gather_s: float = GATHER_S, quiet_s: float = QUIET_S, again_s: float = AGAIN_S) -> None:
        self._gather_s = gather_s
        self._quiet_s = quiet_s
        self._again_s = again_s
        self._batch: Batch | None = None
        self._due = NEVER
        self._told_at = -NEVER

    def add(self, notice: Notice, now: float) -> None:
        """Take a notice."""
        if self._batch is None:
            self._batch, self._due = Batch(), NEVER
        self._batch.add(notice)
        self._due = min(self._due, self._moment(notice, now))

    def _moment(self, notice: Notice, now: float) -> float:
        quiet = self._quiet_s if notice.occasion == "error" else min(URGENT_QUIET_S, self._quiet_s)
        return max(now + self._gather_s, self._told_at + quiet)

    def wait(self, now: float) -> float | None:
        """Return the seconds until something is due, None if nothing waits."""
        return None if self._batch is None else max(0.0, self._due - now)

    def take(self, now: float) -> Batch | None:
        """Return what is due; it has to be `told` or `refused` before anything else is due."""
        if self._batch is None or now < self._due:
            return None
        batch, self._batch = self._batch, None
        return batch

    def told(self, now: float) -> None:
        """Note that what was taken has reached whom it was for."""
        self._told_at = now
        if self._batch is not None:
            self._due = min(self._moment(notice, now) for notice in self._batch.notices)

    def refused(self, batch: Batch, now: float) -> None:
        """Put back what could not be told; it is due again in a while, with what came meanwhile."""
        if self._batch is not None:
            batch.merge(self._batch)
        self._batch, self._due = batch, now + self._again_s

    def hurry(self) -> None:
        """Make what waits due at once."""
        self._due = -NEVER
