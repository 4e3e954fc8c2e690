"""The smallest host an agent can run on: it remembers what the agent did and answers calls from a table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mesh.agent import AgentContext, CallOptions, StateStore
from mesh.clock import Clock
from mesh.config import Budget, ConnectionsConfig
from mesh.connections import AgentConnections, Connections
from mesh.errorbus import Severity
from mesh.message import Reply, encode
from mesh.models import AgentModels, Shelf
from mesh.state import SqliteStates
from mesh.stream import Stream

T = TypeVar("T")


@dataclass
class Surroundings:
    """An `AgentContext` in a few lines; `answers` maps targets to results."""

    folder: Path
    service: str = "knowledge_base"
    instance: int = 1
    host: str = "mainpc"
    clock: Clock = field(default_factory=Clock)
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("knowledge_base"))
    answers: dict[str, Any] = field(default_factory=dict)
    left: float | None = None
    requests: list[tuple[str, dict[str, Any], float | None, CallOptions]] = field(default_factory=list)
    published: list[tuple[str, Any]] = field(default_factory=list)
    reported: list[tuple[BaseException | str, Severity, dict[str, Any]]] = field(default_factory=list)
    state: StateStore = field(init=False)
    connections: AgentConnections = field(init=False)
    models: AgentModels = field(init=False)

    def __post_init__(self) -> None:
        self.state = SqliteStates(self.folder / "state.db", clock=self.clock)
        self.connections = Connections(ConnectionsConfig(), self.clock).of(self.service, remaining=self.remaining)
        self.models = Shelf(Budget(), self.clock).of(self.service, self.run)

    async def request(
        self, target: str, arguments: dict[str, Any], timeout: float | None, options: CallOptions
    ) -> Any:
        self.requests.append((target, arguments, timeout, options))
        return self.answers[target]

    def stream(self, target: str, arguments: dict[str, Any], timeout: float | None, options: CallOptions) -> Stream:
        self.requests.append((target, arguments, timeout, options))

        async def opening() -> Reply:
            return Reply(encode(self.answers[target]))

        return Stream(opening)

    async def publish(self, topic: str, payload: Any) -> None:
        self.published.append((topic, payload))

    async def report(self, error: BaseException | str, severity: Severity, context: Mapping[str, Any]) -> None:
        self.reported.append((error, severity, dict(context)))

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.to_thread(function, *arguments)

    def remaining(self) -> float | None:
        return self.left


def surroundings(folder: Path, **fields: Any) -> Surroundings:
    """Return surroundings, checked against the protocol by the type checker."""
    made = Surroundings(folder, **fields)
    context: AgentContext = made
    assert context is made
    return made
