"""A mesh in one process without a socket: real cells, the real encoder, a clock turned by hand.

Agents run as they do on a host: the same loading, validation, policies, events and life. Several hosts can be told
apart and cut off from each other.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from mesh.agent.agent import Agent
from mesh.cache.shared import shared_in
from mesh.client import Client
from mesh.config import AgentSpec, Budget, ConnectionsConfig, Limits, Policies, RestartsConfig, find_root, load
from mesh.connections import Connections, Target
from mesh.directory import Directory
from mesh.errorbus import ErrorDetail, Severity, describe, make_id, topic_of
from mesh.errors import InvalidArgument, Unavailable, Unreachable
from mesh.message import Answer, Event, Reply, Request, replied
from mesh.models import Shelf
from mesh.policy.cache import HostCache
from mesh.policy.resolve import Resolver
from mesh.policy.rules import RuleBook
from mesh.policy.stack import Outgoing
from mesh.policy.turn import Turn
from mesh.records import HostRecord, InstanceRecord
from mesh.state import SqliteStates
from mesh.stream import Stream
from mesh.supervisor.bus import EventBus
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cell.house import House
from mesh.supervisor.cell.loader import load_agent_class
from mesh.supervisor.cell.resident import Resident
from mesh.supervisor.errors.notice import Occasion
from mesh.supervisor.groups import Groups
from mesh.supervisor.incarnation import counting
from mesh.supervisor.roster import Roster
from mesh.testing.clock import FakeClock, settle
from mesh.testing.peer import FakePeer
from mesh.topics import matches
from mesh.tracing import SpanRing
from mesh.transport.deadlines import Deadlines
from mesh.transport.loopback import Loopback
from mesh.transport.pending import Pending

HOST = "mainpc"
STOPPING_STEP = 0.1
WORK_OUTSIDE = 0.05
"""Seconds of the machine's clock that work in other threads is given before time goes on in the test."""


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event that somebody published."""

    topic: str
    payload: Any
    origin: str


class InMemoryMesh:
    """Hosts, cells and fakes of one test; use it as an async context manager.

    `connections` is what config/hosts.yaml would say of them; without it agents have no Redis;
    `budget` is what the models of each host may take; `policies` are those of the whole mesh: without them nothing is
    retried and no breaker opens, since what they wait for is the test letting time pass.

    `events` holds every event published, `reports` every record of the error bus, both in order.
    """

    def __init__(
        self, folder: Path | None = None, clock: FakeClock | None = None, connections: ConnectionsConfig | None = None,
        budget: Budget | None = None, policies: Policies | None = None,
    ) -> None:
        self.rules = RuleBook(policies or Policies(retry=None, breaker=None), self._policies_of)
        self.budget = budget or Budget()
        self.connections = connections or ConnectionsConfig()
        self.clock = clock or FakeClock()
        self.events: list[RecordedEvent] = []
        self.reports: list[ErrorDetail] = []
        self.spans = SpanRing()
        self._own_folder = None if folder is not None else tempfile.TemporaryDirectory(prefix="mesh-test-")
        self._folder = folder if folder is not None else Path(self._own_folder.name)  # type: ignore[union-attr]
        self._tasks: set[asyncio.Task[None]] = set()
        self._deadlines = Deadlines(self.clock)
        self._pending = Pending(self._deadlines)
        self._directory = Directory(clock=self.clock)
        self._changed = asyncio.Event()
        self._hosts: dict[str, _Host] = {}
        self._cut: set[str] = set()
        self._revision = 0
        self._next_incarnation = counting(self.clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for host in self._hosts.values():
            await host.close()
        self._deadlines.close()
        if self._own_folder is not None:
            self._own_folder.cleanup()

    # -- who is there

    async def add(
        self, service: str, agent: type[Agent] | str | None = None, *, host: str | None = None,
        settings: Mapping[str, Any] | None = None, isolation: str = "coroutine",
        limits: Mapping[str, Any] | None = None, policies: Mapping[str, Any] | None = None, restart: str = "permanent",
        restarts: Mapping[str, Any] | None = None, instances: int = 1,
    ) -> Cell:
        """Start an agent and return its cell, that of the first of its `instances`, once they have settled.

        `agent` is a class, or `path/to/file.py:Class`, or None for the one in the project's `config/agents/`;
        `settings`, `limits`, `policies`, `restart` and `restarts` are what that file could say of them.
        """
        spec, load_class = self._spec(service, agent, host, dict(settings or {}), isolation)
        spec = spec.model_copy(update={"restart": restart, "restarts": RestartsConfig(**restarts or {})})
        if limits:
            spec = spec.model_copy(update={"limits": Limits(**{**spec.limits.model_dump(), **limits})})
        if policies:
            spec = spec.model_copy(update={"policies": Policies.model_validate(policies)})
        self.rules.forget(service)
        place = self._host(host or (spec.hosts[0] if spec.hosts else HOST))
        for gone in place.roster.of(service):
            place.roster.remove(gone)
        for number in range(1, instances + 1):
            place.roster.add(Cell(spec, place.house, load_class, number=number))
        cells = place.roster.of(service)
        for cell in cells:
            cell.launch()
        await asyncio.gather(*(cell.settled.wait() for cell in cells))
        await settle()
        return cells[0]

    def _policies_of(self, service: str) -> Policies | None:
        specs = [cell.spec for host in self._hosts.values() for cell in host.roster.of(service)[:1]]
        return specs[0].policies if specs else Policies()

    def _spec(
        self, service: str, agent: type[Agent] | str | None, host: str | None, settings: dict[str, Any], isolation: str
    ) -> tuple[AgentSpec, Callable[[AgentSpec], type[Agent]]]:
        if agent is None:
            spec = load(find_root(Path.cwd())).agents[service]
            changed = {"settings": {**spec.settings, **settings}, "isolation": isolation}
            return spec.model_copy(update=changed), load_agent_class
        if isinstance(agent, str):
            file, _, class_name = agent.rpartition(":")
            path = Path(file).resolve()
        else:
            path, class_name = Path(inspect.getfile(agent)), agent.__name__
        spec = AgentSpec.model_validate({
            "service": service, "file": path, "class_name": class_name, "hosts": (host or HOST,),
            "settings": settings, "isolation": isolation,
        })
        return spec, load_agent_class if isinstance(agent, str) else lambda _: agent

    def fake(self, service: str, *, host: str = HOST, **operations: Any) -> FakePeer:
        """Put a fake in the place of a service; see `FakePeer` for what an operation may be."""
        peer = FakePeer(service, host, operations)
        self._host(host).fakes[service] = peer
        self._publish_table()
        return peer

    async def restart(self, service: str) -> Cell:
        """Stop an agent, or one instance as `nlu#2`, and start it anew; what it saved is there again."""
        cell = self.cell(service)
        await self._stop(cell, "restarted by the test")
        cell.launch(by_operator=True)
        await cell.settled.wait()
        await settle()
        return cell

    async def configure(self, service: str, **settings: Any) -> None:
        """Change settings as `mesh config set` does: by `on_config`, or with a new agent; raises what refuses them."""
        first = self.cell(service)
        spec = first.spec.model_copy(update={"settings": {**first.spec.settings, **settings}})
        await first.accept(spec)
        for cell in [cell for host in self._hosts.values() for cell in host.roster.of(service)]:
            if not await cell.reconfigure(spec):
                await cell.renew(spec)
        await settle()

    def cell(self, service: str) -> Cell:
        """Return the cell of a service that was added, the first of several, or that of an instance as `nlu#2`."""
        for host in self._hosts.values():
            if cells := host.roster.named(service):
                return cells[0]
        known = sorted({name for host in self._hosts.values() for name in host.roster.by_name})
        raise InvalidArgument(
            f"no agent {service} was added to this mesh; it has {', '.join(known) or 'none yet'}", path="service"
        )

    def agent(self, service: str) -> Agent:
        """Return the running agent itself, for what no operation shows."""
        tenancy = self.cell(service).tenancy
        if not isinstance(tenancy, Resident) or tenancy.agent is None:
            raise LookupError(f"{service} does not run in this process: it is {self.cell(service).state}")
        return tenancy.agent

    def cut(self, host: str) -> None:
        """Cut a host off: calls to it and from it fail as `unreachable`, events do not pass."""
        self._cut.add(host)

    def mend(self, host: str) -> None:
        """Connect a host again."""
        self._cut.discard(host)
        for one in self._hosts.values():  # what no longer holds could not be told
            one.cache.clear()

    # -- what a test does

    async def request(self, target: str, /, *, timeout: float | None = None, to_host: str | None = None,
                      **arguments: Any) -> Any:
        """Call `service.operation` as an operator on the first host would; raises the error of the call."""
        client = Client("test", self._host(HOST).outgoing, self.clock)
        return await client.request(target, arguments, timeout, to_host=to_host, sampled=True)

    def stream(self, target: str, /, *, timeout: float | None = None, to_host: str | None = None,
               **arguments: Any) -> Stream:
        """Return the items of `service.operation`, for `async for`."""
        client = Client("test", self._host(HOST).outgoing, self.clock)
        return client.stream(target, arguments, timeout, to_host=to_host, sampled=True)

    async def publish(self, topic: str, payload: Any = None, *, origin: str = f"test@{HOST}") -> None:
        """Publish an event, on the host that `origin` names, and let its listeners handle it."""
        self._host(origin.rpartition("@")[2]).bus.publish(topic, payload, origin)
        await settle()

    def events_on(self, pattern: str) -> list[RecordedEvent]:
        """Return the recorded events whose topic fits a pattern."""
        return [event for event in self.events if matches(pattern, event.topic)]

    # -- inside

    def _host(self, name: str) -> _Host:
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host(name, self)
            self._publish_table()
        return host

    def _publish_table(self) -> None:
        """Give every host the same picture of all of them."""
        self._revision += 1
        self._directory.replace(1, self._revision, {
            "settled": True, "desired": [], "overrides": [],
            "hosts": [HostRecord(name, 1, "127.0.0.1", 0, 0, "", "", "ok", 0).to_wire() for name in self._hosts],
            "instances": [row.to_wire() for host in self._hosts.values() for row in host.inventory()],
        })
        for host in self._hosts.values():
            host.learn()
        self._changed.set()
        self._changed = asyncio.Event()

    async def _carry(self, sender: str, request: Request, host: str) -> Reply:
        """Carry a call to another host, as a link would."""
        if self._cut & {sender, host}:
            return Reply(error=Unreachable(f"{request.target}: {host} cannot be reached from {sender} (cut off)",
                                           began="no"))
        if host not in self._hosts:
            return Reply(error=Unavailable(f"{request.target}: there is no host {host} in this test", retry_after=1.0))
        return await replied(self._hosts[host].loopback.exchange(request))

    async def _wait(self, limit: float) -> None:
        """Wait for a change; time does not pass by itself here."""
        changed, timer = self._changed, asyncio.Event()
        handle = self.clock.call_later(limit, timer.set)
        waits = [asyncio.ensure_future(changed.wait()), asyncio.ensure_future(timer.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            handle.cancel()
            for wait in waits:
                wait.cancel()

    async def _stop(self, cell: Cell, reason: str) -> None:
        """Stop a cell; while its running calls have their time to end, the clock goes on."""
        stopping = asyncio.create_task(cell.stop(reason))
        await settle()
        while not stopping.done():
            if not cell.inbox.running and not cell.inbox.streams:  # what is left may be work outside, as on a disk
                await asyncio.wait({stopping}, timeout=WORK_OUTSIDE)
            await self.clock.advance(STOPPING_STEP)
        await stopping

    def _report(
        self, host: _Host, error: BaseException | str, *, severity: str, service: str, operation: str | None = None,
        trace_id: str | None = None, context: Mapping[str, Any] | None = None, decision: str | None = None,
        occasion: Occasion | None = "error",
    ) -> str:
        number = len(self.reports) + 1
        record = describe(error, service=service, host=host.name, time=self.clock.time(), severity=Severity(severity),
                          operation=operation, trace_id=trace_id, context=context, decision=decision)
        record = record.model_copy(update={"id": make_id(host.name, number), "seq": number})
        self.reports.append(record)
        host.bus.publish(topic_of(record), record.event(), f"{service}@{host.name}")
        return record.id

    def _spread(self, sender: str, event: Event) -> None:
        self.events.append(RecordedEvent(event.topic, event.value(), event.origin))
        for name, host in self._hosts.items():
            if name != sender and name not in self._cut and sender not in self._cut:
                host.bus.arrived(event, sender)


class _Host:
    """One host of the in-memory mesh."""

    def __init__(self, name: str, mesh: InMemoryMesh) -> None:
        self.name = name
        self.roster = Roster()
        self.fakes: dict[str, FakePeer] = {}
        self._mesh = mesh
        folder = mesh._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        self.state = SqliteStates(folder / "state.db", clock=mesh.clock)
        self.connections = Connections(mesh.connections, mesh.clock, self._connection_changed)
        self.connections.start()
        self.loopback = Loopback(self._answer, mesh._pending)
        self.bus = EventBus(name, mesh.clock, to_sessions=lambda event: None,
                            to_operators=lambda event: None, outside=lambda event: mesh._spread(name, event),
                            to_groups=lambda event: self.groups.deliver(event))
        self.cache = HostCache(
            name, mesh.clock, mesh._deadlines, mesh.spans, entries=mesh.budget.cache_entries,
            size=int(mesh.budget.cache_mb * 2**20), publish=self.bus.publish, instances=mesh._directory.instances,
            changed=mesh.rules.forget,
            shared=shared_in(self.connections, "test", mesh.clock) if mesh.connections.redis else None,
        )
        self.outgoing = Outgoing(
            mesh.rules, Resolver(mesh._directory, name, mesh.clock, settling=lambda: False, changed=mesh._wait),
            name, local=self.loopback.exchange, remote=functools.partial(mesh._carry, name),
            clock=mesh.clock, cache=self.cache,
        )
        self.groups = Groups(mesh._directory, self.outgoing.carry, mesh.clock, self._trouble)
        self.house = House(
            name=name, folder=folder, clock=mesh.clock, state=self.state, spans=mesh.spans,
            connections=self.connections, models=Shelf(mesh.budget, mesh.clock),
            deadlines=mesh._deadlines, outgoing=self.outgoing, rules=mesh.rules,
            report=functools.partial(mesh._report, self),
            publish=self.bus.publish, changed=self._cell_changed, missing=lambda spec: None,
            dependencies_ready=self._at_once, next_incarnation=mesh._next_incarnation, turn=Turn(mesh.clock),
        )

    def _trouble(self, kind: str, text: str) -> None:
        self._mesh._report(self, text, severity="warning", service="supervisor")

    def _connection_changed(self, target: Target) -> None:
        for cell in list(self.roster.by_name.values()):
            if cell.service in target.users:
                task = asyncio.get_running_loop().create_task(cell.recheck())
                self._mesh._tasks.add(task)
                task.add_done_callback(self._mesh._tasks.discard)

    async def _at_once(self, spec: AgentSpec) -> None:
        """Tests start agents in the order they need them."""

    def _cell_changed(self, name: str) -> None:
        cell = self.roster.by_name.get(name)
        if cell is not None:
            self.bus.listen(name, cell.patterns, cell.hear)
        self._mesh._publish_table()

    def learn(self) -> None:
        """Have the cache see what services announce now, and listen to what that depends on."""
        self.cache.learn(list(self._mesh._directory.services()))
        self.bus.listen("", self.cache.patterns(), self.cache.hear)

    def inventory(self) -> list[InstanceRecord]:
        """Return the rows of this host's cells and fakes."""
        rows = [InstanceRecord(cell.service, self.name, cell.incarnation, cell.state.value, cell.lifecycle.reason,
                               tuple(sorted(cell.offer.operations)), cell.number, cell.offer.version,
                               cell.offer.traits)
                for cell in list(self.roster.by_name.values()) if cell.service not in self.fakes]
        return rows + [InstanceRecord(name, self.name, 1, "ready") for name in self.fakes]

    def _answer(self, request: Request) -> Answer:
        return self.cache.watching(request, self._answered)

    def _answered(self, request: Request) -> Answer:
        fake = self.fakes.get(request.service)
        if fake is not None:
            return fake.handle(request)
        cell = self.roster.answering(request)
        if cell is not None:
            return cell.handle(request)
        return Reply(error=Unavailable(f"{self.name} has no {request.service} in this test", retry_after=1.0))

    async def close(self) -> None:
        for cell in list(self.roster.by_name.values()):
            await self._mesh._stop(cell, "the test is over")
        self.groups.close()
        self.loopback.cancel_all()
        await self.cache.close()
        await self.connections.close()
        await self.state.close()


def in_mesh(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Turn `async def test(mesh, …)` into a test that runs in a fresh in-memory mesh; other parameters are fixtures."""
    signature = inspect.signature(test)

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        async def scenario() -> None:
            async with InMemoryMesh() as mesh:
                await test(mesh=mesh, **fixtures)

        asyncio.run(scenario())

    rest = [parameter for name, parameter in signature.parameters.items() if name != "mesh"]
    run.__signature__ = signature.replace(parameters=rest, return_annotation=None)  # type: ignore[attr-defined]
    return run
