"""The process of one host: owns the only Context and every socket, hosts the cells, answers for all of them.

`start` is read downward and `stop` upward: what is opened first is closed last. Each request that comes in passes
`handle`; each that a cell makes passes `outgoing`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mesh import __version__, wire
from mesh.address import endpoint
from mesh.cache.shared import shared_in
from mesh.client import Calls, Client, failures
from mesh.clock import Clock
from mesh.config import MeshConfig
from mesh.config.revision import revision
from mesh.connections import Connections, Target
from mesh.directory import Difference, Directory
from mesh.errors import (
    EngineMissing,
    MeshError,
    PermissionDenied,
    StartError,
)
from mesh.exporter import Exporter
from mesh.membership import Membership, checked_trouble
from mesh.message import Answer, Event, Reply, Request
from mesh.metrics import Metrics, Sample, Traffic, gauge
from mesh.models import Shelf
from mesh.policy.cache import HostCache
from mesh.policy.resolve import REGISTRY, SUPERVISOR, Resolver
from mesh.policy.rules import RuleBook
from mesh.policy.stack import Outgoing
from mesh.policy.turn import Turn
from mesh.port import ensure_free
from mesh.records import HostRecord
from mesh.state import states_of
from mesh.supervisor import otlp
from mesh.supervisor.adjusting.editions import Editions
from mesh.supervisor.adjusting.liveconfig import LiveConfig
from mesh.supervisor.adjusting.reload import Reload
from mesh.supervisor.adjusting.versions import Versions
from mesh.supervisor.bell import Bell
from mesh.supervisor.bench.bench import Bench
from mesh.supervisor.bus import EventBus
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cell.house import House
from mesh.supervisor.cell.life import NEWS_SECONDS
from mesh.supervisor.cells import Cells
from mesh.supervisor.control.control import Control
from mesh.supervisor.errors.errorlog import ErrorLog
from mesh.supervisor.errors.notify import Notifier
from mesh.supervisor.errors.reporter import Reporter
from mesh.supervisor.groups import Groups
from mesh.supervisor.incarnation import counting, host_incarnation
from mesh.supervisor.loop.auto import Auto
from mesh.supervisor.loop.doubt import Watcher
from mesh.supervisor.loop.looptime import LoopTime
from mesh.supervisor.loop.vitals import Pulse, process_samples
from mesh.supervisor.news import News
from mesh.supervisor.otlp import OtlpSender
from mesh.supervisor.process.nursery import Nursery
from mesh.supervisor.restartgroups import RestartGroups
from mesh.supervisor.showing.board import Board
from mesh.supervisor.showing.explanation import Explanation
from mesh.supervisor.showing.logbook import LogBook
from mesh.supervisor.showing.machine import machine
from mesh.supervisor.showing.policies import PolicyBoard
from mesh.supervisor.showing.reach import Reach
from mesh.supervisor.stopped import Stopped
from mesh.supervisor.wishes import Wishes
from mesh.tracing import SpanRing, Trace
from mesh.transport import profile
from mesh.transport.deadlines import Deadlines
from mesh.transport.heartbeat import Heartbeat
from mesh.transport.keys import Keys, ensure_for
from mesh.transport.link import LinkCallbacks
from mesh.transport.listener import Listener, ListenerCallbacks
from mesh.transport.loopback import Loopback
from mesh.transport.outside import Outside
from mesh.transport.pending import Pending
from mesh.transport.pool import Pool
from mesh.transport.session import OF_CELL, Session

log = logging.getLogger("mesh.supervisor")

INFO = gauge("mesh_host_info", "Always 1; says which host this is.", "mesh", "name", "version", "security")
SOCKETS = gauge("mesh_sockets", "ZeroMQ sockets: those that face the network, and helpers inside the process.", "kind")

READY_LIMIT = 10.0
SILENCE_LIMIT = 2.0
REGISTRY_PATIENCE = 1.0
FLUSH_SECONDS = 0.2
PASSED_ON_SECONDS = 3.0
TICK = 0.01
NO_SERVICE = ""
"""The host itself, as one that listens to events."""

Tell = Callable[[dict[str, Any]], None]


class Supervisor:
    """One host of the mesh; with `watch` its agents follow their files.

    `tell` takes what whoever started it wants to show: ready, failed, a cell's trouble.
    """

    def __init__(self, config: MeshConfig, name: str, *, tell: Tell, watch: bool = False, clock: Clock | None = None
                 ) -> None:
        self.name = name
        self.clock = clock or Clock()
        self.spans = SpanRing(sample=config.tracing.sample)
        self.traffic = Traffic()
        self.metrics = Metrics()
        self.stopping = asyncio.Event()
        self._config = config
        self._at = config.hosts[name]
        self._tell = tell
        self._folder = config.home / name / "state"
        self.logbook = LogBook(config.home / name / "logs")
        self._incarnation = host_incarnation(self._folder / "incarnation", self.clock)
        self._loop = asyncio.get_running_loop()
        self._keys: Keys | None = None if config.security == "none" else ensure_for(config, name)
        self._pulse = Pulse(self.clock, self._stood_still)
        self._bell = Bell()
        self._failure: StartError | None = None
        self._calls: dict[str, Calls] = {}
        self._started = self.clock.monotonic()
        self._tasks: set[asyncio.Task[Any]] = set()
        own = self._keys.own if self._keys else None

        self.errors = ErrorLog(self._folder, name, self._store_trouble, clock=self.clock)
        self._notifier = Notifier(config, name, self._not_told, clock=self.clock)
        self.report = Reporter(name, self.errors, self.clock, self.publish, self._notifier)
        self.directory = Directory(
            known_names={service: spec.hosts for service, spec in config.agents.items()}, clock=self.clock
        )
        self._news = News(name, self.directory, self.report)
        self._otlp: OtlpSender | None = None
        self._connections = Connections(config.connections, self.clock, self._connection_changed)
        self._models = Shelf(self._at.budget, self.clock)
        self._state = states_of(name, config, self._folder, self._connections, self.clock)
        self._context = profile.new_context()
        self._heartbeat = Heartbeat(self._context, self._keys.allow if self._keys else {}, clock=self.clock,
                                    on_refused=self._refused_at_door)
        self._deadlines = Deadlines(self.clock)
        pending = Pending(self._deadlines)
        self._listener = Listener(
            self._context, own, self._identity, self.handle,
            ListenerCallbacks(self._session, lambda *_: None, self.report.trouble,
                              lambda hello: self._nursery.authorize(hello),
                              lambda session, event: self._nursery.heard(session, event)),
            self.clock, self.traffic, pending,
        )
        self._outside = Outside(self._context, own=own, host=name, boot=self._incarnation, clock=self.clock,
                                on_refused=self._news.of_refused_reader)
        self._bus = EventBus(
            name, self.clock, to_sessions=self._listener.publish,
            to_operators=lambda event: self._listener.publish(event, only="operator"),
            outside=self._outside.publish, to_groups=lambda event: self._groups.deliver(event),
        )
        self._pool = Pool(
            self._context, own, self._identity, pending,
            LinkCallbacks(self._linked, self._event_arrived, self._events_lost, self.report.trouble),
            self.clock, self.traffic,
        )
        self._loopback = Loopback(self._answer, pending)
        self.rules = RuleBook(config.policies, lambda service: self._cells.policies(service))
        self.cache = HostCache(
            name, self.clock, self._deadlines, self.spans, entries=self._at.budget.cache_entries,
            size=int(self._at.budget.cache_mb * 2**20), publish=self.publish, instances=self.directory.instances,
            changed=self.rules.forget,
            shared=shared_in(self._connections, config.mesh, self.clock) if config.connections.redis else None,
        )
        self._bus.listen(NO_SERVICE, self.cache.patterns(), self.cache.hear)
        self.outgoing = Outgoing(
            self.rules, Resolver(self.directory, name, self.clock, settling=lambda: self._membership.settling(),
                                 changed=self._bell.wait),
            name, local=self._loopback.exchange, remote=self._pool.exchange, clock=self.clock, cache=self.cache,
        )
        self._groups = Groups(self.directory, self.outgoing.carry, self.clock, self.report.trouble)
        client = Client(f"{SUPERVISOR}@{name}", self.outgoing, self.clock)
        self._nursery = Nursery(config, name, self.clock, outgoing=self.outgoing,
                                publish=self._bus.send, calls=self._calls, spans=self.spans,
                                watcher=Watcher(self.clock, self._pulse.stood, self._doubted))
        self._cells = Cells(config, name, self.directory, self.rules, self._bell, self._spawn,
                            self._inventory_changed, self._cell_gone)
        self._cells.stopped = Stopped(self._folder / "stopped.json")
        self.roster = self._cells.roster
        self._membership = Membership(
            config, name, incarnation=self._incarnation, directory=self.directory, pool=self._pool,
            client=client, clock=self.clock, key_of=self._key_of,
            me=self._me, inventory=self._cells.inventory, differed=self._differed, refused=self._refused_by_registry,
            news=self._registry_news,
        )
        self._reach = Reach(config, name, self._pool, client, self.clock, lambda: self._membership.endpoint)
        self.live_config = LiveConfig(name, self._cells, self.directory, client, self._bell, self.clock)
        self.wishes = Wishes(name, self._cells, self.live_config, client)
        cells = self.roster.by_name
        self._restart_groups = RestartGroups(config, name, cells, clock=self.clock, bell=self._bell,
                                             report=self.report, wanted=self._cells.wanted, spawn=self._spawn)
        self._auto = Auto(cells, clock=self.clock, report=self.report, isolate=self.wishes.demote, spawn=self._spawn)
        self._looptime = LoopTime(name, config.root, cells, clock=self.clock, report=self.report, tell=tell,
                                  blamed=self._auto.held)
        self.editions = Editions(name, config.root / "agents", self.report, self.publish)
        self.versions = Versions(name, self._cells, self.editions)
        self.bench = Bench(name, self._cells, Client(f"bench@{name}", self.outgoing, self.clock), self.clock,
                           folder=self._folder, spawn=self._spawn)
        self._reload = Reload(config, name, self._cells, clock=self.clock, report=self.report,
                              tell=tell) if watch else None
        self._control = Control(self)
        self._exporter = Exporter(
            self.metrics, self._at.address, self._at.metrics_port, who=f"host {name}",
            setting=f"`hosts: {name}: metrics_port:`", clock=self.clock,
            trouble=lambda text: self.report.trouble("metrics", text),
        )
        self._house = self._make_house()
        self._policies = PolicyBoard(name, self.outgoing, self.rules, config.origin, self._cells.origins, self.report,
                                     self.publish)
        self.outgoing.breakers.told = self._policies.tell
        self._explanation = Explanation(name, self.roster, self.directory, self._pool, self._house.calls, self.errors,
                                        self.clock, self._registry_row, self._policies.state)
        self._board = Board(name, self._incarnation, config.security, self.roster, self.directory, self.errors,
                            self._pulse, self._context, self._connections, self._models, self.clock,
                            group=self._restart_groups.row)

    def _make_house(self) -> House:
        return House(
            name=self.name, folder=self._folder, clock=self.clock, state=self._state, spans=self.spans,
            connections=self._connections, models=self._models,
            deadlines=self._deadlines, outgoing=self.outgoing, rules=self.rules, report=self.report,
            publish=self._bus.publish,
            changed=self._cell_changed, missing=self._cells.missing, dependencies_ready=self._cells.dependencies_ready,
            next_incarnation=counting(self.clock), overran=self._looptime.overran, calls=self._calls,
            nursery=self._nursery, turn=Turn(self.clock), crashed=self._auto.crashed,
            failed=self._restart_groups.failed, renewed=self._restart_groups.renewed,
        )

    # -- from start to stop

    async def run(self) -> None:
        """Start, serve until `stopping` is set, drain and stop. Raises `StartError` if it cannot start."""
        try:
            await self._start()
            await self.stopping.wait()
        finally:
            await self._stop()
        if self._failure is not None:
            raise self._failure

    async def _start(self) -> None:
        self._tell({"event": "starting", "host": self.name, "pid": os.getpid()})
        self.errors.open()
        self._notifier.start()
        self._start_otlp()
        self._show_figures()
        self._pulse.start()
        self._looptime.start()
        self._heartbeat.start()
        ensure_free(self._at.address, self._at.port, f"host {self.name}", f"`hosts: {self.name}: port:`")
        ensure_free(self._at.address, self._at.events_port, f"host {self.name}", f"`hosts: {self.name}: events_port:`")
        self._listener.bind(endpoint(self._at.address, self._at.port), self._nursery.open())
        self._outside.bind(endpoint(self._at.address, self._at.events_port))
        self._connections.start()
        self._cells.create(self._house)
        self.directory.set_own(self._me(), self._cells.inventory())
        key = self._keys.peer(self._config.registry.host) if self._keys else None
        self._membership.start(key)
        self._heartbeat.beat(
            self._membership.endpoint, key, self._keys.own if self._keys else None, mesh=self._config.mesh,
            host=self.name, incarnation=self._incarnation, progress=lambda: self._pulse.turned,
            inventory_hash=lambda: self._membership.hash, on_state=lambda up: None,
        )
        self._exporter.start()
        self._spawn(self._launch())
        if self._reload is not None:
            self._spawn(self._reload.run())
        self._spawn(self._read_revision())

    async def _read_revision(self) -> None:
        """Note which state of the project this host was started with; files that change later are not what runs."""
        self._board.revision = await asyncio.to_thread(revision, self._config.root)

    def _show_figures(self) -> None:
        """Have the figures of every part read at each scrape."""
        self.metrics.read(
            self._samples, self.traffic.samples, self._listener.samples, self._pool.samples,
            self.outgoing.samples,
            self._outside.samples, self._bus.samples, self._groups.samples, self._cells.samples, self.directory.samples,
            self._membership.samples, self.report.samples, self._connections.samples,
            self._looptime.samples,
            self._models.samples, self.cache.samples,
        )
        self.metrics.read(self._notifier.samples, lambda: otlp.samples(self._otlp))
        self.metrics.read_anywhere(self._pulse.samples, self._heartbeat.samples, process_samples)

    def _samples(self) -> Iterator[Sample]:
        yield from failures(self._house.calls.values())
        config = self._config
        yield INFO.sample(1, config.mesh, self.name, __version__, config.security)
        sockets, helpers = profile.census(self._context)
        yield SOCKETS.sample(sockets, "network")
        yield SOCKETS.sample(helpers, "helper")

    def _start_otlp(self) -> None:
        """Send sampled spans to where the config says; without the extra that is said, and the host runs on."""
        config = self._config
        if config.tracing.otlp is None:
            return
        try:
            self._otlp = OtlpSender(config.tracing.otlp, config.mesh, config.environment, self._not_told)
        except EngineMissing as error:
            self.report(error, severity="warning", service=SUPERVISOR)
            return
        self._otlp.start()
        self.spans.export = self._otlp.add

    async def _launch(self) -> None:
        """Start the cells as operators want them, and say that the host is up.

        What operators want is the registry's to tell; without one the cells start all the same after a second. The host
        is up once every cell has settled and nobody waits for another host, or after 10 s.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REGISTRY_PATIENCE):
                await self._membership.announced.wait()
        self._cells.launch()
        await self._cells.settled()
        await self._outwait()
        self._cells.look()
        alone = None if self._membership.announced.is_set() else self._registry_row()
        self._tell({"event": "ready", "host": self.name, "pid": os.getpid(), **self._cells.summary(), "alone": alone,
                    "seconds": round(self.clock.monotonic() - self._started, 3)})

    async def _outwait(self) -> None:
        """Wait for the registry and for what cells miss of other hosts, and say so if that takes long."""
        until, speak = self._started + READY_LIMIT, self._started + SILENCE_LIMIT
        while (missed := self._missed()) is not None and (now := self.clock.monotonic()) < until:
            if now >= speak:
                self._tell({"event": "waiting", "host": self.name,
                            "message": f"{self.name} waits {READY_LIMIT:g} s at most for {missed}"})
                speak = until
            await self._bell.wait(min(until, speak) - now)

    def _missed(self) -> str | None:
        if not self._membership.announced.is_set():
            return f"the registry at {self._membership.endpoint} ({self._membership.reason or 'no answer yet'})"
        return ", ".join(self._cells.awaited()) or None

    def shut_down(self) -> None:
        """Begin to stop this host."""
        self.stopping.set()

    async def _stop(self) -> None:
        self._tell({"event": "stopping", "host": self.name})
        self._listener.accepting = False
        self.live_config.close()
        await self._membership.stop()
        if len(self._config.hosts) > 1:  # the others call here until they have heard of it
            await self.clock.sleep(NEWS_SECONDS)
        await self._cells.stop()
        until = self.clock.monotonic() + PASSED_ON_SECONDS
        while (self._listener.busy or self._groups.open) and self.clock.monotonic() < until:
            # calls that this host passed on for operators, events on their way to other hosts
            await self.clock.sleep(TICK)
        self._groups.close()
        self._loopback.cancel_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.tell(wire.leaving())
        until = self.clock.monotonic() + FLUSH_SECONDS
        while self._listener.waiting and self.clock.monotonic() < until:
            await self.clock.sleep(TICK)
        self._exporter.stop()
        self._pool.close()
        self._listener.close()
        self._outside.close()
        self._deadlines.close()
        self._heartbeat.stop()
        self._looptime.stop()
        self._pulse.stop()
        self._context.term()
        await self._state.close()
        await self.cache.close()
        await self._connections.close()
        if self._otlp is not None:
            await asyncio.to_thread(self._otlp.close)
        await asyncio.to_thread(self._notifier.close)
        self.errors.close()

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- calls

    def handle(self, request: Request) -> Answer:
        """Answer a request from another host, a cell's process or an operator.

        A process's and an operator's are passed on to where they belong.
        """
        if request.via.startswith(OF_CELL):
            return self._nursery.handle(request)
        if request.via == "operator" and not (request.service == SUPERVISOR and request.to_host in (None, self.name)):
            return self.outgoing(request)
        return self._answer(request)

    def _answer(self, request: Request) -> Answer:
        """Answer a request that is for this host."""
        cell = self.roster.answering(request)
        if cell is not None:
            return self.cache.watching(request, cell.handle)
        if request.service == SUPERVISOR:
            return self._control.handle(request)
        return Reply(error=self.directory.refusal(request.service, self.name), host=self.name)

    # -- cells

    def _cell_changed(self, name: str) -> None:
        """Take a cell's new state to the directory, the registry, and whoever listens."""
        cell = self.roster.by_name.get(name)
        if cell is None or self._listener.accepting is False:
            return
        if self._bus.listen(name, cell.patterns, cell.hear):
            self._interest_changed()
        self._inventory_changed(cell.service)
        self._learn([cell.service])
        self._bell.ring()
        self._cells.look_soon()
        self.publish("agent.health", {"service": cell.service, "host": self.name, "instance": cell.number,
                                      "state": cell.state.value, "reason": cell.lifecycle.reason},
                     f"{SUPERVISOR}@{self.name}")

    def _inventory_changed(self, service: str) -> None:
        self._membership.inventory_changed(service, self._cells.offered(service))

    def _cell_gone(self, cell: Cell) -> None:
        """Hear nothing more for a cell that is not there any more."""
        if self._bus.listen(cell.name, (), cell.hear):
            self._interest_changed()
        self._bell.ring()

    # -- membership

    def _me(self) -> HostRecord:
        return HostRecord(
            self.name, self._incarnation, self._at.address, self._at.port, self._at.events_port,
            self._keys.own.public if self._keys else "", __version__, "ok", os.getpid(),
        )

    def _key_of(self, row: HostRecord) -> str | None:
        """Return the key a host must show: the pinned one, never the one it announces."""
        return self._keys.peer(row.name) if self._keys else None

    def _differed(self, difference: Difference) -> None:
        for service, host in difference.desired:
            if host == self.name:
                self._cells.stopped.note(service, self.directory.view.desired.get((service, host)))
                self._cells.obey(service)
        for service in difference.overrides:
            self._cells.reset(service)
        for before, after in difference.hosts:
            self._news.of_host(before, after)
        self._learn({row.service for pair in difference.instances for row in pair if row is not None and row.traits})
        self.outgoing.breakers.sweep()
        self._bell.ring()
        self._cells.look_soon()

    def _learn(self, services: Iterable[str]) -> None:
        """Have the cache see what these services announce now, and listen to what that depends on."""
        if self.cache.learn(services):
            self._bus.listen(NO_SERVICE, self.cache.patterns(), self.cache.hear)
            self._interest_changed()

    def _refused_by_registry(self, error: MeshError) -> None:
        """Stop if the registry says that another supervisor has this host's name; anything else is only reported."""
        if not self._membership.announced.is_set():
            self._failure = StartError(f"the registry refuses this host: {error}")
            self.stopping.set()
        else:
            self.report.trouble("refused", f"the registry refuses this host: {error}", severity="error")

    def _registry_news(self, up: bool, reason: str) -> None:
        if up or not self.stopping.is_set():
            self._news.of_registry(self._membership.endpoint, up, reason)

    def table(self) -> dict[str, Any]:
        """Return the directory as this host sees it."""
        return self._board.table(self._registry_row())

    def _registry_row(self) -> dict[str, Any]:
        return {
            "state": "ok" if self._membership.connected else "unreachable",
            "endpoint": self._membership.endpoint, "store": self._config.registry.store,
            "reason": self._membership.reason,
        }

    def status(self) -> dict[str, Any]:
        """Return this host's row of `mesh status`."""
        return {**self._board.status(self.stopping.is_set()), "metrics": self._exporter.row()}

    def rows(self) -> list[dict[str, Any]]:
        """Return this host's rows of `mesh agents`."""
        return self._board.rows()

    def machine(self) -> dict[str, Any]:
        """Return what this host finds where it runs; reads files."""
        return machine(self._config, self.name)

    async def reach(self) -> list[dict[str, Any]]:
        """Return how this host reaches the others and the registry."""
        return await self._reach.rows()

    def explain(self, service: str) -> dict[str, Any]:
        """Return what this host knows of a service, whether it runs here or not."""
        return self._explanation.of(service, self._board.rows(service))

    def policies(self, service: str) -> dict[str, Any]:
        """Return what stands around calls of a service, and what it does now."""
        here = [{"name": cell.name, "inbox": cell.inbox.row(), "rate": cell.rates.rows()}
                for cell in self.roster.of(service)]
        return {**self._policies.of(service), "here": here}

    def tripped(self) -> list[dict[str, Any]]:
        """Return the breakers of this host that are not closed."""
        return self._policies.tripped()

    def edges(self) -> dict[str, Any]:
        """Return who of this host has called what, and what its agents hear."""
        return self._board.edges(self._house.calls)

    def describe(self, cell: Cell) -> dict[str, Any]:
        """Return everything about one cell."""
        return self._board.describe(cell)

    def top(self) -> dict[str, Any]:
        """Return what `mesh top` makes its rates of."""
        return self._board.top(self.stopping.is_set())

    def blame(self) -> dict[str, Any]:
        """Return who used and who held the loop."""
        return self._looptime.blame()

    # -- events and links

    def _identity(self) -> wire.Hello:
        return wire.Hello(self._config.mesh, "host", self.name, self._incarnation, tuple(sorted(self._interest())),
                          __version__)

    def _interest(self) -> set[str]:
        """Return what this host wants to hear: for its cells, its operators, and of the registry."""
        operators = (session.interest.patterns for session in self._listener.sessions.values()
                     if session.kind == "operator")
        return {"registry.changes", *self._bus.patterns(), *(pattern for patterns in operators for pattern in patterns)}

    def _interest_changed(self) -> None:
        self._pool.tell(wire.interest(sorted(self._interest())))

    def publish(self, topic: str, payload: Any, origin: str, trace: Trace | None = None) -> None:
        """Send an event of this host to whoever listens."""
        self._bus.publish(topic, payload, origin, trace)

    def _event_arrived(self, event: Event, host: str) -> None:
        if host == REGISTRY:
            if not self._membership.heard(event):
                told = checked_trouble(event)
                self.report.trouble(f"registry:{told['kind']}", told["message"])
        elif not self._bus.arrived(event, host):
            self.report.trouble("event_origin", f"{host} sent an event that claims to come from {event.origin}")

    def _events_lost(self, host: str, count: int) -> None:
        self.cache.clear()  # one of them may have said what no longer holds
        self._news.of_lost_events(host, count)

    def _linked(self, host: str, up: bool, reason: str) -> None:
        self._membership.linked(host, up, reason)
        if up and host != REGISTRY:
            self.cache.clear()  # nobody could tell this host what no longer held meanwhile
        link = self._pool.links.get(host)
        if host == REGISTRY and link is not None and isinstance(link.refusal, PermissionDenied):
            self._refused_by_registry(link.refusal)
        if up or not self.stopping.is_set():
            self._news.of_link(host, up, reason)
        self._bell.ring()

    def _session(self, session: Session, up: bool) -> None:
        if session.kind == "cell":
            self._nursery.session(session, up)
        elif session.kind == "operator":
            session.on_interest.append(self._interest_changed)
            if session.interest:
                self._loop.call_soon(self._interest_changed)

    # -- trouble

    def _stood_still(self, seconds: float) -> None:
        """Say that this host did not turn; whoever it watches is not to blame for what was not answered meanwhile."""
        self.report.trouble("stood_still", f"this host stood still for {seconds:.1f} s (it was stopped, the machine "
                            "slept, or its loop was held): what was not answered meanwhile is held against nobody")

    def _doubted(self, text: str) -> None:
        self.report.trouble("watchdog", text)

    def _not_told(self, text: str) -> None:
        """Report that nobody outside could be told; comes from the thread that tried."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(lambda: self.report(text, severity="warning", service=SUPERVISOR))

    def _store_trouble(self, severity: str, text: str) -> None:
        """Report what the error log says of its own store; comes from its thread."""
        self._loop.call_soon_threadsafe(lambda: self.report(text, severity=str(severity), service=SUPERVISOR))

    def _connection_changed(self, target: Target) -> None:
        """Say that a server outside the mesh is away, or back, and have those who use it say how they are."""
        self._news.of_server(target)
        for cell in [cell for service in target.users for cell in self.roster.of(service)]:
            self._spawn(cell.recheck())

    def _refused_at_door(self, address: str, key: str, reason: str) -> None:
        """Report a refused key; comes from the heartbeat thread."""
        self._loop.call_soon_threadsafe(self._news.of_refused_key, address, key, reason)
