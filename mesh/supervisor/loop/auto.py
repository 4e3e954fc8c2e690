"""`isolation: auto`: agents that hold the loop or crash are moved to where they harm nobody, and it is said why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from mesh.clock import Clock
from mesh.config import Rung
from mesh.errors import MeshError
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cell.house import Report
from mesh.supervisor.loop.demotion import Decision, Demotion
from mesh.supervisor.loop.hold import Hold

AUTO = "auto"

Isolate = Callable[[Cell, Rung, str], Awaitable[object]]


class Auto:
    """Keeps a record of each agent whose config says `auto`; `isolate` moves one, in a task that `spawn` owns.

    An agent that an operator has moved meanwhile begins a new record where it is now.
    """

    def __init__(
        self, cells: Mapping[str, Cell], *, clock: Clock, report: Report, isolate: Isolate,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._cells = cells
        self._clock = clock
        self._report = report
        self._isolate = isolate
        self._spawn = spawn
        self._records: dict[str, Demotion] = {}
        self._moving: set[str] = set()

    def held(self, cell: Cell, hold: Hold) -> None:
        """Take note that an agent held the loop."""
        record = self._record(cell)
        if record is not None:
            self._follow(cell, record.held(hold, self._clock.monotonic()))

    def crashed(self, name: str) -> None:
        """Take note that an agent crashed while it ran."""
        cell = self._cells.get(name)
        record = None if cell is None else self._record(cell)
        if cell is not None and record is not None:
            self._follow(cell, record.crashed(self._clock.monotonic()))

    def _record(self, cell: Cell) -> Demotion | None:
        if cell.spec.isolation != AUTO or cell.name in self._moving:
            return None
        record = self._records.get(cell.name)
        if record is None or record.isolation != cell.isolation:
            record = self._records[cell.name] = Demotion(cell.isolation)
        return record

    def _follow(self, cell: Cell, decision: Decision | None) -> None:
        if decision is None:
            return
        before, now = cell.isolation, decision.isolation
        self._moving.add(cell.name)
        self._report(
            f"{cell.name} moves from {before} to {now}, because {decision.reason}; `isolation: {now}` in "
            f"{_file(cell)} makes that last, `mesh agent isolate {cell.service} config` takes it back",
            severity="warning", service=cell.service, decision=f"isolation: auto, {before} → {now}",
        )
        self._spawn(self._move(cell, decision))

    async def _move(self, cell: Cell, decision: Decision) -> None:
        try:
            await self._isolate(cell, decision.isolation, f"auto: {decision.reason}")
        except MeshError as error:
            self._report(f"{cell.name} could not be moved: {error}", severity="error", service=cell.service)
        finally:
            self._moving.discard(cell.name)


def _file(cell: Cell) -> str:
    file = cell.spec.config_file
    return f"config/agents/{file.name}" if file is not None else "its config"
