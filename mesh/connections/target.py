"""A server outside the mesh as one process uses it: its bounded connections, its health, and who depends on it."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

from mesh.clock import Clock
from mesh.connections.health import Health
from mesh.connections.lookout import Lookout
from mesh.errors import MeshError
from mesh.metrics import BOTH, Sample, counter, gauge

log = logging.getLogger("mesh.connections")

UP = gauge("mesh_connection_up", "Whether a server outside the mesh was well when last looked at.", "target",
           programs=BOTH)
USED = gauge("mesh_connection_used", "Connections to a server outside the mesh that are in use.", "target",
             programs=BOTH)
OPEN = gauge("mesh_connection_open", "Connections to a server outside the mesh that are open.", "target",
             programs=BOTH)
POOL = gauge("mesh_connection_limit", "Connections to a server outside the mesh at most.", "target", programs=BOTH)
CALLS = counter("mesh_connection_calls_total", "What servers outside the mesh were asked.", "target", programs=BOTH)
FAILURES = counter("mesh_connection_failures_total", "What servers outside the mesh failed to do.", "target",
                   programs=BOTH)


@dataclass(frozen=True, slots=True)
class TargetFigures:
    """What a target shows of itself: connections in use, open and at most, calls and failures since the start."""

    name: str
    address: str
    state: str
    reason: str
    in_use: int
    open: int
    pool: int
    calls: int
    failures: int
    users: tuple[str, ...]

    def to_wire(self) -> dict[str, object]:
        """Return the figures as a plain map."""
        return {**asdict(self), "users": list(self.users)}


class Target(ABC):
    """Base of the targets; `changed` is told when its health is news, `lookout` finds out where it can be asked."""

    name = ""
    address = ""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.health = Health()
        self.users: set[str] = set()
        self.calls = 0
        self.failures = 0
        self.closed = False
        self.changed: Callable[[Target], None] = lambda target: None
        self.lookout: Lookout | None = None

    @abstractmethod
    def pool(self) -> tuple[int, int, int]:
        """Return connections in use, open, and at most."""

    @abstractmethod
    async def disconnect(self) -> None:
        """Close every connection."""

    def figures(self) -> TargetFigures:
        """Return what the target shows of itself."""
        in_use, opened, most = self.pool()
        return TargetFigures(self.name, self.address, self.health.state, self.health.reason, in_use, opened, most,
                             self.calls, self.failures, tuple(sorted(self.users)))

    def samples(self) -> Iterator[Sample]:
        """Yield the figures of this target for whoever scrapes."""
        in_use, opened, most = self.pool()
        yield UP.sample(self.health.state == "ok", self.name)
        yield USED.sample(in_use, self.name)
        yield OPEN.sample(opened, self.name)
        yield POOL.sample(most, self.name)
        yield CALLS.sample(self.calls, self.name)
        yield FAILURES.sample(self.failures, self.name)

    def succeeded(self) -> None:
        """Note that the server answered."""
        if self.health.succeeded(self.clock.monotonic()):
            log.info("%s at %s is well", self.name, self.address)
            self.changed(self)

    def failed(self, error: MeshError) -> None:
        """Note that the server could not be used."""
        if self.health.failed(error.message, self.clock.monotonic()):
            log.warning("%s", error.message)
            self.changed(self)
        if self.lookout is not None:
            self.lookout.wake()

    def start(self) -> None:
        """Begin to look now and then whether the server is well, where that can be asked."""
        if self.lookout is not None:
            self.lookout.start()

    async def close(self) -> None:
        """Stop looking, close every connection and open no more."""
        self.closed = True
        if self.lookout is not None:
            await self.lookout.stop()
        await self.disconnect()


def reasons(targets: Iterable[Target], user: str) -> list[str]:
    """Return why the targets of `user` limit it: each that is down says so."""
    return [target.health.reason for target in targets if target.health.state == "down" and user in target.users]
