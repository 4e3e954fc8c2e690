"""The rows of the registry's table as every host sees them, and how they travel.

A row is a frozen dataclass; on the wire it is a plain map with the same names. Reading one checks every field, because
a directory is only as good as what it lets in; fields it does not know are left alone, so rows can grow.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from sys import intern
from typing import Any, Literal, cast, get_args

import msgpack

from mesh.errors import InvalidArgument, ProtocolError
from mesh.message import decode

HostState = Literal["ok", "busy", "stuck", "suspect", "dead", "leaving"]
CellState = Literal["stopped", "starting", "ready", "degraded", "draining", "failed", "backoff", "quarantined"]
DesiredState = Literal["running", "stopped"]

HOST_STATES: tuple[str, ...] = get_args(HostState)
CELL_STATES: tuple[str, ...] = get_args(CellState)
DESIRED_STATES: tuple[str, ...] = get_args(DesiredState)

LISTED_STATES = frozenset({"ok", "busy", "suspect"})
"""States of a host whose instances are in the table: its lease runs."""

USABLE_STATES = frozenset({"ready", "degraded"})
"""States of an instance that takes calls."""

GROUP = "#"
"""What the name of a group begins with where an operation is meant: events come as calls of `#workers`."""
HEARS = "hears"
"""The trait of such an operation: the topic patterns that this member of the group hears."""

MAX_SNAPSHOT = 64 * 1024 * 1024
"""Bytes of an unpacked snapshot: 10^5 instances need about 20 MiB; a bomb is cut off here."""


@dataclass(frozen=True, slots=True)
class HostRecord:
    """One host of the mesh, under one incarnation.

    `key` is its public CURVE key, empty without security; `since` is wall-clock seconds at which `state` began, for
    people only (0: not known).
    """

    name: str
    incarnation: int
    address: str
    port: int
    events_port: int
    key: str
    version: str
    state: HostState
    pid: int
    reason: str = ""
    since: float = 0.0

    def to_wire(self) -> dict[str, Any]:
        """Return the row as a plain map."""
        return {name: getattr(self, name) for name in _HOST_FIELDS}

    @staticmethod
    def from_wire(row: Any) -> HostRecord:
        """Return the row of a plain map; raises `ProtocolError` naming the field that is not as declared."""
        values = _values(row, "host", _HOST_FIELDS)
        _one_of(values, "state", HOST_STATES, "host")
        return HostRecord(**values)


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """One cell of one host that serves `service`; `incarnation` is the cell's own.

    `number` tells the instances of a service on one host apart, from 1. `version` stands for the schemas of its
    operations, and `traits` tells of those that are not plain what a caller must know: `{"idempotent": True}`.
    """

    service: str
    host: str
    incarnation: int
    state: CellState
    reason: str = ""
    operations: tuple[str, ...] = ()
    number: int = 1
    version: str = ""
    traits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where it is: the host, and behind a `#` its number if it is not the first there."""
        return self.host if self.number == 1 else f"{self.host}#{self.number}"

    def to_wire(self) -> dict[str, Any]:
        """Return the row as a plain map."""
        row: dict[str, Any] = {name: getattr(self, name) for name in _INSTANCE_FIELDS}
        row["operations"] = list(self.operations)
        row["traits"] = {name: dict(self.traits[name]) for name in sorted(self.traits)}
        return row

    @staticmethod
    def from_wire(row: Any) -> InstanceRecord:
        """Return the row of a plain map; raises `ProtocolError` naming the field that is not as declared."""
        if type(row) is dict:  # a snapshot may hold 10^5 of them: let in at one glance what is right, then explain
            service, host, incarnation, state, reason, operations, number, version, traits = map(
                row.get, _INSTANCE_FIELDS)
            if (
                type(service) is str and type(host) is str and type(incarnation) is int and state in CELL_STATES
                and type(reason) is str and type(operations) is list and all(type(name) is str for name in operations)
                and type(number) is int and number > 0 and type(version) is str and type(traits) is dict
                and all(type(name) is str and type(trait) is dict for name, trait in traits.items())
            ):
                return InstanceRecord(service, intern(host), incarnation, cast(CellState, intern(state)), reason,
                                      _shared(tuple(operations)), number, intern(version), traits or _PLAIN)
        values = _values(row, "instance", _INSTANCE_FIELDS)
        _one_of(values, "state", CELL_STATES, "instance")
        _numbered(values["number"])
        if not all(type(name) is str for name in values["operations"]):
            raise ProtocolError(f"operations of the instance row are {values['operations']!r:.60}, expected names")
        raise ProtocolError(f"traits of the instance row are {values['traits']!r:.60}, expected a map of maps by name")


