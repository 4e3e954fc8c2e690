"""This host's part in the mesh: announce what it offers, follow the registry's table, keep links to the other hosts.

One task does it all in order: whatever happens (the registry's link came up, the inventory changed, a change did not
follow) only wakes it, and it asks the registry what it lacks. Without the registry nothing here fails: the directory
stays as it was and calls go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mesh.address import endpoint
from mesh.client import Client
from mesh.clock import Clock
from mesh.config import MeshConfig
from mesh.directory import Difference, Directory, unpack_snapshot
from mesh.errors import MeshError, PermissionDenied, ProtocolError
from mesh.message import Event
from mesh.metrics import Sample, gauge
from mesh.records import LISTED_STATES, HostRecord, InstanceRecord, inventory_hash
from mesh.transport.link import Peer
from mesh.transport.pool import Pool

log = logging.getLogger("mesh.membership")

CONNECTED = gauge("mesh_registry_connected", "1 while this host is connected to the registry.")

REGISTRY = "registry"
CHANGES = "registry.changes"
TROUBLE = "registry.trouble"
TIMEOUT = 5.0
RETRY = 0.5
SETTLING = 2.0
REST = 4.0
"""Times as long as it took to list what this host offers until that is done again: a fifth of the loop at most."""
LONGEST_REST = 0.1


class Membership:
    """Keeps directory, registry and links in step.

    `me` gives this host's row, `inventory` its instances. `differed` is told what changed in the directory, `refused`
    that the registry will not have this host, `news` that the registry came or went.
    """

    def __init__(
        self, config: MeshConfig, name: str, *, incarnation: int, directory: Directory, pool: Pool, client: Client,
        clock: Clock, key_of: Callable[[HostRecord], str | None], me: Callable[[], HostRecord],
        inventory: Callable[[], list[InstanceRecord]], differed: Callable[[Difference], None],
        refused: Callable[[MeshError], None], news: Callable[[bool, str], None],
    ) -> None:
        self.connected = False
        self.reason = "not connected yet"
        self.announced = asyncio.Event()
        self._config = config
        self._name = name
        self._incarnation = incarnation
        self._directory = directory
        self._pool = pool
        self._client = client
        self._clock = clock
        self._key_of = key_of
        self._me = me
        self._inventory = inventory
        self._differed = differed
        self._refused = refused
        self._news = news
        self._wake = asyncio.Event()
        self._started = clock.monotonic()
        self._hash = b""
        self._listing = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def endpoint(self) -> str:
        """Where the registry listens."""
        return endpoint(self._config.hosts[self._config.registry.host].address, self._config.registry.port)

    @property
    def hash(self) -> bytes:
        """A hash of what was announced last; heartbeats carry it. Read by the heartbeat thread."""
        return self._hash

    def start(self, key: str | None) -> None:
        """Dial the registry, whose key is `key`, and begin to follow it."""
        self._task = asyncio.get_running_loop().create_task(self._follow(), name="membership")
        self._pool.connect(Peer(REGISTRY, self.endpoint, key))

    async def stop(self) -> None:
        """Say goodbye to the registry, if it is there, and stop following it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.connected:
            try:
                await self._ask("withdraw", {"incarnation": self._incarnation}, 1.0)
            except MeshError as error:
                log.info("the registry did not take our goodbye: %s", error)

    def samples(self) -> Iterator[Sample]:
        """Yield whether the registry is there."""
        yield CONNECTED.sample(self.connected)

    def settling(self) -> bool:
        """Tell whether this host joined so lately that it may not have heard of every service yet."""
        return not self.announced.is_set() or self._clock.monotonic() - self._started < SETTLING

    def inventory_changed(self, service: str, rows: Iterable[InstanceRecord]) -> None:
        """Have it announced that this host offers `rows` of a service from now on; the directory knows it at once."""
        self._directory.set_own_service(service, rows)
        self._wake.set()

    # -- what the links say

    def linked(self, host: str, up: bool, reason: str) -> None:
        """Take the news that a link came up or was lost."""
        if host == REGISTRY:
            before, self.connected, self.reason = self.connected, up, reason
            self._wake.set()
            if before != up:
                self._news(up, reason)
        elif up:
            self._directory.clear(host)
        else:
            record = self._directory.host(host)
            if record is not None:
                self._directory.mark_unreachable(host, record.incarnation)

    def heard(self, event: Event) -> bool:
        """Take an event that came on the registry's link; returns whether it was one of the registry's."""
        if event.topic != CHANGES:
            return False
        news = event.value()
        if not isinstance(news, dict):
            raise ProtocolError("the registry's changes are a map")
        if not self._apply(news) or news.get("announce"):  # changes are missing, or it lost sight of this host
            self._wake.set()
        return True

    # -- following

    async def _follow(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self.connected:
                continue
            try:
                await self._catch_up()
                if self._listing > 0:
                    await self._clock.sleep(min(LONGEST_REST, REST * self._listing))
            except PermissionDenied as error:
                self._refused(error)
                await self._clock.sleep(RETRY)
                self._wake.set()
            except MeshError as error:
                log.warning("the registry does not answer as it should: %s", error)
                await self._clock.sleep(RETRY)
                self._wake.set()

    async def _catch_up(self) -> None:
        """Announce what the registry lacks of us and take what we lack of it."""
        began = self._clock.monotonic()
        instances = self._inventory()
        self._hash = inventory_hash(instances)
        self._listing = self._clock.monotonic() - began
        epoch, revision = self._directory.position
        answer = await self._ask("sync", {"incarnation": self._incarnation, "epoch": epoch, "revision": revision,
                                          "hash": self._hash})
        if answer.get("announce"):
            await self._ask("announce", {"host": self._me().to_wire(),
                                         "instances": [row.to_wire() for row in instances]})
        if not self._apply(answer):
            raise ProtocolError("the registry's answer does not follow what this host has of its table")
        self.announced.set()

    async def _ask(self, operation: str, arguments: Mapping[str, Any], timeout: float = TIMEOUT) -> dict[str, Any]:
        answer = await self._client.request(f"{REGISTRY}.{operation}", arguments, timeout)
        if not isinstance(answer, dict):
            raise ProtocolError(f"the registry answered {operation} with {type(answer).__name__}, expected a map")
        return answer

    def _apply(self, news: Mapping[str, Any]) -> bool:
        """Take news of the registry; returns False if changes before them are missing."""
        epoch, revision = news.get("epoch"), news.get("revision")
        if type(epoch) is not int or type(revision) is not int:
            raise ProtocolError("news from the registry is numbered by epoch and revision")
        if "snapshot" in news:
            difference = self._directory.replace(epoch, revision, unpack_snapshot(news["snapshot"]))
        elif "changes" in news:
            if type(news["changes"]) is not list:
                raise ProtocolError(f"the registry's changes are {type(news['changes']).__name__}, expected a list")
            difference = self._directory.apply(epoch, revision, news["changes"])
        else:
            return True
        if difference:
            self._connect(difference)
            self._differed(difference)
        return not difference.gap

    def _connect(self, difference: Difference) -> None:
        """Dial hosts that came or moved, let go of those that are gone."""
        for before, after in difference.hosts:
            row = after or before
            if row is None or row.name == self._name:
                continue
            if after is None or after.state == "dead":
                self._pool.drop(row.name, f"{row.name} is {after.state if after else 'gone'}")
            elif after.state in LISTED_STATES:  # one that is leaving keeps its link until it has answered everybody
                self._dial(after)

    def _dial(self, row: HostRecord) -> None:
        try:
            key = self._key_of(row)
        except MeshError as error:
            log.warning("no link to %s: %s", row.name, error)
            return
        self._pool.connect(Peer(row.name, endpoint(row.address, row.port), key, row.incarnation))


def checked_trouble(event: Event) -> dict[str, str]:
    """Return kind and message of what the registry wants on the error bus; raises `ProtocolError` for anything else."""
    told = event.value()
    if event.topic != TROUBLE or type(told) is not dict or any(type(told.get(name)) is not str
                                                              for name in ("kind", "message")):
        raise ProtocolError(f"the registry sent an event {event.topic} that this host cannot read")
    return {"kind": told["kind"], "message": told["message"]}
