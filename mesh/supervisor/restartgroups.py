"""The restart groups of one host at work: who is stopped and started again with whom, in rounds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from mesh.clock import Clock
from mesh.config import MeshConfig, start_order
from mesh.supervisor.bell import Bell
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cell.house import Report
from mesh.supervisor.cell.lifecycle import State
from mesh.supervisor.restartgroup import RestartGroup, Spent

WAIT = 3600.0

Spawn = Callable[[Coroutine[Any, Any, None]], None]


class RestartGroups:
    """The restart groups that have members on this host.

    `cells` are all of the host by name; `bell` rings when one changes; `wanted` tells whether an operator wants a
    service to run; `spawn` gives a coroutine a task with an owner.
    """

    def __init__(
        self, config: MeshConfig, host: str, cells: Mapping[str, Cell], *, clock: Clock, bell: Bell,
        report: Report, wanted: Callable[[str], bool], spawn: Spawn,
    ) -> None:
        self._clock = clock
        self._cells = cells
        self._rounds: dict[str, Round] = {}
        for name, group in config.restart_groups.items():
            services = start_order(config, host, group.agents)
            rounds = Round(RestartGroup(name, group, functools.partial(self._names, services)), cells, clock=clock,
                           bell=bell, report=report, wanted=wanted, spawn=spawn)
            self._rounds.update(dict.fromkeys(services, rounds))

    def _names(self, services: Iterable[str]) -> list[str]:
        return [name for service in services for name, cell in self._cells.items() if cell.service == service]

    def failed(self, name: str, given_up: bool) -> str | None:
        """Note that a cell failed, and whether it is started again; returns why it is not, if its group is spent."""
        rounds = self._round(name)
        return None if rounds is None else rounds.failed(name, given_up)

    def renewed(self, name: str) -> None:
        """Note that an operator starts a cell: its group has a fresh budget."""
        rounds = self._round(name)
        if rounds is not None:
            rounds.group.renew()

    def row(self, name: str) -> dict[str, Any] | None:
        """Return the group of a cell, None if it is in none."""
        rounds = self._round(name)
        if rounds is None:
            return None
        group = rounds.group
        return {"name": group.name, **group.config.model_dump(exclude={"agents"}), "members": list(group.members()),
                "failures": group.failures(self._clock.monotonic())}

    def _round(self, name: str) -> Round | None:
        cell = self._cells.get(name)
        return None if cell is None else self._rounds.get(cell.service)


class Round:
    """One group: `due` are to be restarted with `causes`, who recover by themselves; `down` are stopped for that."""

    def __init__(self, group: RestartGroup, cells: Mapping[str, Cell], *, clock: Clock, bell: Bell, report: Report,
                 wanted: Callable[[str], bool], spawn: Spawn) -> None:
        self.group = group
        self._cells = cells
        self._clock = clock
        self._bell = bell
        self._report = report
        self._wanted = wanted
        self._spawn = spawn
        self._due: set[str] = set()
        self._down: set[str] = set()
        self._causes: set[str] = set()
        self._at_work = False

    def failed(self, name: str, given_up: bool) -> str | None:
        """Note a failure; returns why the group is given up, if it is."""
        self._due.discard(name)
        self._down.discard(name)
        decision = self.group.failed(name, self._clock.monotonic())
        if isinstance(decision, Spent):
            self._give_up([each for each in self.group.members() if each != name], decision.reason)
            self._tell(name, decision.reason)
            return decision.reason
        if given_up:
            self._give_up(decision.names, f"{name}, which it runs with, is given up ({self.group})")
            return None
        self._causes.add(name)
        self._due.update(each for each in decision.names if self._runs(each))
        if self._due and not self._at_work:
            self._at_work = True
            self._spawn(self._work())
        return None

    def _tell(self, name: str, reason: str) -> None:
        given = ", ".join(self.group.members())
        self._report(f"{self.group} is given up: {reason}", severity="critical", service=self._cells[name].service,
                     decision=f"quarantined: {given}; `mesh agent start SERVICE` starts each again",
                     occasion="quarantine")

    def _runs(self, name: str) -> bool:
        """Tell whether a member runs or starts; one that has failed too comes back by itself."""
        return self._cells[name].state in (State.STARTING, State.READY, State.DEGRADED)

    async def _work(self) -> None:
        """Stop who is due, the last to start first; start them again when those have recovered who failed."""
        try:
            while self._due:
                waiting = [name for name in self.group.members() if name in self._due - self._down]
                if waiting:
                    self._down.add(waiting[-1])
                    await self._cells[waiting[-1]].stop(f"restarted with {', '.join(sorted(self._causes))} "
                                                        f"({self.group})")
                elif any(self._recovers(name) for name in self._causes):
                    await self._bell.wait(WAIT)
                else:
                    self._start_again()
        finally:
            self._at_work = False

    def _recovers(self, name: str) -> bool:
        return name in self._cells and self._cells[name].state in (State.FAILED, State.BACKOFF, State.STARTING)

    def _start_again(self) -> None:
        back = [name for name in self.group.members() if name in self._down]
        self._due.clear()
        self._down.clear()
        self._causes.clear()
        for name in back:
            if self._wanted(self._cells[name].service):
                self._cells[name].launch()

    def _give_up(self, names: Iterable[str], reason: str) -> None:
        given = [name for name in names if name in self._down or not self._cells[name].at_rest]
        self._due.difference_update(given)
        self._down.difference_update(given)
        if given:
            self._spawn(self._given_up(given, reason))

    async def _given_up(self, names: list[str], reason: str) -> None:
        for name in reversed(names):
            if name in self._cells:
                await self._cells[name].stop(reason)
                self._cells[name].life.give_up(reason)