_HOST_FIELDS: Mapping[str, tuple[type, ...]] = {
    "name": (str,), "incarnation": (int,), "address": (str,), "port": (int,), "events_port": (int,), "key": (str,),
    "version": (str,), "state": (str,), "pid": (int,), "reason": (str,), "since": (float, int),
}
_INSTANCE_FIELDS: Mapping[str, tuple[type, ...]] = {
    "service": (str,), "host": (str,), "incarnation": (int,), "state": (str,), "reason": (str,), "operations": (list,),
    "number": (int,), "version": (str,), "traits": (dict,),
}
_PLAIN: Mapping[str, Mapping[str, Any]] = {}
"""The traits of most instances; one map for all of them, as hosts, versions and operations are shared in memory."""

InstanceKey = tuple[str, str, int]
"""Service, host and number: what tells instances apart."""


def instance_key(row: Any) -> InstanceKey:
    """Return the key in a plain map; raises `ProtocolError` naming the field that is not as declared."""
    number = checked(row, "number", (int,), "instance")
    _numbered(number)
    return checked(row, "service", (str,), "instance"), checked(row, "host", (str,), "instance"), number


@lru_cache(maxsize=4096)
def _shared(operations: tuple[str, ...]) -> tuple[str, ...]:
    """Return the same tuple for the same names: a thousand services of one class hold it once."""
    return tuple(map(intern, operations))


def split_place(place: str) -> tuple[str, int | None]:
    """Return host and number of a place as `pc2#2`; without a number any instance of the host is meant.

    Raises `InvalidArgument` if what is behind the `#` is no number.
    """
    host, mark, number = place.partition("#")
    if not mark:
        return host, None
    if not host or not number.isascii() or not number.isdigit() or not int(number):
        raise InvalidArgument(f"{place!r} is no place; write a host as pc2, or one of its instances as pc2#2",
                              path="to_host")
    return host, int(number)


def checked(row: Any, name: str, kinds: tuple[type, ...], record: str) -> Any:
    """Return field `name` of a plain map; raises `ProtocolError` if it is missing or of another type."""
    if type(row) is not dict:
        raise ProtocolError(f"the {record} row is a map, found {type(row).__name__}")
    if name not in row:
        raise ProtocolError(f"the {record} row has no {name}; found {', '.join(map(str, row)) or 'an empty map'}")
    value = row[name]
    if type(value) not in kinds:
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ProtocolError(f"{name} of the {record} row is {type(value).__name__} {value!r:.60}, expected {wanted}")
    return value


def _values(row: Any, record: str, fields: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    return {name: checked(row, name, kinds, record) for name, kinds in fields.items()}


def _numbered(number: int) -> None:
    if number < 1:
        raise ProtocolError(f"number of the instance row is {number}, expected 1 or more")


def _one_of(values: Mapping[str, Any], name: str, allowed: tuple[str, ...], record: str) -> None:
    if values[name] not in allowed:
        raise ProtocolError(f"{name} of the {record} row is {values[name]!r}, expected one of {', '.join(allowed)}")


def inventory_hash(instances: Iterable[InstanceRecord]) -> bytes:
    """Return 16 bytes that stand for exactly these rows, in any order; a renewal carries them in their place."""
    rows = sorted((list(row.to_wire().values()) for row in instances), key=lambda row: (row[0], row[1], row[6]))
    return hashlib.blake2b(cast(bytes, msgpack.packb(rows)), digest_size=16).digest()


def pack_snapshot(snapshot: Mapping[str, Any]) -> bytes:
    """Return a whole table of plain values as compressed msgpack."""
    return zlib.compress(cast(bytes, msgpack.packb(snapshot)), 1)


def unpack_snapshot(packed: bytes) -> dict[str, Any]:
    """Return the table that `pack_snapshot` packed; raises `ProtocolError` for anything else or over `MAX_SNAPSHOT`."""
    if type(packed) is not bytes:
        raise ProtocolError(f"a snapshot is bytes, found {type(packed).__name__}")
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(packed, MAX_SNAPSHOT)
    except zlib.error as error:
        raise ProtocolError(f"a snapshot of {len(packed)} bytes does not decompress: {error}") from None
    if not unpacker.eof:
        raise ProtocolError(f"a snapshot of {len(packed)} bytes is cut off, or unpacks to more than {MAX_SNAPSHOT}")
    snapshot = decode(plain)
    if type(snapshot) is not dict:
        raise ProtocolError(f"a snapshot holds a map, found {type(snapshot).__name__}")
    return snapshot
