"""The operations of a host itself, under the reserved service name `supervisor`.

They are declared and checked like an agent's, but belong to no agent: nothing can stop them by name.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Protocol

from mesh.address import nearest
from mesh.agent.operation import operation
from mesh.agent.schema import compile_operations
from mesh.errorbus import ErrorDetail, Severity
from mesh.errors import InvalidArgument, MeshError, ProtocolError, RemoteFailure, UnknownOperation
from mesh.message import Reply, Request, decode
from mesh.supervisor.cell import Cell
from mesh.supervisor.errorlog import ErrorLog
from mesh.topics import check_topic
from mesh.tracing import SpanRing


class Ruled(Protocol):
    """The supervisor as its control plane needs it."""

    name: str
    cells: dict[str, Cell]
    errors: ErrorLog
    spans: SpanRing

    def status(self) -> dict[str, Any]:
        """Return this host's row of `mesh status`."""

    def rows(self) -> list[dict[str, Any]]:
        """Return this host's rows of `mesh agents`."""

    def table(self) -> dict[str, Any]:
        """Return the directory as this host sees it."""

    def describe(self, cell: Cell) -> dict[str, Any]:
        """Return everything about one cell."""

    async def start_agent(self, cell: Cell) -> str | None:
        """Start a cell for an operator; returns a warning, if there is one."""

    async def stop_agent(self, cell: Cell) -> str | None:
        """Stop a cell for an operator; returns a warning, if there is one."""

    def publish(self, topic: str, payload: Any, origin: str) -> None:
        """Publish an event."""

    def shut_down(self) -> None:
        """Begin to stop this host."""


class Control:
    """What operators and other hosts may ask of a host."""

    def __init__(self, ruled: Ruled) -> None:
        self._ruled = ruled
        self._operations = compile_operations(type(self))

    async def handle(self, request: Request) -> Reply:
        """Answer one request; an error takes the place of the value, never the place of the reply."""
        host = self._ruled.name
        asked = self._operations.get(request.operation)
        if asked is None:
            like = nearest(request.operation, self._operations)
            hint = f"did you mean {like}?" if like else f"it has {', '.join(sorted(self._operations))}"
            return Reply(error=UnknownOperation(f"supervisor has no operation {request.operation}; {hint}",
                                                suggestion=like), host=host)
        try:
            arguments = asked.bind(decode(request.body))
            value = await getattr(self, asked.name)(**arguments)
            return Reply(asked.encode_result(value), host=host)
        except ProtocolError as error:
            return Reply(error=InvalidArgument(f"{request.target}: {error}", path="arguments"), host=host)
        except MeshError as error:
            known = error if error.code else RemoteFailure(error.message, type=type(error).__name__)
            return Reply(error=known, host=host)

    @operation(idempotent=True)
    async def status(self) -> dict[str, Any]:
        """How this host is."""
        return self._ruled.status()

    @operation(idempotent=True)
    async def agents(self) -> list[dict[str, Any]]:
        """How each agent of this host is."""
        return self._ruled.rows()

    @operation(idempotent=True)
    async def directory(self) -> dict[str, Any]:
        """Hosts and instances as this host knows them, also while the registry is away."""
        return self._ruled.table()

    @operation(idempotent=True)
    async def describe(self, service: str) -> dict[str, Any]:
        """An agent's operations, events, dependencies and settings."""
        return self._ruled.describe(self._cell(service))

    @operation(idempotent=True)
    async def agent_start(self, service: str) -> dict[str, Any]:
        """Start an agent, also out of quarantine, with a fresh budget; waits for the outcome."""
        cell = self._cell(service)
        warning = await self._ruled.start_agent(cell)
        return self._outcome(cell, warning)

    @operation(idempotent=True)
    async def agent_stop(self, service: str) -> dict[str, Any]:
        """Drain and stop an agent; it stays stopped until an operator starts it."""
        cell = self._cell(service)
        warning = await self._ruled.stop_agent(cell)
        return self._outcome(cell, warning)

    @operation
    async def agent_restart(self, service: str) -> dict[str, Any]:
        """Stop an agent and start it anew with a fresh budget."""
        cell = self._cell(service)
        await cell.stop("restarted by an operator")
        warning = await self._ruled.start_agent(cell)
        return self._outcome(cell, warning)

    @operation(idempotent=True)
    async def errors(
        self, service: str | None = None, severity: str | None = None, limit: int = 100
    ) -> list[dict[str, Any]]:
        """The kept errors of this host in groups, the latest first."""
        least = None if severity is None else _severity(severity)
        return [each.model_dump(mode="json")
                for each in self._ruled.errors.groups(service=service, severity=least, limit=limit)]

    @operation(idempotent=True)
    async def errors_since(self, id: str | None = None) -> list[dict[str, Any]]:
        """The kept errors of this host after one of them, all of them for null."""
        return [record.event() for record in self._ruled.errors.since(id)]

    @operation(idempotent=True)
    async def error(self, id: str) -> dict[str, Any] | None:
        """One error of this host with its traceback and what was done about it, null if it is not kept."""
        record = self._ruled.errors.one(id)
        return None if record is None else _detail(record)

    @operation(idempotent=True)
    async def spans(self, trace_id: str) -> list[dict[str, Any]]:
        """What this host kept of one trace, in order."""
        return [asdict(span) for span in self._ruled.spans.of(trace_id)]

    @operation
    async def publish_event(self, topic: str, data: Any = None) -> None:
        """Publish an event for the caller."""
        check_topic(topic)
        self._ruled.publish(topic, data, f"operator@{self._ruled.name}")

    @operation
    async def shutdown(self) -> None:
        """Drain and stop this host; answers when that has begun."""
        self._ruled.shut_down()

    def _cell(self, service: str) -> Cell:
        cell = self._ruled.cells.get(service)
        if cell is None:
            like = nearest(service, self._ruled.cells)
            raise InvalidArgument(
                f"{self._ruled.name} has no agent {service}" + (f"; did you mean {like}?" if like else ""),
                path="service",
            )
        return cell

    def _outcome(self, cell: Cell, warning: str | None) -> dict[str, Any]:
        return {"service": cell.service, "host": self._ruled.name, "state": cell.state.value,
                "reason": cell.lifecycle.reason, "warning": warning}


def _severity(text: str) -> Severity:
    try:
        return Severity(text)
    except ValueError:
        like = nearest(text, list(Severity))
        raise InvalidArgument(
            f"severity is {text!r}{f', did you mean {like}?' if like else ''}; there are {', '.join(Severity)}",
            path="severity",
        ) from None


def _detail(record: ErrorDetail) -> dict[str, Any]:
    return record.model_dump(mode="json")
