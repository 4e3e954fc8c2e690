"""The registry as a process: one listener, and a clock that has the leases judged.

A session of kind `heartbeat` is a host's sign of life; one of kind `host` brings its requests and takes the news. When
a heartbeat link is lost the host's own port is tried: a refused connection proves that nobody lives there, and the
death is told at once instead of after two seconds.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from mesh import __version__, wire
from mesh.address import endpoint
from mesh.clock import Clock
from mesh.config import MeshConfig
from mesh.errors import StartError, StoreError
from mesh.message import Event
from mesh.metrics import Traffic
from mesh.records import HostRecord
from mesh.transport import profile
from mesh.transport.heartbeat import Heartbeat
from mesh.transport.keys import Keys, ensure_for
from mesh.transport.listener import Listener, ListenerCallbacks
from mesh.transport.session import Session
from registry.desired import Desired
from registry.leases import Leases, LinkKind
from registry.overrides import Overrides
from registry.service import RegistryService, Surroundings
from registry.store import Store, next_epoch
from registry.table import Table

log = logging.getLogger("registry")

NAME = "registry"
CHANGES = "registry.changes"
TICK = 0.1
PROBE_SECONDS = 0.5
FILE = "registry.db"


class Daemon:
    """The registry of one mesh, on the host that `hosts.yaml` names."""

    def __init__(self, config: MeshConfig, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock or Clock()
        self._host = config.hosts[config.registry.host]
        self._keys: Keys | None = None if config.security == "none" else ensure_for(config, self._host.name)
        self._store = Store(self._folder / FILE)
        self._incarnation = 0
        self._service: RegistryService | None = None
        self._context = profile.new_context()
        self._heartbeat = Heartbeat(self._context, self._keys.allow if self._keys else {}, clock=self._clock,
                                    on_refused=self._refused)
        self._listener: Listener | None = None
        self._probes: dict[str, asyncio.Task[None]] = {}

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
            service = self._service = await self._open()
            self._heartbeat.start()
            listener = self._listener = Listener(
                self._context, self._keys.own if self._keys else None, self._identity, service.handle,
                ListenerCallbacks(self._session, self._beat, self._trouble), self._clock, Traffic(),
            )
            self._bind(listener)
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
            epoch = next_epoch(stored.epoch, self._clock.time())
            await self._store.save_epoch(epoch)
        except StoreError as error:
            raise StartError(f"the registry cannot use its store: {error}") from None
        self._incarnation = epoch
        around = Surroundings(self._host.name, self.endpoint, tuple(self._config.hosts), tuple(self._config.agents),
                              self._config.security)
        return RegistryService(
            around, Table(epoch), Leases(self._clock.monotonic()), Desired(stored.desired),
            Overrides(stored.overrides), self._store, clock=self._clock, on_change=self._publish_soon,
        )

    def _bind(self, listener: Listener) -> None:
        try:
            listener.bind(self.endpoint)
        except StartError as error:
            raise StartError(f"the registry {error.message}; its port is registry: port: in config/hosts.yaml"
                             ) from None

    async def _close(self) -> None:
        for probe in self._probes.values():
            probe.cancel()
        await asyncio.gather(*self._probes.values(), return_exceptions=True)
        if self._listener is not None:
            self._listener.tell(wire.leaving())
            self._listener.close()
        self._heartbeat.stop()
        self._context.term()
        if self._service is not None:
            await self._service.close()
        else:
            await self._store.close()

    # -- time

    async def _tick(self, service: RegistryService) -> None:
        while True:
            await self._clock.sleep(TICK)
            service.settle()
            self._publish_due()

    def _publish_soon(self) -> None:
        """Send what is due, as soon as it is."""
        due = self._service.feed.due() if self._service is not None else None
        if due is not None:
            self._clock.call_later(max(0.0, due - self._clock.monotonic()), self._publish_due)

    def _publish_due(self) -> None:
        service, listener = self._service, self._listener
        if service is None or listener is None:
            return
        due = service.feed.due()
        if due is None or due > self._clock.monotonic():
            return
        sessions = {session.peer: session for session in listener.sessions.values() if session.kind == "host"}
        for name, revision, body in service.feed.news():
            session = sessions.get(name)
            if session is not None and not session.blocked:
                session.send_event(wire.event(Event(CHANGES, body, f"{NAME}@{self._host.name}", self._clock.time())))
                service.feed.told(name, revision)

    # -- links

    def _identity(self) -> wire.Hello:
        return wire.Hello(self._config.mesh, "host", NAME, self._incarnation, (), __version__)

    def _session(self, session: Session, up: bool) -> None:
        service = self._service
        if service is None or session.kind == "operator":
            return
        now = self._clock.monotonic()
        kind: LinkKind = "heartbeat" if session.kind == "heartbeat" else "host"
        if up:
            service.leases.link_up(session.peer, session.incarnation, session, kind, now)
        else:
            service.leases.link_down(session.peer, session, now)
            if kind == "host":
                service.feed.unsubscribe(session.peer)
        service.settle()
        for record in service.leases.lost():
            self._probe(record)

    def _beat(self, session: Session, age_ms: int, inventory: bytes) -> None:
        service = self._service
        if service is None:
            return
        service.leases.heartbeat(session.peer, session.incarnation, age_ms / 1000, self._clock.monotonic())
        service.settle()

    def _probe(self, record: HostRecord) -> None:
        """Find out whether a lost host's port still answers, once at a time for each host."""
        if record.name not in self._probes:
            task = asyncio.get_running_loop().create_task(self._try(record))
            self._probes[record.name] = task
            task.add_done_callback(lambda _: self._probes.pop(record.name, None))

    async def _try(self, record: HostRecord) -> None:
        if await refuses(record.address, record.port) and self._service is not None:
            self._service.leases.refused(record.name, record.incarnation)
            self._service.settle()
            self._publish_due()

    # -- trouble

    def _trouble(self, kind: str, text: str) -> None:
        log.warning("%s", text)

    def _refused(self, address: str, key: str, reason: str) -> None:
        log.warning("a connection from %s with key %s was refused: %s", address, key, reason)


async def refuses(address: str, port: int, limit: float = PROBE_SECONDS) -> bool:
    """Tell whether a plain TCP connection to `address` is refused, which proves that nothing listens there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            async with asyncio.timeout(limit):
                await asyncio.get_running_loop().sock_connect(probe, (address, port))
        except ConnectionRefusedError:
            return True
        except (OSError, TimeoutError):
            return False
    return False
