"""The Handler that answers the registry's operations.

Leases and table are changed at once and in memory; what must last is stored first and counts only then, so nothing
that was accepted can be lost. Every way to change the table ends in `settle`, which judges the leases and tells who
waits for news.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mesh.address import nearest, split_instance
from mesh.clock import Clock
from mesh.errors import (
    InvalidArgument,
    MeshError,
    PermissionDenied,
    RemoteFailure,
    StoreError,
    UnknownOperation,
    UnknownService,
)
from mesh.message import Reply, Request, encode
from mesh.metrics import REGISTRY, Sample, gauge
from mesh.policy.measure import CallStats, Measure
from mesh.tracing import SpanRing
from registry.arguments import Announce, Arguments, SetDesired, SetOverride, Sync, UnsetOverride, Withdraw, parse
from registry.changes import UNSET, Change, DesiredChange, HostChange, OverrideChange
from registry.desired import Desired
from registry.feed import Feed, missing
from registry.leases import Leases
from registry.overrides import Overrides
from registry.store import Store, Stored
from registry.table import Table

SERVICE = "registry"
STORE = gauge("mesh_registry_store_ok", "1 while the store takes what must last.", programs=REGISTRY)

log = logging.getLogger("registry.service")

Lasting = DesiredChange | OverrideChange

URGENT = frozenset({"dead", "stuck"})
"""States of a host that everybody hears at once: calls to it fail until they know."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the registry knows from the configuration: itself, the hosts and the services there may be."""

    host: str
    endpoint: str
    hosts: Collection[str]
    services: Collection[str]
    security: str = "curve"


