"""A host as its control plane and its board see it: cells of an in-memory mesh, real errors, a real Context."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mesh.client import Client
from mesh.config import Isolation, MeshConfig, RegistryConfig
from mesh.directory import Directory
from mesh.metrics import Traffic
from mesh.records import HostRecord
from mesh.supervisor.adjusting.editions import Editions
from mesh.supervisor.adjusting.liveconfig import LiveConfig
from mesh.supervisor.adjusting.versions import Versions
from mesh.supervisor.bell import Bell
from mesh.supervisor.bench.bench import Bench
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cells import Cells
from mesh.supervisor.errors.errorlog import ErrorLog
from mesh.supervisor.errors.reporter import Reporter
from mesh.supervisor.loop.vitals import Pulse
from mesh.supervisor.roster import Roster
from mesh.supervisor.showing.board import Board
from mesh.supervisor.showing.explanation import Explanation
from mesh.supervisor.showing.logbook import LogBook
from mesh.supervisor.showing.policies import PolicyBoard
from mesh.testing import InMemoryMesh
from mesh.transport import profile
from mesh.transport.deadlines import Deadlines
from mesh.transport.link import LinkCallbacks
from mesh.transport.pending import Pending
from mesh.transport.pool import Pool
from mesh.wire import Hello


def _not_here(work: Coroutine[Any, Any, None]) -> None:
    work.close()


def _ignored(service: str) -> None:
    """Nobody is told."""


class NotedWishes:
    """Follows wishes and notes them in `noted`; `warning` is what the registry answers to them."""

    def __init__(self, roster: Roster) -> None:
        self.warning: str | None = None
        self.noted: list[tuple[str, str]] = []
        self._roster = roster

    async def start(self, name: str) -> str | None:
        self.noted.append((name, "running"))
        for cell in self._roster.named(name):
            cell.launch(by_operator=True)
            await cell.settled.wait()
        return self.warning

    async def isolate(self, service: str, isolation: Isolation | None, reason: str) -> str | None:
        self.noted.append((service, isolation or "config"))
        for cell in self._roster.of(service):
            await cell.isolate(isolation or "coroutine", reason)
        return self.warning

    async def stop(self, name: str) -> str | None:
        self.noted.append((name, "stopped"))
        for cell in self._roster.named(name):
            await cell.stop("stopped by an operator")
        return self.warning


    async def drain(self, name: str, grace: float) -> str | None:
        self.noted.append((name, "stopped"))
        for cell in self._roster.named(name):
            await cell.stop("drained by an operator", grace)
        return self.warning


class RuledHost:
    """The host `mainpc` without transport."""

    name = "mainpc"

    def __init__(self, mesh: InMemoryMesh, folder: Path) -> None:
        self.mesh = mesh
        self.roster = mesh._host(self.name).roster
        self.cache = mesh._host(self.name).cache
        self.spans = mesh.spans
        self.clock = mesh.clock
        self.logbook = LogBook(folder / "logs")
        self.errors = ErrorLog(folder / "errors", self.name, lambda *_: None, clock=mesh.clock)
        self.report = Reporter(self.name, self.errors, mesh.clock, lambda *_: None)
        self.context = profile.new_context()
        self.pulse = Pulse(mesh.clock)
        self.directory = Directory(known_names=("plain",), clock=mesh.clock)
        self.board = Board(self.name, 4711, "curve", self.roster, self.directory, self.errors, self.pulse, self.context,
                           mesh._host(self.name).connections, mesh._host(self.name).house.models, mesh.clock)
        calls = mesh._host(self.name).house.calls
        pool = Pool(self.context, None, lambda: Hello("test", "host", self.name, 1), Pending(Deadlines(mesh.clock)),
                    LinkCallbacks(*[lambda *_: None] * 4), mesh.clock, Traffic())
        self.explanation = Explanation(self.name, self.roster, self.directory, pool, calls, self.errors, mesh.clock,
                                       lambda: {"state": "ok"}, lambda service: self.policy_board.state(service))
        self.policy_board = PolicyBoard(self.name, mesh._host(self.name).outgoing, mesh.rules, {}, lambda service: {},
                                        self.report, lambda topic, data, origin: None)
        config = MeshConfig(mesh="test", registry=RegistryConfig(host=self.name, port=1), hosts={}, root=folder,
                            home=folder)
        cells = Cells(config, self.name, self.directory, mesh.rules, Bell(), _not_here, _ignored)
        client = Client("test", mesh._host(self.name).outgoing, mesh.clock)
        self.live_config = LiveConfig(self.name, cells, self.directory, client, Bell(), mesh.clock)
        self.wishes = NotedWishes(self.roster)
        self.published: list[tuple[str, Any, str]] = []
        self.editions = Editions(self.name, folder / "agents", self.report, self.publish)
        self.versions = Versions(self.name, cells, self.editions)
        self.bench = Bench(self.name, cells, client, mesh.clock, folder=folder, spawn=_not_here)
        self.leaving = False

    def announces(self, *services: str) -> None:
        """Have the directory show these cells."""
        rows = [row for row in self.mesh._host(self.name).inventory() if row.service in services]
        self.directory.set_own(HostRecord(self.name, 4711, "127.0.0.1", 1, 2, "", "", "ok", 1), rows)

    def status(self) -> dict[str, Any]:
        return self.board.status(self.leaving)

    def rows(self) -> list[dict[str, Any]]:
        return self.board.rows()

    def row(self, service: str) -> dict[str, Any]:
        """Return the row of one agent."""
        return next(row for row in self.rows() if row["service"] == service)

    def table(self) -> dict[str, Any]:
        return self.board.table({"state": "ok", "endpoint": "tcp://127.0.0.1:7400", "store": "sqlite"})

    def machine(self) -> dict[str, Any]:
        return {"host": self.name}

    async def reach(self) -> list[dict[str, Any]]:
        return [{"host": "pc2", "from": self.name}]

    def top(self) -> dict[str, Any]:
        return self.board.top(self.leaving)

    def blame(self) -> dict[str, Any]:
        return {"host": self.name, "agents": []}

    def explain(self, service: str) -> dict[str, Any]:
        return self.explanation.of(service, self.board.rows(service))

    def policies(self, service: str) -> dict[str, Any]:
        return self.policy_board.of(service)

    def tripped(self) -> list[dict[str, Any]]:
        return self.policy_board.tripped()

    def edges(self) -> dict[str, Any]:
        return self.board.edges(self.mesh._host(self.name).house.calls)

    def describe(self, cell: Cell) -> dict[str, Any]:
        return self.board.describe(cell)

    def publish(self, topic: str, payload: Any, origin: str) -> None:
        self.published.append((topic, payload, origin))

    def shut_down(self) -> None:
        self.leaving = True


@asynccontextmanager
async def ruled_host(folder: Path) -> AsyncIterator[RuledHost]:
    """Give a host whose error log is open."""
    async with InMemoryMesh() as mesh:
        host = RuledHost(mesh, folder)
        host.errors.open()
        try:
            yield host
        finally:
            host.errors.close()
            host.context.term()
