"""The process of a cell from inside: one agent, one connection to its host, nothing else.

The agent is held as it would be in its host's own process; only its host is further away. When the connection is lost,
or the pipe that the papers came through ends, this process ends too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from mesh import __version__
from mesh.clock import Clock
from mesh.config import MeshConfig
from mesh.connections import Connections
from mesh.errors import DeadlineExceeded, InvalidArgument
from mesh.message import Answer, Event, Reply, Request, decode, encode
from mesh.metrics import Traffic
from mesh.models import Shelf
from mesh.policy.measure import CallStats
from mesh.state import states_of
from mesh.supervisor.cell.house import Quarters
from mesh.supervisor.cell.loader import Edition
from mesh.supervisor.cell.resident import Resident
from mesh.supervisor.cell.runner import AgentExit
from mesh.supervisor.process.nursery import SUPERVISOR
from mesh.supervisor.process.ownloop import OwnLoop
from mesh.supervisor.process.papers import Papers
from mesh.supervisor.process.upstream import SpanPost, Upstream
from mesh.tracing import Trace
from mesh.transport import profile
from mesh.transport.deadlines import Deadlines
from mesh.transport.link import Link, LinkCallbacks, Peer
from mesh.transport.pending import Pending
from mesh.wire import Hello, event

LOST = 71

log = logging.getLogger("mesh.process")


class Tenant:
    """One agent and its connection; `over` is given the exit code when the process has to end."""

    def __init__(self, papers: Papers, config: MeshConfig, over: Callable[[int], None]) -> None:
        spec = config.agents[papers.service].model_copy(update={"isolation": "coroutine"})
        clock = Clock()
        self._service = spec.service
        self._host = papers.host
        self._over = over
        self._clock = clock
        self._context = profile.new_context()
        self._deadlines = Deadlines(clock)
        self._telling: set[asyncio.Task[Any]] = set()
        hello = Hello(config.mesh, "cell", spec.service, papers.incarnation, (), __version__, papers.token)
        self._link = Link(
            Peer(papers.host, f"ipc://{papers.door}"), self._context, None, lambda: hello,
            LinkCallbacks(self._connected, self._heard, self._events_lost, lambda _, text: log.warning("%s", text)),
            clock, Traffic(), Pending(self._deadlines), self.handle,
        )
        self._upstream = Upstream(spec, papers.host, self._link.exchange, clock)
        folder = config.home / papers.host / "state"
        self._connections = Connections(config.connections, clock)
        self._state = states_of(papers.host, config, folder, self._connections, clock)
        self._stats = CallStats()
        self._own_loop = OwnLoop(spec, self._stats, config.root, clock, self._tell)
        quarters = Quarters(
            overran=self._own_loop.overran,
            name=papers.host, folder=folder, clock=clock, state=self._state, connections=self._connections,
            models=Shelf(config.hosts[papers.host].budget, clock),
            outgoing=self._link.exchange, publish=self._publish,
            spans=SpanPost(papers.host, self._link.exchange, clock, config.tracing.sample),
        )
        self._resident = Resident(spec, quarters, self._upstream, self._stats, Edition(), papers.number)
        self._asked: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {
            "load": self._load, "set_up": self._set_up, "check": self._resident.check,
            "retire": self._resident.retire, "tear_down": self._resident.close, "ping": self._ping,
            "accept": self._resident.accept, "reconfigure": self._reconfigure, "where": self._resident.where,
        }

    def start(self) -> None:
        """Connect to the host, which then says what to do."""
        self._own_loop.start()
        self._connections.start()
        self._link.dial()

    async def close(self) -> None:
        """Let go of everything; the agent was torn down before, if there was time for that."""
        self._own_loop.stop()
        self._link.close("the process ends")
        self._deadlines.close()
        await self._state.close()
        await self._connections.close()
        self._context.term()

    def handle(self, request: Request) -> Answer:
        """Answer the host: the agent's operations, and what the cell asks of its tenancy."""
        if request.service != self._service:
            return self._answer(request)
        if request.deadline <= self._clock.monotonic():  # this loop stood still after the call had arrived
            return Reply(error=DeadlineExceeded(
                f"{request.target} was not begun: its deadline had passed when its process came to it", began="no"
            ))
        return self._resident.execute(request)

    async def _answer(self, request: Request) -> Reply:
        asked = self._asked.get(request.operation) if request.service == SUPERVISOR else None
        if asked is None:
            return Reply(error=InvalidArgument(f"the process of {self._service} is not asked {request.target}"))
        try:
            answer: dict[str, Any] = {"value": await asked(**decode(request.body))}
        except AgentExit as error:
            self._upstream.gone(error)
        except Exception as error:
            answer = {"failure": self._upstream.described(error, "error")}
        return Reply(encode(answer), None, self._host)

    async def _load(self) -> dict[str, Any]:
        return (await self._resident.load()).to_wire()

    async def _set_up(self) -> dict[str, Any] | None:
        await self._resident.set_up()
        return self._resident.settings()

    async def _reconfigure(self, settings: dict[str, Any]) -> dict[str, Any]:
        return {"taken": await self._resident.reconfigure(settings), "settings": self._resident.settings()}

    async def _ping(self) -> dict[str, Any]:
        """Show that the loop turns; return the seconds that the agent's steps have used of it, and what goes on there
        although it was cancelled."""
        return {"loop_s": self._stats.loop_seconds, "stragglers": self._upstream.stragglers.rows()}

    # -- events

    def _publish(self, topic: str, payload: Any, origin: str, trace: Trace | None = None) -> None:
        body = encode(payload, name="payload")
        self._link.send_event(event(Event(topic, body, origin, self._clock.time(), trace)))

    def _heard(self, happened: Event, host: str) -> None:
        self._resident.hear(happened)

    def _events_lost(self, host: str, count: int) -> None:
        self._tell(f"{count} events were lost on their way into the process of {self._service}: too many at once")

    def _tell(self, text: str, operation: str | None = None, context: Mapping[str, Any] | None = None) -> None:
        """Have the host warn of something."""
        telling = asyncio.get_running_loop().create_task(
            self._upstream.report(text, severity="warning", operation=operation, context=context)
        )
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    # -- the connection

    def _connected(self, host: str, up: bool, reason: str) -> None:
        if not up:
            log.warning("the connection to %s is lost (%s); this process ends", host, reason)
            self._over(LOST)
