"""The family `directory`: the registry's table and a host's copy of it with 100,000 services on 50 hosts.

All in one process and in processor time, so other work on the machine hardly counts: what it costs to resolve a name,
what a host that joins has to be sent and to do, what one change costs, and what the copy holds in memory.
"""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator

from benchmarks.effort import Effort
from benchmarks.row import Row
from mesh.directory import Directory, unpack_snapshot
from mesh.records import HostRecord, InstanceRecord
from registry.changes import InstanceChange
from registry.leases import Leases
from registry.table import Table

SERVICES = 100_000
SMOKE_SERVICES = 1_000
HOSTS = 50
OPERATIONS = ("ask", "look", "tell")
RESOLVED = 20_000
RESOLVE_US = 2.0
BESIDE_US = 1.0


def rows(effort: Effort) -> Iterator[Row]:
    """Yield the rows."""
    services = effort.of(SERVICES, SMOKE_SERVICES)
    table, announced = _announced(services)
    packs = [_ms(lambda: _packed(table)) for _ in range(effort.rounds)]
    snapshot = _packed(table)
    directory = Directory()
    taken = [_ms(lambda: Directory().replace(1, 1, unpack_snapshot(snapshot))) for _ in range(effort.rounds)]
    directory.replace(table.epoch, table.revision, unpack_snapshot(snapshot))
    names = [f"service{number}" for number in range(0, services, max(1, services // RESOLVED))]
    resolved = [_ms(lambda: [directory.candidates(name) for name in names]) * 1000 / len(names)
                for _ in range(effort.rounds)]
    changed = [_changed(table, directory, number) for number in range(effort.rounds)]
    what = f"{services:,} services"
    yield Row(f"{what}: to resolve a name", resolved, RESOLVE_US, BESIDE_US, higher_is_better=False, unit="µs")
    yield Row(f"{what}: memory of the directory", [_held(snapshot) / 2**20], unit="MiB")
    yield Row(f"{what}: what a host that joins is sent", [len(snapshot) / 1024], unit="KiB")
    yield Row("the same: the registry packs it, once per revision", packs, unit="ms")
    yield Row("the same: the host unpacks and takes it", taken, unit="ms")
    yield Row("the same: one change, at each host", changed, unit="ms")
    yield Row(f"the registry takes the announcements of {HOSTS} hosts", [announced], unit="ms")
    yield Row("the registry judges all leases, four times a second", [_judged()], unit="ms")


def _announced(services: int) -> tuple[Table, float]:
    """Return the table when every host has announced its services, and what that took in ms."""
    table, leases = Table(1), Leases(0.0)
    hosts = [HostRecord(f"pc{number}", 1, "127.0.0.1", 1, 2, "k" * 40, "0.1", "ok", 1) for number in range(HOSTS)]
    offered = [[_row(number, host.name) for number in range(at, services, HOSTS)] for at, host in enumerate(hosts)]

    def announce() -> None:
        for host, instances in zip(hosts, offered, strict=True):
            leases.link_up(host.name, 1, host.name, "heartbeat", 0.0)
            leases.announce(host, instances, 0.0)
            for change in leases.tick(0.1, 1.0, only=host.name):
                table.record(change)

    return table, _ms(announce)


def _judged() -> float:
    """Return what it takes in ms to judge the leases of all hosts."""
    leases = Leases(0.0)
    for number in range(HOSTS):
        leases.link_up(f"pc{number}", 1, number, "heartbeat", 0.0)
        leases.announce(HostRecord(f"pc{number}", 1, "127.0.0.1", 1, 2, "", "", "ok", 1), (), 0.0)
    leases.tick(0.1, 1.0)
    return statistics.median(_ms(lambda: leases.tick(0.2, 1.0)) for _ in range(100))


def _row(number: int, host: str, incarnation: int = 1) -> InstanceRecord:
    return InstanceRecord(f"service{number}", host, incarnation, "ready", "", OPERATIONS, 1, "ab12cd34")


def _packed(table: Table) -> bytes:
    """Return the snapshot, packed anew."""
    table.record(InstanceChange("service0", "pc0", 1, _row(0, "pc0", table.revision)))
    return table.snapshot()


def _changed(table: Table, directory: Directory, number: int) -> float:
    """Return what a host needs in ms for one change of the table."""
    row = _row(number, f"pc{number % HOSTS}", table.revision)
    directory.replace(table.epoch, table.revision, unpack_snapshot(table.snapshot()))
    table.record(InstanceChange(row.service, row.host, 1, row))
    changes = table.since(*directory.position)
    assert changes is not None
    return _ms(lambda: directory.apply(table.epoch, table.revision, changes))


def _held(snapshot: bytes) -> int:
    """Return the bytes a directory holds of a snapshot."""
    tracemalloc.start()
    try:
        directory = Directory()
        directory.replace(1, 1, unpack_snapshot(snapshot))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def _ms(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return (time.thread_time() - began) * 1000
