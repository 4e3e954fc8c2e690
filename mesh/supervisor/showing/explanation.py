"""What one host knows of one service: its cell with history, who else offers it, whether a call from here would go
through and why not, and what of it went wrong. `mesh why` puts the hosts' views together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mesh.address import nearest
from mesh.client import Calls
from mesh.clock import Clock
from mesh.config import AgentSpec
from mesh.directory import Directory
from mesh.errors import MeshError
from mesh.records import USABLE_STATES
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cell.lifecycle import State
from mesh.supervisor.errors.errorlog import ErrorLog
from mesh.supervisor.roster import Roster
from mesh.transport.pool import Pool

ERRORS = 3

Row = dict[str, Any]


class Explanation:
    """The facts of one host, read when somebody asks."""

    def __init__(self, name: str, roster: Roster, directory: Directory, pool: Pool,
                 calls: Mapping[str, Calls], errors: ErrorLog, clock: Clock, registry: Callable[[], Row],
                 policies: Callable[[str], Row]) -> None:
        self._name = name
        self._roster = roster
        self._directory = directory
        self._pool = pool
        self._calls = calls
        self._errors = errors
        self._clock = clock
        self._registry = registry
        self._policies = policies

    def of(self, service: str, rows: Sequence[Row]) -> Row:
        """Return what this host knows of `service`; `rows` are its lines of `mesh agents`.

        `cells` has every instance, `cell` the first that serves, else the first; `desired` is by place, as
        `pc2` and `pc2#2`.
        """
        epoch, revision = self._directory.position
        cells = [self._cell(cell, row) for cell, row in zip(self._roster.of(service), rows, strict=True)]
        goes_to, refusal = self._choice(service)
        return {
            "host": self._name, "time": self._clock.time(), "epoch": epoch, "revision": revision,
            "registry": self._registry(), "known": self._directory.is_known(service),
            "nearest": nearest(service, self._directory.services()), "goes_to": goes_to, "refusal": refusal,
            "instances": [self._instance(each.to_wire()) for each in self._directory.instances(service)],
            "hosts": [{**each.to_wire(), "reachable": self._directory.is_reachable(each.name)}
                      for each in self._directory.hosts()],
            "links": {peer: {"state": link.state, "reason": link.reason} for peer, link in self._pool.links.items()},
            "desired": {_place(name, host): desired
                        for (name, host), desired in self._directory.view.desired.items()
                        if name.partition("#")[0] == service},
            "cell": next((one for one in cells if one["state"] in USABLE_STATES), cells[0] if cells else None),
            "cells": cells,
            "callers": [
                {"caller": caller, "host": self._name, "operation": edge.operation, "calls": edge.calls,
                 "errors": edge.errors, "last_error": edge.last_error}
                for caller, made in sorted(self._calls.items()) for edge in made.edges.values()
                if edge.service == service and edge.calls
            ],
            **self._policies(service),
            "errors": [each.model_dump(mode="json") for each in self._errors.groups(service=service, limit=ERRORS)],
        }

    def _choice(self, service: str) -> tuple[str | None, str | None]:
        """Return the host that a call from here would go to now if no other is under way, or why it would not go."""
        try:
            best = [row.host for row in self._directory.candidates(service)[0]]
            return self._name if self._name in best else best[0], None
        except MeshError as error:
            return None, error.message

    def _instance(self, row: Row) -> Row:
        return {name: row[name] for name in ("host", "number", "state", "reason", "incarnation", "operations")}

    def _cell(self, cell: Cell, row: Row) -> Row:
        """Return the cell's row with what came before, and what it depends on."""
        return {
            **row, "concurrency": cell.spec.limits.concurrency, "history": list(cell.history),
            "purpose": cell.offer.purpose, "operations": sorted(cell.offer.operations),
            "goes_on": cell.stragglers.rows(),
            "depends_on": [self._dependency(each.service, each.soft) for each in cell.spec.depends_on],
            "waits_for": [each.service for each in self._waited_for(cell.spec)] if cell.state is State.STARTING else [],
        }

    def _dependency(self, service: str, soft: bool) -> Row:
        goes_to, refusal = self._choice(service)
        return {"service": service, "soft": soft, "goes_to": goes_to, "refusal": refusal}

    def _waited_for(self, spec: AgentSpec) -> list[Any]:
        """Return the hard dependencies on this host that do not serve yet; the start waits for them."""
        return [each for each in spec.depends_on if not each.soft and (cells := self._roster.of(each.service))
                and not any(cell.state.serving for cell in cells)]


def _place(name: str, host: str) -> str:
    """Return the place that a wish is for: the host for a whole service, `pc2#2` for one instance."""
    _, mark, number = name.partition("#")
    return f"{host}{mark}{number}"
