"""The supervisor as its control plane needs it, and how an operation finds the cell it is about."""

from __future__ import annotations

from typing import Any, Protocol

from mesh.address import nearest
from mesh.clock import Clock
from mesh.config import Isolation
from mesh.errors import InvalidArgument
from mesh.policy.cache import HostCache
from mesh.supervisor.adjusting.editions import Editions
from mesh.supervisor.adjusting.liveconfig import LiveConfig
from mesh.supervisor.adjusting.versions import Versions
from mesh.supervisor.bench.bench import Bench
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.errors.errorlog import ErrorLog
from mesh.supervisor.roster import Roster
from mesh.supervisor.showing.logbook import LogBook
from mesh.tracing import SpanRing


class Wished(Protocol):
    """Carries out what operators wish; each returns a warning, if there is one.

    `name` is a service, for all its instances here, or one of them as `nlu#2`.
    """

    async def start(self, name: str) -> str | None:
        """Start agents and wait for the outcome."""

    async def stop(self, name: str) -> str | None:
        """Stop agents."""

    async def drain(self, name: str, grace: float) -> str | None:
        """Stop agents once what they work on has ended, at the latest after `grace` seconds."""

    async def isolate(self, service: str, isolation: Isolation | None, reason: str) -> str | None:
        """Have the agents of a service run elsewhere, None for where its file says."""


class Ruled(Protocol):
    """A host that can be asked and told."""

    name: str
    roster: Roster
    errors: ErrorLog
    spans: SpanRing
    logbook: LogBook
    live_config: LiveConfig
    editions: Editions
    versions: Versions
    cache: HostCache
    bench: Bench

    @property
    def wishes(self) -> Wished:
        """Return what carries out wishes."""

    @property
    def clock(self) -> Clock:
        """Return the time."""

    def status(self) -> dict[str, Any]:
        """Return this host's row of `mesh status`."""

    def rows(self) -> list[dict[str, Any]]:
        """Return this host's rows of `mesh agents`."""

    def top(self) -> dict[str, Any]:
        """Return what `mesh top` makes its rates of."""

    def blame(self) -> dict[str, Any]:
        """Return who used and who held this host's loop."""

    def table(self) -> dict[str, Any]:
        """Return the directory as this host sees it."""

    def describe(self, cell: Cell) -> dict[str, Any]:
        """Return everything about one cell."""

    def machine(self) -> dict[str, Any]:
        """Return what this host finds where it runs; reads files."""

    async def reach(self) -> list[dict[str, Any]]:
        """Return how this host reaches the others and the registry."""

    def explain(self, service: str) -> dict[str, Any]:
        """Return what this host knows of a service, whether it runs here or not."""

    def policies(self, service: str) -> dict[str, Any]:
        """Return what stands around calls of a service, and what it does now."""

    def tripped(self) -> list[dict[str, Any]]:
        """Return the breakers of this host that are not closed."""

    def edges(self) -> dict[str, Any]:
        """Return who of this host has called what, and what its agents hear."""

    def publish(self, topic: str, payload: Any, origin: str) -> None:
        """Publish an event."""

    def shut_down(self) -> None:
        """Begin to stop this host."""


class Family:
    """Operations on one matter; its public coroutines marked `@operation` are the host's."""

    def __init__(self, ruled: Ruled) -> None:
        self._ruled = ruled

    def _cells(self, name: str) -> tuple[Cell, ...]:
        """Return the cells of a service, or the one of an instance as `nlu#2`.

        Raises `InvalidArgument` with the nearest name if there is none.
        """
        cells = self._ruled.roster.named(name)
        if not cells:
            like = nearest(name, self._ruled.roster.by_name)
            raise InvalidArgument(
                f"{self._ruled.name} has no agent {name}" + (f"; did you mean {like}?" if like else ""),
                path="service",
            )
        return cells

    def _cell(self, name: str) -> Cell:
        """Return the first cell of a service, or the one of an instance; raises as `_cells` does."""
        return self._cells(name)[0]
