"""A host as the registry sees it: its two links, its requests, the table it follows, and a port somebody answers at."""

from __future__ import annotations

import socket
from typing import Any

from mesh.clock import Clock
from mesh.config import MeshConfig
from mesh.directory import Directory, unpack_snapshot
from mesh.message import Event, Request, encode, replied
from mesh.metrics import Traffic
from mesh.records import HostRecord, InstanceRecord, inventory_hash
from mesh.tracing import Trace
from mesh.transport import profile
from mesh.transport.deadlines import Deadlines
from mesh.transport.heartbeat import Heartbeat
from mesh.transport.keys import ensure_for
from mesh.transport.link import LinkCallbacks, Peer
from mesh.transport.pending import Pending
from mesh.transport.pool import Pool
from mesh.wire import Hello
from tests.eventually import eventually
from tests.registry.rows import cells

LIMIT = 30.0


class FakeHost:
    """Speaks to a registry over real sockets; to be made and closed on a running loop."""

    def __init__(self, config: MeshConfig, name: str, incarnation: int = 1) -> None:
        self.name = name
        self.incarnation = incarnation
        self.directory = Directory()
        self.rows: list[InstanceRecord] = []
        self.hash = b""
        self.asked = 0
        self.up = self.alive = False
        self.refusals: list[str] = []
        self._config = config
        self._clock = Clock()
        self._keys = ensure_for(config, name) if config.security == "curve" else None
        self._context = profile.new_context()
        self._deadlines = Deadlines(self._clock)
        self._pool = Pool(
            self._context, self._keys.own if self._keys else None,
            lambda: Hello(config.mesh, "host", name, incarnation, ("#",)), Pending(self._deadlines),
            LinkCallbacks(self._on_state, self._on_event, lambda *_: None, lambda _, text: self.refusals.append(text)),
            self._clock, Traffic(),
        )
        self._heartbeat = Heartbeat(self._context, {}, clock=self._clock, on_refused=lambda *_: None)
        self._heartbeat.start()
        self._port = socket.create_server((config.hosts[name].address, 0))

    @property
    def row(self) -> HostRecord:
        """Its row; the port is one at which it really answers until it dies."""
        port = self._port.getsockname()[1]
        return HostRecord(self.name, self.incarnation, "127.0.0.1", port, 7421, "", "0.1.0", "ok", 4242)

    async def joins(self, *services: str) -> FakeHost:
        """Connect, learn the table, announce `services` and let the heart beat."""
        self.dials()
        await eventually(lambda: self.up, LIMIT)
        await self.syncs()
        await self.announces(*services)
        self.beats()
        return self

    def dials(self) -> None:
        """Begin to connect."""
        self._pool.connect(Peer("registry", self.endpoint, self._key))

    @property
    def endpoint(self) -> str:
        """Where its registry listens."""
        return f"tcp://127.0.0.1:{self._config.registry.port}"

    @property
    def _key(self) -> str | None:
        return self._keys.peer(self._config.registry.host) if self._keys else None

    def beats(self) -> None:
        """Begin to send heartbeats of a loop that turns."""
        self._heartbeat.beat(
            self.endpoint, self._key, self._keys.own if self._keys else None, mesh=self._config.mesh, host=self.name,
            incarnation=self.incarnation, progress=self._clock.monotonic, inventory_hash=lambda: self.hash,
            on_state=self._on_life,
        )

    async def ask(self, operation: str, **arguments: Any) -> Any:
        """Call an operation of the registry and return its value."""
        deadline = self._clock.monotonic() + LIMIT
        request = Request("registry", operation, encode(arguments), deadline, Trace.new(), f"test@{self.name}")
        return (await replied(self._pool.exchange(request, "registry"))).value()

    async def syncs(self) -> bool:
        """Fetch what it lacks of the table; returns whether it is asked to announce itself."""
        epoch, revision = self.directory.position
        answer = await self.ask("sync", incarnation=self.incarnation, epoch=epoch, revision=revision, hash=self.hash)
        self._take(answer)
        return bool(answer["announce"])

    async def announces(self, *services: str) -> Any:
        """Announce itself with these services."""
        self.rows = cells(*services, where=self.name)
        self.hash = inventory_hash(self.rows)
        return await self.ask("announce", host=self.row.to_wire(), instances=[row.to_wire() for row in self.rows])

    def state_of(self, name: str) -> str | None:
        """Return the state of a host as it was told here."""
        record = self.directory.view.hosts.get(name)
        return None if record is None else record.state

    def lists(self, service: str) -> bool:
        """Tell whether a service is listed as far as it was told here."""
        return bool(self.directory.instances(service))

    def closes_port(self) -> None:
        """Let nobody answer at its port, as when its process has died."""
        self._port.close()

    def loses_links(self) -> None:
        """Break both links at once, as when its process has died."""
        self._heartbeat.rest()
        self._pool.drop("registry", "as the test wants")

    def close(self) -> None:
        """Give everything back."""
        self._port.close()
        self._pool.close()
        self._deadlines.close()
        self._heartbeat.stop()
        self._context.term()

    def _on_state(self, peer: str, up: bool, reason: str) -> None:
        self.up = up

    def _on_life(self, alive: bool) -> None:
        self.alive = alive

    def _on_event(self, event: Event, peer: str) -> None:
        assert event.topic == "registry.changes"
        news = event.value()
        if news.get("announce"):
            self.asked += 1
        else:
            self._take(news)

    def _take(self, news: dict[str, Any]) -> None:
        number = news["epoch"], news["revision"]
        if "snapshot" in news:
            self.directory.replace(*number, unpack_snapshot(news["snapshot"]))
        elif "changes" in news and self.directory.apply(*number, news["changes"]).gap:
            raise AssertionError(f"changes are missing before {number}")
