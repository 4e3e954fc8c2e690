"""What an error tail shows and when it asks whom: history and live of every host joined, without a socket.

At the opening the histories of all hosts are waited for and shown in the order of time; after that each record comes
as it happens. A host that cannot be asked keeps its place and is asked again, unless live records of it wait behind
what is missing: then they are shown and the gap is told.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from mesh.errorbus import ErrorRecord, Gap, Joiner

AGAIN = 1.0

Item = ErrorRecord | Gap


class Story:
    """Joins what each host tells; `last` holds the last id shown of each, from which `open` goes on."""

    def __init__(self) -> None:
        self.last: dict[str, str] = {}
        self._joiner = Joiner()
        self._opening: set[str] = set()
        self._waiting: list[tuple[float, Item]] = []
        self._asked: set[str] = set()
        self._again: dict[str, float] = {}
        self._answered: set[str] = set()
        self._heard: set[str] = set()

    def open(self, hosts: Iterable[str]) -> None:
        """Begin, or begin again after a lost connection, with the histories of `hosts`."""
        self._joiner = Joiner(self.last)
        self._opening = set(hosts)
        for host in self._opening:
            self._joiner.follow(host)
        self._asked.clear()
        self._again.clear()
        self._answered.clear()
        self._heard.clear()

    @property
    def opened(self) -> bool:
        """Whether every host has been heard once, so that what comes from now on is new."""
        return not self._opening

    def to_ask(self, now: float) -> dict[str, str | None]:
        """Return the hosts to ask for their history now, each with the id since which (None: all of it)."""
        due = {host: since for host, since in self._joiner.wanted().items()
               if host not in self._asked and self._again.get(host, now) <= now}
        self._asked |= set(due)
        return due

    def live(self, record: ErrorRecord) -> list[Item]:
        """Take a record that was published; returns what to show."""
        self._heard.add(record.host)
        return self._show(self._joiner.live(record))

    def history(self, host: str, records: Sequence[ErrorRecord] | None, now: float) -> list[Item]:
        """Take a host's answer, None if it gave none; returns what to show."""
        self._asked.discard(host)
        self._opening.discard(host)
        if records is not None:
            self._answered.add(host)
            shown = self._joiner.history(host, records)
        else:
            self._again[host] = now + AGAIN
            given_up = host in self._answered or host in self._heard
            shown = self._joiner.history(host, None) if given_up else []
        return self._show(shown)

    def rest(self) -> list[Item]:
        """Return what still waits for the opening to end, in the order of time."""
        waiting, self._waiting = self._waiting, []
        return [item for _, item in sorted(waiting, key=lambda pair: pair[0])]

    def _show(self, items: Sequence[Item]) -> list[Item]:
        """Let pass what may be shown now; during the opening everything waits."""
        self.last.update((item.host, item.id) for item in items if isinstance(item, ErrorRecord))
        if not self._opening and not self._waiting:
            return list(items)
        time = math.inf
        timed: list[tuple[float, Item]] = []
        for item in reversed(items):  # a gap belongs to the record after it
            time = item.time if isinstance(item, ErrorRecord) else time
            timed.append((time, item))
        self._waiting += reversed(timed)
        return [] if self._opening else self.rest()
