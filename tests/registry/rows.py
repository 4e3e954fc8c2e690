"""Rows that the registry's tests announce."""

from __future__ import annotations

from typing import Any

from mesh.records import HostRecord, InstanceRecord


def host(name: str = "pc2", incarnation: int = 1, *, state: Any = "ok", pid: int = 42) -> HostRecord:
    """Return a host's row as it announces itself."""
    return HostRecord(name, incarnation, "127.0.0.1", 7420, 7421, "k" * 40, "0.1.0", state, pid)


def cells(*services: str, where: str = "pc2", state: Any = "ready") -> list[InstanceRecord]:
    """Return a row for each service on one host."""
    return [InstanceRecord(service, where, 1, state, "", ("run",)) for service in services]
