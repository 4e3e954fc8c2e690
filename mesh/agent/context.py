"""What an agent needs of the host it runs on; the supervisor's cell gives it, and so does a test."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mesh.clock import Clock
from mesh.connections import AgentConnections
from mesh.errorbus import Severity
from mesh.models import AgentModels
from mesh.policy.options import CallOptions
from mesh.state import StateStore
from mesh.stream import Stream

T = TypeVar("T")


class AgentContext(Protocol):
    """The surroundings of one running instance of one service."""

    @property
    def service(self) -> str:
        """The name this agent is called by."""

    @property
    def instance(self) -> int:
        """Its number among the instances of the service on its host, from 1."""

    @property
    def host(self) -> str:
        """The host it runs on."""

    @property
    def folder(self) -> Path:
        """A folder of this service alone, which exists."""

    @property
    def clock(self) -> Clock:
        """The time."""

    @property
    def log(self) -> logging.Logger:
        """The logger of this service."""

    @property
    def state(self) -> StateStore:
        """The saved states of the host."""

    @property
    def connections(self) -> AgentConnections:
        """What the agent reaches outside the mesh."""

    @property
    def models(self) -> AgentModels:
        """The models of the agent."""

    def request(
        self, target: str, arguments: dict[str, Any], timeout: float | None, options: CallOptions
    ) -> Coroutine[Any, Any, Any]:
        """Call `service.operation` and return its decoded result; raises the error of the call.

        The deadline is the smaller of `timeout` (seconds) and what is left of the call being answered.
        """

    def stream(self, target: str, arguments: dict[str, Any], timeout: float | None, options: CallOptions) -> Stream:
        """Return the items of `service.operation`; `timeout` is for the opening, then for each wait for an item."""

    async def publish(self, topic: str, payload: Any) -> None:
        """Send an event to whoever listens; the topic is known to be well formed."""

    async def report(self, error: BaseException | str, severity: Severity, context: Mapping[str, Any]) -> None:
        """Put an error on the error bus."""

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a blocking function in the thread pool of this agent."""

    def remaining(self) -> float | None:
        """Return the seconds left to answer the call being handled, None outside a call."""
