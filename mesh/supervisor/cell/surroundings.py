"""The agent's view of its host: the `AgentContext` that a running cell gives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mesh.client import Calls, Client, current_trace, remaining, running
from mesh.clock import Clock
from mesh.connections import AgentConnections
from mesh.errorbus import Severity
from mesh.models import AgentModels
from mesh.policy.options import CallOptions
from mesh.state import StateStore
from mesh.stream import Stream
from mesh.supervisor.cell.house import Quarters
from mesh.supervisor.cell.runner import Runner
from mesh.supervisor.cell.tenancy import Landlord

T = TypeVar("T")


class Surroundings:
    """What one instance of one service may use of its host."""

    def __init__(self, service: str, quarters: Quarters, landlord: Landlord, runner: Runner, number: int = 1
                 ) -> None:
        self._quarters = quarters
        self._landlord = landlord
        self._runner = runner
        self._service = service
        self._number = number
        self._origin = f"{service}@{quarters.name}"
        self._client = Client(self._origin, quarters.outgoing, quarters.clock,
                              quarters.calls.setdefault(service, Calls()), quarters.spans)
        self._log = logging.getLogger(f"mesh.agent.{service}")
        self._folder = quarters.folder / service
        self._connections = quarters.connections.of(
            service, carry=None if runner.at_home else runner.home, remaining=self.remaining
        )
        self._models = quarters.models.of(service, runner.blocking, None if runner.at_home else runner.home)

    @property
    def service(self) -> str:
        """The name this agent is called by."""
        return self._service

    @property
    def instance(self) -> int:
        """Its number among the instances of the service on its host, from 1."""
        return self._number

    @property
    def host(self) -> str:
        """The host it runs on."""
        return self._quarters.name

    @property
    def folder(self) -> Path:
        """A folder of this service alone, which exists."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    @property
    def clock(self) -> Clock:
        """The time."""
        return self._quarters.clock

    @property
    def log(self) -> logging.Logger:
        """The logger of this service."""
        return self._log

    @property
    def state(self) -> StateStore:
        """The saved states of the host."""
        return self._quarters.state

    @property
    def connections(self) -> AgentConnections:
        """What the agent reaches outside the mesh."""
        return self._connections

    @property
    def models(self) -> AgentModels:
        """The models of the agent."""
        return self._models

    def request(
        self, target: str, arguments: dict[str, Any], timeout: float | None, options: CallOptions
    ) -> Coroutine[Any, Any, Any]:
        """Call `service.operation` and return its decoded result; raises the error of the call."""
        place, wishes = options.to_host, options.to_wire()
        if self._runner.at_home:
            return self._client.request(target, arguments, timeout, to_host=place, options=wishes)
        return self._runner.home(
            lambda: self._client.request(target, arguments, timeout, to_host=place, options=wishes)
        )

    def stream(self, target: str, arguments: dict[str, Any], timeout: float | None, options: CallOptions) -> Stream:
        """Return the items of `service.operation`."""
        return self._client.stream(target, arguments, timeout, to_host=options.to_host, options=options.to_wire(),
                                   home=None if self._runner.at_home else self._runner.home)

    async def publish(self, topic: str, payload: Any) -> None:
        """Send an event to whoever listens."""
        trace = current_trace()
        if self._runner.at_home:
            self._quarters.publish(topic, payload, self._origin, trace)
            return

        async def send() -> None:
            self._quarters.publish(topic, payload, self._origin, trace)

        await self._runner.home(send)

    async def report(self, error: BaseException | str, severity: Severity, context: Mapping[str, Any]) -> None:
        """Put an error on the error bus."""
        told = running()

        async def send() -> None:
            await self._landlord.report(error, severity=severity, context=context, operation=told.get("operation"),
                                        trace_id=told.get("trace_id"))

        await self._runner.home(send)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a blocking function in the thread pool of this agent."""
        return await self._runner.blocking(function, *arguments)

    def remaining(self) -> float | None:
        """Return the seconds left to answer the call being handled, None outside a call."""
        return remaining(self._quarters.clock)
