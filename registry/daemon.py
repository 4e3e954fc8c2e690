"""The registry as a process: one listener, and a clock that has the leases judged.

A session of kind `heartbeat` is a host's sign of life; one of kind `host` brings its requests and takes the news. When
a heartbeat link is lost the host's own port is tried: a refused connection proves that nobody lives there, and the
death is told at once instead of after two seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from mesh import __version__, wire
from mesh.address import endpoint
from mesh.clock import Clock
from mesh.config import MeshConfig
from mesh.errors import StartError, StoreError
from mesh.exporter import Exporter
from mesh.message import Event, encode
from mesh.metrics import Metrics, Traffic
from mesh.port import ensure_free
from mesh.throttle import Throttle
from mesh.transport import profile
from mesh.transport.heartbeat import Heartbeat
from mesh.transport.keys import Keys, ensure_for
from mesh.transport.listener import Listener, ListenerCallbacks
from mesh.transport.session import Session
from registry.desired import Desired
from registry.leases import Leases, LinkKind
from registry.overrides import Overrides
from registry.probe import Probes
from registry.service import RegistryService, Surroundings
from registry.sqlite_store import SqliteStore
from registry.store import Store, Stored, next_epoch
from registry.table import Table

log = logging.getLogger("registry")

NAME = "registry"
CHANGES = "registry.changes"
TROUBLE = "registry.trouble"
TICK = 0.5
TICK_WHILE_LOST = 0.1
FILE = "registry.db"


class Daemon:
    """The registry of one mesh, on the host that `hosts.yaml` names."""

    def __init__(self, config: MeshConfig, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock or Clock()
        self._loop = asyncio.get_running_loop()
        self._host = config.hosts[config.registry.host]
        self._keys: Keys | None = None if config.security == "none" else ensure_for(config, self._host.name)
        self._store = self._make_store()
        self._held: Stored | None = None
        self._incarnation = 0
        self._service: RegistryService | None = None
        self._context = profile.new_context()
        self._heartbeat = Heartbeat(self._context, self._keys.allow if self._keys else {}, clock=self._clock,
                                    on_refused=self._refused)
        self._listener: Listener | None = None
        self._traffic = Traffic()
        self._metrics = Metrics()
        self._exporter = Exporter(
            self._metrics, self._host.address, config.registry.metrics_port, who="the registry",
            setting="`registry: metrics_port:`", clock=self._clock, trouble=lambda text: log.warning("%s", text),
        )
        self._throttle = Throttle()
        self._probes = Probes(self._proven_dead, self._clock)

    def _make_store(self) -> Store:
        file = SqliteStore(self._folder / FILE)
        if self._config.registry.store == "sqlite":
            return file
        from registry.redis_store import RedisStore  # a tenth of a second, for those who name a Redis

        return RedisStore(self._config.mesh, self._config.connections, file, self._clock, self._adopted)

    def _adopted(self, stored: Stored) -> None:
        """Let count what Redis holds, once there is somebody to tell."""
        self._held = stored
        if self._service is not None:
            self._service.adopt(stored)

    @property
    def _folder(self) -> Path:
        return self._config.home / self._host.name / "state"

    @property
    def endpoint(self) -> str:
        """Where the registry listens."""
        return endpoint(self._host.address, self._config.registry.port)

    async def run(self, ready: Callable[[], None], stop: Callable[[], Awaitable[object]]) -> None:
        """Start, call `ready`, serve until `stop` returns, and close. Raises `StartError` if it cannot start."""
        try:
            ensure_free(self._host.address, self._config.registry.port, "the registry", "`registry: port:`")
            service = self._service = await self._open()
            self._heartbeat.start()
            listener = self._listener = Listener(
                self._context, self._keys.own if self._keys else None, self._identity, service.handle,
                ListenerCallbacks(self._session, self._beat, self._trouble), self._clock, self._traffic,
            )
            listener.bind(self.endpoint)
            self._metrics.read(service.samples, self._traffic.samples, listener.samples, self._store.samples)
            self._metrics.read_anywhere(self._heartbeat.samples)
            service.metrics = self._exporter.row
            self._exporter.start()
            ticking = asyncio.get_running_loop().create_task(self._tick(service))
            ready()
            await stop()
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)
        finally:
            await self._close()

    async def _open(self) -> RegistryService:
        """Read what lasted from the store and begin a new epoch."""
        try:
            stored = await self._store.open()
        except StoreError as error:
            raise StartError(f"the registry cannot use its store: {error}") from None
        epoch = next_epoch(stored.epoch, self._clock.time())
        try:
            await self._store.save_epoch(epoch)
        except StoreError as error:  # a full disk refuses changes, each with the reason, but not the whole registry
            log.error("the epoch could not be stored, nor can anything else now: %s", error)
        stored = self._held or stored
        self._incarnation = epoch
        around = Surroundings(self._host.name, self.endpoint, tuple(self._config.hosts), tuple(self._config.agents),
                              self._config.security)
        return RegistryService(
            around, Table(epoch), Leases(self._clock.monotonic()), Desired(stored.desired),
            Overrides(stored.overrides), self._store, clock=self._clock, on_change=self._publish_soon,
        )

    async def _close(self) -> None:
        self._exporter.stop()
        await self._probes.close()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.tell(wire.leaving())
            listener.close()
        self._heartbeat.stop()
        self._context.term()
        if self._service is not None:
            await self._service.close()
        else:
            await self._store.close()

    # -- time

    async def _tick(self, service: RegistryService) -> None:
        while True:
            await self._clock.sleep(TICK_WHILE_LOST if service.leases.lost() else TICK)
            try:
                service.settle()
                self._probes.probe(service.leases.lost())
                self._publish_due()
            except Exception:  # the leases must be judged again in a moment, whatever this was
                log.exception("a turn of the registry failed")

    def _publish_soon(self) -> None:
        """Send what is due, as soon as it is."""
        due = self._service.feed.due() if self._service is not None else None
        if due is not None:
            self._clock.call_later(max(0.0, due - self._clock.monotonic()), self._publish_due)

    def _publish_due(self) -> None:
        service, now = self._service, self._clock.monotonic()
        due = service.feed.due() if service is not None else None
        if service is None or due is None or due > now:
            return
        for name, revision, body in service.feed.news():
            if self._tell(name, body):
                service.feed.told(name, revision)
            else:
                service.feed.changed(now, urgent=False)  # try again; by then it may take a snapshot

    def _tell(self, host: str, body: bytes) -> bool:
        """Push an event to a host; returns False if it takes nothing now."""
        session = self._session_of(host)
        if session is None or session.blocked:
            return False
        session.send_event(wire.event(Event(CHANGES, body, f"{NAME}@{self._host.name}", self._clock.time())))
        return True

    def _session_of(self, host: str) -> Session | None:
        """Return the newest registry link of a host."""
        sessions = self._listener.sessions.values() if self._listener is not None else ()
        return next((one for one in reversed(list(sessions)) if one.kind == "host" and one.peer == host), None)

    # -- links

    def _identity(self) -> wire.Hello:
        return wire.Hello(self._config.mesh, "host", NAME, self._incarnation, (), __version__)

    def _session(self, session: Session, up: bool) -> None:
        service = self._service
        if service is None or session.kind == "operator":
            return
        kind: LinkKind = "heartbeat" if session.kind == "heartbeat" else "host"
        if up:
            service.leases.link_up(session.peer, session.incarnation, session, kind, self._clock.monotonic())
        else:
            service.leases.link_down(session.peer, session, self._clock.monotonic())
            if kind == "host" and self._session_of(session.peer) is None:
                service.feed.unsubscribe(session.peer)
        service.settle()
        self._probes.probe(service.leases.lost())

    def _beat(self, session: Session, age_ms: int, inventory: bytes) -> None:
        service = self._service
        if service is not None and service.heartbeat(session.peer, session.incarnation, age_ms / 1000, inventory):
            table = service.table
            self._tell(session.peer, encode({"epoch": table.epoch, "revision": table.revision, "announce": True}))

    def _proven_dead(self, host: str, incarnation: int) -> None:
        if self._service is not None:
            self._service.leases.refused(host, incarnation)
            self._service.settle()
            self._publish_due()

    # -- trouble

    def _trouble(self, kind: str, text: str) -> None:
        """Write down what admins should know, and have a host put it on the error bus: the registry has none."""
        told = self._throttle.text(kind, text, self._clock.monotonic())
        if told is None:
            return
        log.warning("%s", told)
        own = self._session_of(self._host.name)
        others = self._listener.sessions.values() if self._listener is not None else ()
        session = own or next((one for one in others if one.kind == "host"), None)
        if session is not None:
            body = encode({"kind": kind, "message": f"the registry: {told}"})
            session.send_event(wire.event(Event(TROUBLE, body, f"{NAME}@{self._host.name}", self._clock.time())))

    def _refused(self, address: str, key: str, reason: str) -> None:
        """Report a refused key; comes from the heartbeat thread."""
        self._loop.call_soon_threadsafe(
            self._trouble, "refused_key", f"a connection from {address} with key {key or 'none'} was refused: {reason}"
        )
