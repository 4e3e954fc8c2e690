"""The registry's table at one revision, and how changes make the next one.

A `View` is immutable. The next one is put together in a `Draft`: copies of the maps, rows replaced one by one, rows of
a service gathered again from its records. A malformed row raises before anything became visible.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mesh.errors import ProtocolError
from mesh.records import DESIRED_STATES, HostRecord, InstanceRecord, checked, instance_key

Row = TypeVar("Row")
Pair = tuple[Row | None, Row | None]
Place = tuple[str, int]
"""Host and number: what tells the instances of one service apart."""


@dataclass(frozen=True, slots=True)
class View:
    """The table at one revision.

    `services` maps a name to its rows, `desired` a (service, host) to running or stopped, `overrides` a service to
    its keys. `carried` are the hosts kept from an earlier epoch until a registry that restarted says `settled`.
    """

    epoch: int = 0
    revision: int = 0
    settled: bool = True
    hosts: Mapping[str, HostRecord] = field(default_factory=dict)
    services: Mapping[str, tuple[InstanceRecord, ...]] = field(default_factory=dict)
    desired: Mapping[tuple[str, str], str] = field(default_factory=dict)
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    carried: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Difference:
    """What an update changed, hosts and instances as (before, after) with None where there was or is none.

    `gap` says that nothing was applied because changes are missing: fetch a snapshot.
    """

    gap: bool = False
    hosts: tuple[Pair[HostRecord], ...] = ()
    instances: tuple[Pair[InstanceRecord], ...] = ()
    desired: tuple[tuple[str, str], ...] = ()
    overrides: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.hosts or self.instances or self.desired or self.overrides)


class Draft:
    """The next view while it is put together; it notes what it touched, so nobody compares 10^5 rows."""

    def __init__(self, base: View) -> None:
        self._base = base
        self._settled = base.settled
        self._carried = set(base.carried)
        self._hosts = dict(base.hosts)
        self._services = dict(base.services)
        self._desired = dict(base.desired)
        self._overrides = dict(base.overrides)
        self._touched_hosts: set[str] = set()
        self._rows: dict[str, dict[Place, InstanceRecord]] = {}
        self._touched_desired: set[tuple[str, str]] = set()
        self._touched_overrides: set[str] = set()

    @staticmethod
    def from_snapshot(base: View, epoch: int, snapshot: Mapping[str, Any]) -> Draft:
        """Return a draft of the snapshot alone, and of what is carried over from `base` while it is not settled."""
        draft = Draft(View(settled=checked(snapshot, "settled", (bool,), "snapshot")))
        for section, take in (("hosts", draft._take_host), ("instances", draft._take_instance),
                              ("desired", draft._take_desired), ("overrides", draft._take_override)):
            for row in checked(snapshot, section, (list,), "snapshot"):
                take(row, False)
        draft._follow(base, carry=() if draft._settled else base.hosts if epoch != base.epoch else base.carried)
        return draft

    def take(self, row: Any) -> None:
        """Take one change; raises `ProtocolError` if it is malformed."""
        kind = checked(row, "kind", (str,), "change")
        gone = checked(row, "gone", (bool,), "change")
        if kind == "host":
            self._take_host(row, gone)
        elif kind == "instance":
            self._take_instance(row, gone)
        elif kind == "desired":
            self._take_desired(row, gone)
        elif kind == "override":
            self._take_override(row, gone)
        elif kind == "settled":
            self._settle()
        else:
            raise ProtocolError(f"a change of kind {kind!r} is not known to this version of the mesh")

    def view(self, epoch: int, revision: int) -> View:
        """Return the finished view."""
        for service, rows in self._rows.items():
            if len(rows) == 1:
                self._services[service] = tuple(rows.values())
            elif rows:
                self._services[service] = tuple(rows[key] for key in sorted(rows))
            else:
                self._services.pop(service, None)
        return View(epoch, revision, self._settled, self._hosts, self._services, self._desired, self._overrides,
                    frozenset(self._carried))

    def difference(self, after: View) -> Difference:
        """Return how `after`, the view of this draft, differs from the one it was based on."""
        before = self._base
        instances: list[Pair[InstanceRecord]] = []
        for service in sorted(self._rows):
            instances += _pairs(_placed(before.services.get(service, ())), _placed(after.services.get(service, ())))
        return Difference(
            hosts=tuple(_pairs(before.hosts, after.hosts, sorted(self._touched_hosts))),
            instances=tuple(instances),
            desired=tuple(sorted(key for key in self._touched_desired
                                 if before.desired.get(key) != after.desired.get(key))),
            overrides=tuple(sorted(key for key in self._touched_overrides  # as text, since 1 == True == 1.0
                                   if repr(before.overrides.get(key)) != repr(after.overrides.get(key)))),
        )

    def _follow(self, base: View, *, carry: Iterable[str]) -> None:
        """Make this draft, so far of a snapshot alone, the successor of `base`."""
        self._base = base
        kept = {name for name in carry if name not in self._hosts}
        for name in kept:
            self._hosts[name] = base.hosts[name]
        self._carried = kept
        for service, rows in base.services.items():
            fresh = self._gathered(service)
            fresh.update(_placed(row for row in rows if row.host in kept))
        self._touched_hosts.update(base.hosts)
        self._touched_desired.update(base.desired)
        self._touched_overrides.update(base.overrides)

    def _gathered(self, service: str) -> dict[Place, InstanceRecord]:
        """Return the rows of a service by place, to be changed."""
        rows = self._rows.get(service)
        if rows is None:
            rows = self._rows[service] = _placed(self._services.get(service, ()))
        return rows

    def _drop_carried(self, name: str) -> None:
        """Drop what was kept of a host: its own new rows are here, or it did not come back."""
        self._carried.discard(name)
        self._touched_hosts.add(name)
        self._hosts.pop(name, None)
        for service in [service for service, rows in self._services.items() if any(row.host == name for row in rows)]:
            rows = self._gathered(service)
            for place in [place for place in rows if place[0] == name]:
                del rows[place]

    def _settle(self) -> None:
        for name in list(self._carried):
            self._drop_carried(name)
        self._settled = True

    def _take_host(self, row: Any, gone: bool) -> None:
        name = checked(row, "name", (str,), "host")
        if name in self._carried:
            self._drop_carried(name)
        self._touched_hosts.add(name)
        if gone:
            self._hosts.pop(name, None)
        else:
            self._hosts[name] = HostRecord.from_wire(row)

    def _take_instance(self, row: Any, gone: bool) -> None:
        if gone:
            service, host, number = instance_key(row)
            self._gathered(service).pop((host, number), None)
        else:
            record = InstanceRecord.from_wire(row)
            self._gathered(record.service)[record.host, record.number] = record

    def _take_desired(self, row: Any, gone: bool) -> None:
        key = checked(row, "service", (str,), "desired"), checked(row, "host", (str,), "desired")
        self._touched_desired.add(key)
        if gone:
            self._desired.pop(key, None)
            return
        desired = checked(row, "desired", (str,), "desired")
        if desired not in DESIRED_STATES:
            raise ProtocolError(f"desired of {key[0]}@{key[1]} is {desired!r}, expected {' or '.join(DESIRED_STATES)}")
        self._desired[key] = desired

    def _take_override(self, row: Any, gone: bool) -> None:
        service, key = checked(row, "service", (str,), "override"), checked(row, "key", (str,), "override")
        self._touched_overrides.add(service)
        values = dict(self._overrides.get(service, {}))
        if gone:
            values.pop(key, None)
        elif "value" in row:
            values[key] = row["value"]
        else:
            raise ProtocolError(f"the override {service}.{key} has no value")
        if values:
            self._overrides[service] = values
        else:
            self._overrides.pop(service, None)


def _placed(rows: Iterable[InstanceRecord]) -> dict[Place, InstanceRecord]:
    return {(row.host, row.number): row for row in rows}


def _pairs(before: Mapping[Any, Row], after: Mapping[Any, Row], names: Iterable[Any] | None = None
           ) -> list[Pair[Row]]:
    """Return (before, after) of every row that differs, by name."""
    wanted = sorted({*before, *after}) if names is None else names
    return [(before.get(name), after.get(name)) for name in wanted if before.get(name) != after.get(name)]
