"""A host in a few lines: a real listener with real keys, whose answers the test writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from mesh import wire
from mesh.address import endpoint
from mesh.clock import Clock
from mesh.config import MeshConfig
from mesh.errors import MeshError, UnknownOperation
from mesh.message import Event, Reply, Request, decode, encode
from mesh.metrics import Traffic
from mesh.transport import profile
from mesh.transport.heartbeat import Heartbeat
from mesh.transport.keys import ensure_for
from mesh.transport.listener import Listener, ListenerCallbacks
from mesh.transport.session import Session

Answers = Mapping[str, Callable[[dict[str, Any]], Any]]


class StandIn:
    """Answers `service.operation` from a table; `asked` holds target, arguments and host of each request."""

    def __init__(self, config: MeshConfig, name: str, answers: Answers, *, mesh: str | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any], str | None]] = []
        self.sessions: list[Session] = []
        self._name = name
        self._answers = answers
        self._context = profile.new_context()
        keys = None if config.security == "none" else ensure_for(config, name)
        self._heartbeat = Heartbeat(self._context, keys.allow if keys else {}, clock=Clock(),
                                    on_refused=lambda *_: None)
        self._heartbeat.start()
        self.listener = Listener(
            self._context, keys.own if keys else None, lambda: wire.Hello(mesh or config.mesh, "host", name, 1),
            self._handle, ListenerCallbacks(self._session, lambda *_: None, lambda *_: None), Clock(), Traffic(),
        )
        where = config.hosts[name]
        self.listener.bind(endpoint(where.address, where.port))

    def publish(self, topic: str, payload: Any) -> None:
        """Send an event to who listens."""
        self.listener.publish(Event(topic, encode(payload), f"lamp@{self._name}", 1.0))

    def close(self) -> None:
        """Go away."""
        self.listener.close()
        self._heartbeat.stop()
        self._context.term()

    def _session(self, session: Session, up: bool) -> None:
        if up:
            self.sessions.append(session)

    async def _handle(self, request: Request) -> Reply:
        arguments = decode(request.body)
        self.asked.append((request.target, arguments, request.to_host))
        answer = self._answers.get(request.target)
        if answer is None:
            return Reply(error=UnknownOperation(f"no {request.target}"), host=self._name)
        try:
            return Reply(encode(answer(arguments)), host=self._name)
        except MeshError as error:
            return Reply(error=error, host=self._name)


@asynccontextmanager
async def stand_in(config: MeshConfig, name: str, answers: Answers | None = None, *,
                   mesh: str | None = None) -> AsyncIterator[StandIn]:
    """Let a host stand in for `name`."""
    host = StandIn(config, name, answers or {}, mesh=mesh)
    try:
        yield host
    finally:
        host.close()
