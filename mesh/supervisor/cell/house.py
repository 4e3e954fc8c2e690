"""What a host gives each of its cells: one record, handed down, so that no cell knows the supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mesh.client import Calls
from mesh.clock import Clock
from mesh.config import AgentSpec
from mesh.connections import Connections
from mesh.message import Responder
from mesh.models import Shelf
from mesh.policy.rules import RuleBook
from mesh.policy.turn import Turn
from mesh.state import StateStore
from mesh.supervisor.cell.runner import Overran
from mesh.supervisor.cell.stagger import Stagger
from mesh.supervisor.errors.notice import Occasion
from mesh.supervisor.process.nursery import Nursery
from mesh.tracing import SpanRing, Trace
from mesh.transport.deadlines import Deadlines


class Report(Protocol):
    """Puts an error on the error bus and returns its id."""

    def __call__(
        self, error: BaseException | str, *, severity: str, service: str, operation: str | None = None,
        trace_id: str | None = None, context: Mapping[str, Any] | None = None, decision: str | None = None,
        occasion: Occasion | None = "error",
    ) -> str:
        """Report `error` of `service`."""


class Publish(Protocol):
    """Sends an event of this host to whoever listens, as part of `trace`."""

    def __call__(self, topic: str, payload: Any, origin: str, trace: Trace | None = None, /) -> None:
        """Publish `payload`; `origin` is `service@host`."""


@dataclass(frozen=True, kw_only=True)
class Quarters:
    """What an agent may use of the process it runs in, whichever that is.

    `name` is the host's; `outgoing` carries the agents' calls, which `calls` counts by service; `publish` takes topic,
    payload and origin; `overran` hears of a step that kept the loop for long; `connections` lead out of the mesh;
    `models` are those of the process. `loading` is held by whoever loads a class: a second thread would only wait.
    """

    name: str
    folder: Path
    clock: Clock
    state: StateStore
    connections: Connections
    models: Shelf
    outgoing: Responder
    publish: Publish
    spans: SpanRing
    calls: dict[str, Calls] = field(default_factory=dict)
    overran: Overran | None = None
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, kw_only=True)
class House(Quarters):
    """The host as its cells see it.

    `changed` is told of the service that has a new state, `crashed` of one that crashed while it ran; `missing` says
    which soft dependency is away, or None; `dependencies_ready` waits for the hard ones; `nursery` is where processes
    of cells come in, None where none can; `turn` is what one turn of the loop has time for, shared by its cells.
    `stagger` keeps restarts apart; `failed` is told of each failure, and whether it is the last, and says why it is in
    any case, or None; `renewed` of a start by an operator.
    """

    deadlines: Deadlines
    rules: RuleBook
    report: Report
    changed: Callable[[str], None]
    missing: Callable[[AgentSpec], str | None]
    dependencies_ready: Callable[[AgentSpec], Awaitable[None]]
    next_incarnation: Callable[[], int]
    nursery: Nursery | None = None
    turn: Turn | None = None
    crashed: Callable[[str], None] = lambda service: None
    stagger: Stagger = field(default_factory=Stagger)
    failed: Callable[[str, bool], str | None] = lambda service, given_up: None
    renewed: Callable[[str], None] = lambda service: None