class RegistryService:
    """The registry's operations over its table, leases and store."""

    def __init__(
        self, around: Surroundings, table: Table, leases: Leases, desired: Desired, overrides: Overrides, store: Store,
        *, clock: Clock, on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.around = around
        self.table = table
        self.leases = leases
        self.metrics: Callable[[], dict[str, str | None]] = dict
        self._stats = CallStats(known=self.OPERATIONS)
        self.feed = Feed(table)
        self._measure = Measure(self._stats, SpanRing(1), around.host, clock)
        self._desired = desired
        self._overrides = overrides
        self._store = store
        self._clock = clock
        self._on_change = on_change
        self._started = clock.monotonic()
        self._names = set(around.services)
        self._write = asyncio.Lock()
        self._writes: set[asyncio.Task[None]] = set()
        for wanted in desired.rows():
            table.record(wanted)
        for override in overrides.rows():
            table.record(override)

    def samples(self) -> Iterator[Sample]:
        """Yield the figures of table, leases, store and requests."""
        yield from self.table.samples()
        yield from self.leases.samples(self._clock.monotonic())
        yield from self._stats.samples(SERVICE)
        yield STORE.sample(self._store.problem is None)

    async def handle(self, request: Request) -> Reply:
        """Answer one request; an error takes the place of the value, never the place of the reply."""
        began, reply = self._clock.monotonic(), None
        try:
            reply = await self._answer(request)
        finally:
            ended = self._measure.ended(request, began, reply)
        return ended

    async def _answer(self, request: Request) -> Reply:
        try:
            operation = self.OPERATIONS.get(request.operation)
            if operation is None:
                raise self._unknown(request.operation)
            model, method = operation
            value = method(self, parse(model, request.target, request.body), request)
            return Reply(encode(await value if isinstance(value, Awaitable) else value), host=self.around.host)
        except StoreError as error:  # has no code of its own: it is a fault of this side
            return Reply(error=RemoteFailure(error.message, type="StoreError"), host=self.around.host)
        except MeshError as error:
            return Reply(error=error, host=self.around.host)
        except Exception as error:  # a fault of ours must reach its caller and must not stop the registry
            log.exception("%s failed", request.target)
            failure = RemoteFailure(f"{request.target} failed: {error}", type=type(error).__name__)
            return Reply(error=failure, host=self.around.host)

    def settle(self, only: str | None = None) -> None:
        """Judge every lease now, or `only` that of one host, and number what changed.

        Call it after each fact, and for all several times a second.
        """
        now = self._clock.monotonic()
        urgent = changed = False
        for change in self.leases.tick(now, self._clock.time(), only):
            changed |= self.table.record(change)
            urgent |= _is_urgent(change)
            if isinstance(change, HostChange):
                _tell(change)
        if changed:
            self.feed.changed(now, urgent=urgent)
            self._on_change()

    def heartbeat(self, host: str, incarnation: int, age: float, inventory: bytes) -> bool:
        """Take a host's sign of progress; returns whether to ask it for its announcement."""
        now = self._clock.monotonic()
        self.leases.heartbeat(host, incarnation, age, now)
        self.settle(host)  # of 50 hosts a hundred come each second: each is about one lease, and time judges all
        return self.leases.lacks(host, incarnation, inventory, now)

    def adopt(self, stored: Stored) -> None:
        """Let count what the store holds, in place of what was known: it was away, and others may have written."""
        held = {(row.service, row.key) for row in stored.overrides}
        gone = [OverrideChange(row.service, row.key, UNSET) for row in self._overrides.rows()
                if (row.service, row.key) not in held]
        known: set[Lasting] = {*self._desired.rows(), *self._overrides.rows()}
        now: list[Lasting] = [*stored.desired, *stored.overrides]
        for change in [*(row for row in now if row not in known), *gone]:
            self._take(change)

    async def close(self) -> None:
        """Wait for writes that were begun, and close the store."""
        if self._writes:
            await asyncio.wait(self._writes)
        await self._store.close()

    # operations of hosts

    def announce(self, given: Announce, request: Request) -> dict[str, Any]:
        """Take a host's whole inventory and return what operators want of it."""
        host, instances = given.records()
        caller = _host_of(request)
        for path, name in (("host.name", host.name), *(("instances", row.host) for row in instances)):
            if name != caller:
                raise PermissionDenied(f"{caller} may announce only itself, {path} names {name}", rule="host_name")
        self.leases.announce(host, instances, self._clock.monotonic())
        self._names.update(row.service for row in instances)
        self.settle()
        return {
            "epoch": self.table.epoch,
            "revision": self.table.revision,
            "desired": self._desired.of(caller),
            "overrides": self._overrides.by_service(),
        }

    def withdraw(self, given: Withdraw, request: Request) -> dict[str, Any]:
        """Take a host at its word that it stops."""
        self.leases.withdraw(_host_of(request), given.incarnation, self._clock.monotonic())
        self.settle()
        return self._number()

    def sync(self, given: Sync, request: Request) -> dict[str, Any]:
        """Return what the host lacks of the table, and whether it has to announce itself."""
        caller = _host_of(request)
        self.leases.admit(caller, given.incarnation)
        self.feed.subscribe(caller, self.table.revision)
        return {
            **self._number(),
            "announce": not self.leases.knows(caller, given.incarnation, given.hash),
            **missing(self.table, given.epoch, given.revision),
        }

    # operations of everybody

    def rows(self, given: Arguments, request: Request) -> dict[str, Any]:
        """Return the whole table as plain rows."""
        return self.table.plain()

    def status(self, given: Arguments, request: Request) -> dict[str, Any]:
        """Return how the registry and the leases of its hosts are."""
        now = self._clock.monotonic()
        return {
            **self._number(),
            "endpoint": self.around.endpoint,
            "state": "ok" if self._store.problem is None else "degraded",
            "reason": self._store.problem or "",
            "store": self._store.kind,
            "security": self.around.security,
            "settled": self.table.settled,
            "metrics": self.metrics(),
            "uptime_s": round(now - self._started, 3),
            "hosts": [{**row.to_wire(), "lease_age_s": round(self.leases.age(row.name, now), 3)}
                      for _, row in sorted(self.table.hosts.items())],
        }

    async def set_desired(self, given: SetDesired, request: Request) -> dict[str, Any]:
        """Keep what an operator wants of a service on a host, or of one instance of it as `nlu#2`."""
        self._check_service(split_instance(given.service)[0])
        if given.host not in self.around.hosts:
            hint = _hint(given.host, self.around.hosts)
            raise InvalidArgument(f"{request.target}: the mesh has no host {given.host}{hint}", path="host")
        await self._keep(lambda: self._desired.change(given.service, given.host, given.desired))
        return self._number()

    async def set_override(self, given: SetOverride, request: Request) -> dict[str, Any]:
        """Keep a setting that wins over every file."""
        self._check_service(given.service)
        await self._keep(lambda: self._overrides.change(given.service, given.key, given.value))
        return self._number()

    async def unset_override(self, given: UnsetOverride, request: Request) -> dict[str, Any]:
        """Drop a setting, so that its config counts again."""
        await self._keep(lambda: self._overrides.removal(given.service, given.key))
        return self._number()

    OPERATIONS: ClassVar[Mapping[str, tuple[type[Any], Callable[[Any, Any, Request], Any]]]] = {
        "announce": (Announce, announce),
        "withdraw": (Withdraw, withdraw),
        "sync": (Sync, sync),
        "table": (Arguments, rows),
        "status": (Arguments, status),
        "set_desired": (SetDesired, set_desired),
        "set_override": (SetOverride, set_override),
        "unset_override": (UnsetOverride, unset_override),
    }

    # inside

    async def _keep(self, decide: Callable[[], Lasting | None]) -> None:
        """Store the change that `decide` finds, then let it count; both happen even if the caller gives up."""
        task = asyncio.get_running_loop().create_task(self._store_and_count(decide))
        self._writes.add(task)
        task.add_done_callback(self._written)
        await asyncio.shield(task)

    async def _store_and_count(self, decide: Callable[[], Lasting | None]) -> None:
        async with self._write:  # memory takes the changes in the order of the file
            change = decide()
            if change is None:
                return
            await self._store.save(change)
            self._take(change)

    def _take(self, change: Lasting) -> None:
        """Let a change count that is stored."""
        if isinstance(change, DesiredChange):
            self._desired.take(change)
        else:
            self._overrides.take(change)
        if self.table.record(change):
            self.feed.changed(self._clock.monotonic(), urgent=False)
            self._on_change()

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writes.discard(task)
        if not task.cancelled() and isinstance(task.exception(), StoreError):
            log.error("a change was refused because it could not be stored: %s", task.exception())

    def _check_service(self, name: str) -> None:
        if name not in self._names:
            raise UnknownService(
                f"no host ever configured or announced a service {name}{_hint(name, self._names)}",
                suggestion=nearest(name, self._names),
            )

    def _number(self) -> dict[str, Any]:
        return {"epoch": self.table.epoch, "revision": self.table.revision}

    def _unknown(self, operation: str) -> UnknownOperation:
        return UnknownOperation(
            f"the registry has no operation {operation}; it has {', '.join(sorted(self.OPERATIONS))}"
            f"{_hint(operation, self.OPERATIONS)}", suggestion=nearest(operation, self.OPERATIONS),
        )


def _host_of(request: Request) -> str:
    """Return the host whose key the connection showed; raises `PermissionDenied` if it is no host's."""
    if not request.via or request.via == "operator":
        raise PermissionDenied(f"{request.target} is for hosts, {request.caller or 'the caller'} is none", rule="host")
    return request.via


def _hint(name: str, known: Collection[str]) -> str:
    suggestion = nearest(name, known)
    return f"; did you mean {suggestion}?" if suggestion else ""


def _is_urgent(change: Change) -> bool:
    return isinstance(change, HostChange) and change.record is not None and change.record.state in URGENT


def _tell(change: HostChange) -> None:
    record = change.record
    if record is None:
        log.info("host %s has left", change.name)
    elif record.state == "ok":
        log.info("host %s is ok (incarnation %d)", change.name, record.incarnation)
    else:
        log.warning("host %s is %s: %s", change.name, record.state, record.reason)
