"""Who has been told how much of the table, and when the next news is due; no clock and no socket in here.

Changes wait 50 ms for others to travel with; the death of a host does not wait. Whoever could not be told stays where
it is and is told everything it lacks the next time, from the log or as a snapshot.
"""

from __future__ import annotations

import msgpack

from registry.table import Table

BATCH = 0.05
"""Seconds a change may wait for company: a whole host that starts is one message, and nobody notices the delay."""


class Feed:
    """The subscribers of one table, each with the revision it has."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._has: dict[str, int] = {}
        self._due: float | None = None

    def subscribe(self, name: str, revision: int) -> None:
        """Tell `name` from now on what comes after `revision`."""
        self._has[name] = revision

    def unsubscribe(self, name: str) -> None:
        """Tell `name` nothing more."""
        self._has.pop(name, None)

    def changed(self, now: float, *, urgent: bool) -> None:
        """Note that the table changed."""
        due = now if urgent else now + BATCH
        self._due = due if self._due is None else min(self._due, due)

    def due(self) -> float | None:
        """Return the moment at which news should leave, None if there is none."""
        return self._due

    def news(self) -> list[tuple[str, int, bytes]]:
        """Return (subscriber, revision it will have, encoded news) for all who lack something, encoded once."""
        self._due = None
        revision = self._table.revision
        encoded: dict[int, bytes] = {}
        for has in self._has.values():
            if has != revision and has not in encoded:
                encoded[has] = self._encode(has)
        return [(name, revision, encoded[has]) for name, has in self._has.items() if has != revision]

    def told(self, name: str, revision: int) -> None:
        """Note that `name` was told up to `revision`."""
        if name in self._has:
            self._has[name] = revision

    def _encode(self, has: int) -> bytes:
        table = self._table
        news = {"epoch": table.epoch, "revision": table.revision, **missing(table, table.epoch, has)}
        packed: bytes = msgpack.packb(news)
        return packed


def missing(table: Table, epoch: int, revision: int) -> dict[str, object]:
    """Return what somebody at (epoch, revision) lacks: nothing, `changes`, or a `snapshot`."""
    changes = table.since(epoch, revision)
    if changes is None:
        return {"snapshot": table.snapshot()}
    return {"changes": changes} if changes else {}
