"""The registry's table with its number: (epoch, revision), a log of the last changes, and a snapshot.

Every change that changes something raises the revision by one. Whoever is behind by no more than the log gets the
changes it lacks, anybody else the snapshot, which is packed once per revision.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

from mesh.metrics import REGISTRY, Sample, gauge
from mesh.records import HOST_STATES, HostRecord, InstanceKey, InstanceRecord, pack_snapshot
from registry.changes import UNSET, Change, DesiredChange, HostChange, InstanceChange, OverrideChange, Settled

REVISION = gauge("mesh_registry_revision", "Number of the table's last change in this epoch.", programs=REGISTRY)
EPOCH = gauge("mesh_registry_epoch", "Epoch of the table: milliseconds of the registry's start.", programs=REGISTRY)
HOSTS = gauge("mesh_registry_hosts", "Hosts in the table, by state.", "state", programs=REGISTRY)
INSTANCES = gauge("mesh_registry_instances", "Instances of agents in the table.", programs=REGISTRY)

LOG = 4096
"""Changes kept: a mesh of 100 agents that all fail and recover makes fewer than 1,000; they take about 2 MiB."""


class Table:
    """Rows of hosts, instances, desired states and overrides, numbered."""

    def __init__(self, epoch: int, *, settled: bool = False, log: int = LOG) -> None:
        self.epoch = epoch
        self.revision = 0
        self.settled = settled
        self.hosts: dict[str, HostRecord] = {}
        self.instances: dict[InstanceKey, InstanceRecord] = {}
        self._desired: dict[tuple[str, str], DesiredChange] = {}
        self._overrides: dict[tuple[str, str], OverrideChange] = {}
        self._log: deque[dict[str, Any]] = deque(maxlen=log)
        self._packed: tuple[int, bytes] | None = None

    def record(self, change: Change) -> bool:
        """Take a change and number it; returns False for one that changes nothing."""
        if not self._take(change):
            return False
        self.revision += 1
        self._log.append(change.to_wire())
        return True

    def samples(self) -> Iterator[Sample]:
        """Yield how far the table is and how much it holds."""
        yield EPOCH.sample(self.epoch)
        yield REVISION.sample(self.revision)
        states: Counter[str] = Counter(row.state for row in self.hosts.values())
        for state in HOST_STATES:
            yield HOSTS.sample(states[state], state)
        yield INSTANCES.sample(len(self.instances))

    def since(self, epoch: int, revision: int) -> list[dict[str, Any]] | None:
        """Return the changes after (epoch, revision) in order, or None if only a snapshot can help."""
        missing = self.revision - revision
        if epoch != self.epoch or missing < 0 or missing > len(self._log):
            return None
        return list(islice(self._log, len(self._log) - missing, None))

    def snapshot(self) -> bytes:
        """Return the whole table packed; the same bytes for everyone who asks at this revision."""
        if self._packed is None or self._packed[0] != self.revision:
            self._packed = self.revision, pack_snapshot(self.plain())
        return self._packed[1]

    def plain(self) -> dict[str, Any]:
        """Return the whole table as plain rows, each section ordered by name."""
        return {
            "epoch": self.epoch,
            "revision": self.revision,
            "settled": self.settled,
            "hosts": [self.hosts[name].to_wire() for name in sorted(self.hosts)],
            "instances": [self.instances[key].to_wire() for key in sorted(self.instances)],
            "desired": [_row(self._desired[key]) for key in sorted(self._desired)],
            "overrides": [_row(self._overrides[key]) for key in sorted(self._overrides)],
        }

    def _take(self, change: Change) -> bool:
        if isinstance(change, HostChange):
            return _put(self.hosts, change.name, change.record)
        if isinstance(change, InstanceChange):
            return _put(self.instances, (change.service, change.host, change.number), change.record)
        if isinstance(change, DesiredChange):
            return _put(self._desired, (change.service, change.host), change)
        if isinstance(change, OverrideChange):
            key = change.service, change.key
            return _put(self._overrides, key, None if change.value is UNSET else change)
        assert isinstance(change, Settled)
        was, self.settled = self.settled, True
        return not was


def _put(rows: dict[Any, Any], key: Any, row: Any) -> bool:
    """Put a row in its place, or take it out if it is None; returns whether that changed anything."""
    if rows.get(key) == row:
        return False
    if row is None:
        del rows[key]
    else:
        rows[key] = row
    return True


def _row(change: DesiredChange | OverrideChange) -> dict[str, Any]:
    return {name: value for name, value in change.to_wire().items() if name not in ("kind", "gone")}
