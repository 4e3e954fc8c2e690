"""What can change in the registry's table, one class per kind, and how each travels.

A change that carries None in place of a value says that the row is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from mesh.records import DesiredState, HostRecord, InstanceRecord


@dataclass(frozen=True, slots=True)
class HostChange:
    """A host's row is now `record`."""

    name: str
    record: HostRecord | None

    def to_wire(self) -> dict[str, Any]:
        """Return the change as a plain map."""
        if self.record is None:
            return {"kind": "host", "gone": True, "name": self.name}
        return {"kind": "host", "gone": False, **self.record.to_wire()}


@dataclass(frozen=True, slots=True)
class InstanceChange:
    """The row of instance `number` of `service` on `host` is now `record`."""

    service: str
    host: str
    number: int
    record: InstanceRecord | None

    def to_wire(self) -> dict[str, Any]:
        """Return the change as a plain map."""
        if self.record is None:
            return {"kind": "instance", "gone": True, "service": self.service, "host": self.host,
                    "number": self.number}
        return {"kind": "instance", "gone": False, **self.record.to_wire()}


@dataclass(frozen=True, slots=True)
class DesiredChange:
    """An operator wants `service` on `host` to be running or stopped."""

    service: str
    host: str
    desired: DesiredState

    def to_wire(self) -> dict[str, Any]:
        """Return the change as a plain map."""
        return {"kind": "desired", "gone": False, "service": self.service, "host": self.host, "desired": self.desired}


class Unset:
    """The type of `UNSET`; an override may well be None, so None cannot say that there is none."""


UNSET: Final = Unset()


@dataclass(frozen=True, slots=True)
class OverrideChange:
    """The setting `key` of `service` is now `value`, or what its config says if that is `UNSET`."""

    service: str
    key: str
    value: Any = field(compare=False)
    written: str = field(init=False, repr=False)  # compared in place of the value, since 1 == True == 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "written", repr(self.value))

    def to_wire(self) -> dict[str, Any]:
        """Return the change as a plain map."""
        if self.value is UNSET:
            return {"kind": "override", "gone": True, "service": self.service, "key": self.key}
        return {"kind": "override", "gone": False, "service": self.service, "key": self.key, "value": self.value}


@dataclass(frozen=True, slots=True)
class Settled:
    """Everybody had time to come back after the registry's start: who is not in the table now is not in the mesh."""

    def to_wire(self) -> dict[str, Any]:
        """Return the change as a plain map."""
        return {"kind": "settled", "gone": False}


Change = HostChange | InstanceChange | DesiredChange | OverrideChange | Settled
