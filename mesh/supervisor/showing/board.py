"""What a host shows of itself: the rows behind `mesh status`, `mesh agents` and `mesh describe`."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from mesh import __version__, wire
from mesh.client import Calls
from mesh.clock import Clock
from mesh.config import AgentSpec
from mesh.connections import Connections
from mesh.directory import Directory
from mesh.models import Shelf
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cell.lifecycle import State
from mesh.supervisor.errors.errorlog import ErrorLog
from mesh.supervisor.loop.vitals import Pulse, contexts, rss_mb
from mesh.supervisor.roster import Roster
from mesh.transport import profile

RECENT = 300.0
LATEST = 50


class Board:
    """One host's figures, each read from what it stands for when somebody asks."""

    def __init__(
        self, name: str, incarnation: int, security: str, roster: Roster, directory: Directory,
        errors: ErrorLog, pulse: Pulse, context: profile.Context, connections: Connections, models: Shelf,
        clock: Clock, group: Callable[[str], dict[str, Any] | None] = lambda service: None,
    ) -> None:
        self._name = name
        self._incarnation = incarnation
        self._security = security
        self._roster = roster
        self._directory = directory
        self._errors = errors
        self._pulse = pulse
        self._context = context
        self._connections = connections
        self._models = models
        self._clock = clock
        self._group = group
        self._started = clock.monotonic()
        self.revision: str | None = None

    def status(self, leaving: bool) -> dict[str, Any]:
        """Return the host's row of `mesh status`."""
        sockets, helpers = profile.census(self._context)
        counts = Counter(cell.state for cell in self._roster.by_name.values())
        return {
            "name": self._name, "state": "leaving" if leaving else "ok", "incarnation": self._incarnation,
            "pid": os.getpid(), "uptime_s": round(self._clock.monotonic() - self._started, 1),
            "loop_lag_ms": round(self._pulse.lag * 1000, 1), "rss_mb": rss_mb(), "contexts": contexts(),
            "sockets": sockets, "helpers": helpers, "security": self._security, "version": __version__,
            "protocol": wire.VERSION, "revision": self.revision,
            "agents": {state.value: counts.get(state, 0) for state in State},
            "required_down": sorted(service for service in self._roster.services() if self._down(service)),
            "connections": [one.to_wire() for one in self._connections.figures()],
            "models": self._models.devices(),
            "errors_last_5m": self._errors.count(self._clock.time() - RECENT),
        }

    def _down(self, service: str) -> bool:
        """Tell whether a service is required and none of its instances here serves."""
        cells = self._roster.of(service)
        return cells[0].spec.required and not any(cell.state.serving for cell in cells)

    def _each(self) -> list[Cell]:
        """Return every cell, by service and number."""
        return [cell for service in sorted(self._roster.services()) for cell in self._roster.of(service)]

    def rows(self, service: str | None = None) -> list[dict[str, Any]]:
        """Return the host's rows of `mesh agents`, of one service or of all."""
        return [self.row(cell) for cell in self._each() if service in (None, cell.service)]

    def row(self, cell: Cell) -> dict[str, Any]:
        """Return one agent's row of `mesh agents`."""
        return {
            "service": cell.service, "host": self._name, "instance": cell.number, "state": cell.state.value,
            "isolation": cell.isolation,
            "isolation_set": cell.spec.isolation, "isolation_origin": cell.isolation_origin,
            "required": cell.spec.required, "incarnation": cell.incarnation, "pid": cell.pid,
            "memory_mb": cell.memory_mb,
            "restart": cell.spec.restart, "restart_group": (self._group(cell.service) or {}).get("name"),
            "failures": cell.failures, "budget": cell.spec.restarts.budget,
            "window_s": cell.spec.restarts.within_s, "next_start_s": self._next_start(cell),
            "restarts": cell.restarts, "inbox": len(cell.inbox), "calls": cell.stats.calls,
            "errors": cell.stats.errors, "stragglers": len(cell.stragglers),
            "p50_ms": _ms(cell.stats.latency.quantile(0.5)),
            "p99_ms": _ms(cell.stats.latency.quantile(0.99)), "loop_ms": round(cell.stats.loop_seconds * 1000, 1),
            "reason": cell.lifecycle.reason or None, "last_error": cell.last_error,
        }

    def _next_start(self, cell: Cell) -> float | None:
        """Return in how many seconds a cell in backoff is started again."""
        at = cell.life.next_start
        return None if at is None else round(max(0.0, at - self._clock.monotonic()), 1)

    def top(self, leaving: bool) -> dict[str, Any]:
        """Return what `mesh top` makes its rates of: counts so far, at a moment of this host's clock."""
        return {
            "at": self._clock.monotonic(), "cpu_s": time.process_time(), "host": self.status(leaving),
            "agents": [self._counts(cell) for cell in self._each()],
            "errors": [record.event() for record in self._errors.since(None) if not record.muted][-LATEST:],
        }

    def _counts(self, cell: Cell) -> dict[str, Any]:
        return {
            "service": cell.service, "instance": cell.number, "state": cell.state.value,
            "reason": cell.lifecycle.reason or None, "isolation": cell.isolation, "inbox": len(cell.inbox),
            "loop_s": cell.stats.loop_seconds,
            "operations": [
                {"operation": name, "errors": sum(one.errors.values()), "seconds": one.latency.sum,
                 "buckets": [[at, count] for at, count in enumerate(one.latency.counts) if count]}
                for name, one in cell.stats.operations.items()
            ],
        }

    def table(self, registry: Mapping[str, Any]) -> dict[str, Any]:
        """Return hosts and instances as this host knows them."""
        epoch, revision = self._directory.position
        services = sorted(set(self._directory.services()))
        return {
            "epoch": epoch, "revision": revision, "registry": dict(registry),
            "hosts": [row.to_wire() for row in self._directory.hosts()],
            "instances": [row.to_wire() for service in services for row in self._directory.instances(service)],
        }

    def edges(self, calls: Mapping[str, Calls]) -> dict[str, Any]:
        """Return what each agent has called and with which outcome, and the topics it hears."""
        return {
            "calls": [
                {"caller": caller, "host": self._name, "service": edge.service, "operation": edge.operation,
                 "calls": edge.calls, "errors": edge.errors, "last_error": edge.last_error}
                for caller, made in sorted(calls.items()) for _, edge in sorted(made.edges.items()) if edge.calls
            ],
            "uncounted": {caller: made.uncounted for caller, made in sorted(calls.items()) if made.uncounted},
            "hears": [{"service": service, "host": self._name, "pattern": pattern, "group": group}
                      for service in sorted(self._roster.services()) for group, pattern in self._heard(service)],
        }

    def _heard(self, service: str) -> list[tuple[str | None, str]]:
        """Return the patterns that the instances of a service hear, each once, with its group."""
        return list(dict.fromkeys(heard for cell in self._roster.of(service) for heard in cell.offer.heard()))

    def describe(self, cell: Cell) -> dict[str, Any]:
        """Return everything there is to know about one agent of this host."""
        spec = cell.spec
        return {
            **self.row(cell), "purpose": cell.offer.purpose, "class": f"{_file(spec)}:{spec.class_name}",
            "required": spec.required,
            "operations": [cell.offer.operations[name].describe() for name in sorted(cell.offer.operations)],
            "subscriptions": [one.describe() for one in cell.offer.subscriptions],
            "timers": [timer.describe() for timer in cell.offer.timers],
            "depends_on": [{"service": one.service, "soft": one.soft} for one in spec.depends_on],
            "settings": _settings(cell), "limits": spec.limits.model_dump(),
            "supervision": {"restart": spec.restart, **spec.restarts.model_dump()},
            "restart_group": self._group(cell.service), "origin": dict(spec.origin),
            "connections": [one.to_wire() for one in self._connections.figures() if cell.service in one.users],
            "models": self._models.lines(cell.service), "goes_on": cell.stragglers.rows(),
            "instances": [row.to_wire() for row in self._directory.instances(cell.service)],
        }


def _file(spec: AgentSpec) -> str:
    """Return an agent's file as its config names it, below the project."""
    root = spec.config_file.parents[2] if spec.config_file else spec.file.parent
    return str(spec.file.relative_to(root) if spec.file.is_relative_to(root) else spec.file)


def _settings(cell: Cell) -> list[dict[str, Any]]:
    """Return each setting in force with where its value came from."""
    origin = cell.spec.origin
    return [{"key": key, "value": value, "origin": origin.get(f"settings.{key}", "default")}
            for key, value in sorted(cell.settings().items())]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
