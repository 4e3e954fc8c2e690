"""A host keeps in step with the registry: it announces, follows, and outlives the registry's absence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from mesh.client import Client
from mesh.clock import Clock
from mesh.config import MeshConfig, Policies, load
from mesh.directory import Difference, Directory
from mesh.errors import MeshError, PermissionDenied, ProtocolError, StartError, Unreachable
from mesh.membership import CHANGES, REGISTRY, RETRY, SETTLING, Membership, checked_trouble
from mesh.message import Event, Reply, Request, encode
from mesh.metrics import Traffic
from mesh.policy.resolve import Resolver
from mesh.policy.rules import RuleBook
from mesh.policy.stack import Outgoing
from mesh.records import HostRecord, InstanceRecord, inventory_hash
from mesh.testing import FakeClock
from mesh.testing.clock import settle
from mesh.tracing import Trace
from mesh.transport import profile
from mesh.transport.deadlines import Deadlines
from mesh.transport.link import LinkCallbacks, Peer
from mesh.transport.pending import Pending
from mesh.transport.pool import Pool
from mesh.wire import Hello
from registry.changes import HostChange
from registry.daemon import Daemon
from registry.desired import Desired
from registry.leases import Leases
from registry.overrides import Overrides
from registry.service import RegistryService, Surroundings
from registry.sqlite_store import SqliteStore
from registry.table import Table
from tests.eventually import eventually
from tests.project import free_ports
from tests.registry.rows import cells, host

NO_RULES = RuleBook(Policies(), lambda _: None)


def configured(folder: Path) -> MeshConfig:
    """Return the configuration of a mesh of two hosts on free ports."""
    ports = free_ports(7)
    rows = "".join(f"  {name}: {{address: 127.0.0.1, port: {a}, events_port: {b}, metrics_port: {c}}}\n"
                   for name, (a, b, c) in (("mainpc", ports[:3]), ("pc2", ports[3:6])))
    (folder / "config" / "agents").mkdir(parents=True)
    (folder / "config" / "hosts.yaml").write_text(
        f"mesh: test\nsecurity: none\nregistry: {{host: mainpc, port: {ports[6]}, metrics_port: 0}}\nhosts:\n{rows}"
    )
    return load(folder, environ={})


class RecordedPool:
    """Takes down who is dialled and who is let go."""

    def __init__(self) -> None:
        self.dialled: list[Peer] = []
        self.dropped: list[tuple[str, str]] = []

    def connect(self, peer: Peer) -> None:
        self.dialled.append(peer)

    def drop(self, host: str, reason: str) -> None:
        self.dropped.append((host, reason))


class Office:
    """A registry without sockets; `away` makes it unreachable, `answers` takes the place of its own answers."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.away = False
        self.asked: list[str] = []
        self.answers: dict[str, Any] = {}
        self.epoch = 0
        self._store = SqliteStore(folder / "registry.db")

    async def open(self) -> None:
        """Begin anew, knowing nobody."""
        stored = await self._store.open()
        self.epoch += 1
        self.service = RegistryService(
            Surroundings("mainpc", "tcp://127.0.0.1:7400", ("mainpc", "pc2"), ("nlu",)), Table(self.epoch),
            Leases(self.clock.monotonic()), Desired(stored.desired), Overrides(stored.overrides), self._store,
            clock=self.clock,
        )

    async def handle(self, request: Request) -> Reply:
        self.asked.append(request.operation)
        if self.away:
            return Reply(error=Unreachable("the connection to registry is lost", began="unknown"))
        if request.operation in self.answers:
            return Reply(encode(self.answers[request.operation]))
        return await self.service.handle(request._replace(via="pc2"))

    def news(self) -> list[Event]:
        """Return what is due to pc2 as events."""
        events = []
        for name, revision, body in self.service.feed.news():
            self.service.feed.told(name, revision)
            events.append(Event(CHANGES, body, "registry@mainpc", 0.0))
        return events

    def host_is(self, record: HostRecord | None, name: str = "mainpc") -> None:
        """Record a change of a host, as a lease would."""
        self.service.table.record(HostChange(name, record))

    async def close(self) -> None:
        await self.service.close()


class Member:
    """The membership of pc2 and what it told its supervisor."""

    def __init__(self, config: MeshConfig, office: Office) -> None:
        self.office = office
        self.clock = office.clock
        self.pool = RecordedPool()
        self.directory = Directory(clock=self.clock)
        self.rows: list[InstanceRecord] = cells("nlu")
        self.directory.set_own(host("pc2", 7), self.rows)
        self.differences: list[Difference] = []
        self.refusals: list[MeshError] = []
        self.news: list[tuple[bool, str]] = []
        self.me = host("pc2", 7)
        self.key: str | None = "k" * 40
        send = Outgoing(
            NO_RULES, Resolver(self.directory, "pc2", self.clock, settling=lambda: False, changed=self._never), "pc2",
            local=office.handle, remote=lambda request, _: office.handle(request), clock=self.clock,
        )
        self.membership = Membership(
            config, "pc2", incarnation=7, directory=self.directory, pool=cast(Pool, self.pool),
            client=Client("supervisor@pc2", send, self.clock), clock=self.clock, key_of=self._key_of,
            me=lambda: self.me, inventory=lambda: self.rows, differed=self.differences.append,
            refused=self.refusals.append, news=lambda up, reason: self.news.append((up, reason)),
        )

    def _key_of(self, row: HostRecord) -> str | None:
        if self.key == "unknown":
            raise StartError("no key of mainpc is known")
        return self.key

    async def _never(self, limit: float) -> None:
        raise AssertionError("the registry is never waited for")

    async def joins(self) -> None:
        """Have the link to the registry come up and let what follows happen."""
        self.membership.linked(REGISTRY, True, "")
        await eventually(self.membership.announced.is_set)
        await settle()

    async def hears(self) -> None:
        """Take what the registry has to tell."""
        for event in self.office.news():
            assert self.membership.heard(event)
        await settle()

    @property
    def in_step(self) -> bool:
        return self.directory.position == (self.office.service.table.epoch, self.office.service.table.revision)


@asynccontextmanager
async def member(folder: Path) -> AsyncIterator[Member]:
    office = Office(folder, FakeClock())
    await office.open()
    made = Member(configured(folder), office)
    made.membership.start("the registry's key")
    try:
        yield made
    finally:
        made.membership.connected = False
        await made.membership.stop()
        await office.close()


def run(folder: Path, scenario: Callable[[Member], Awaitable[None]]) -> None:
    async def scene() -> None:
        async with member(folder) as one:
            await scenario(one)

    asyncio.run(scene())


# -- joining


def test_it_dials_the_registry_and_waits_for_the_link(tmp_path: Path) -> None:
    async def scenario(one: Member) -> None:
        await settle()
        (registry,) = one.pool.dialled
        assert (registry.host, registry.endpoint, registry.key) == (REGISTRY, one.membership.endpoint,
                                                                    "the registry's key")
        assert one.office.asked == [] and one.membership.settling() and not one.membership.announced.is_set()

    run(tmp_path, scenario)


def test_once_linked_it_announces_everything_and_learns_the_table(tmp_path: Path) -> None:
    async def scenario(one: Member) -> None:
        one.office.host_is(host("mainpc"))
        await one.joins()
        assert one.office.asked[:2] == ["sync", "announce"]
        assert one.membership.hash == inventory_hash(one.rows)
        table = one.office.service.table
        assert table.hosts["pc2"].incarnation == 7 and ("nlu", "pc2", 1) in table.instances
        await one.hears()
        assert one.in_step
        mainpc = one.directory.host("mainpc")
        assert mainpc is not None and mainpc.state == "ok"
        assert one.pool.dialled[1:] == [Peer("mainpc", "tcp://127.0.0.1:7420", "k" * 40, 1)]
        assert one.news == [(True, "")] and one.refusals == []
        assert any(after is not None and after.name == "mainpc" for _, after in one.differences[0].hosts)

    run(tmp_path, scenario)


def test_it_settles_two_seconds_after_its_start_if_it_was_announced(tmp_path: Path) -> None:
    async def scenario(one: Member) -> None:
        await one.clock.advance(SETTLING + 1)
        assert one.membership.settling()
        await one.joins()
        assert not one.membership.settling()

    run(tmp_path, scenario)


def test_what_changes_here_is_announced_anew(tmp_path: Path) -> None:
    async def scenario(one: Member) -> None:
        await one.joins()
        one.office.asked.clear()
        one.rows = cells("nlu", state="degraded") + cells("tts")
        one.membership.inventory_changed("nlu", cells("nlu", state="degraded"))
        one.membership.inventory_changed("tts", cells("tts"))
        assert {row.service for row in one.directory.instances("tts")} == {"tts"}, "known here at once"
        await eventually(lambda: ("tts", "pc2", 1) in one.office.service.table.instances)
        await settle()
        assert one.office.service.table.instances["nlu", "pc2", 1].state == "degraded"
        assert one.membership.hash == inventory_hash(one.rows)
        assert one.office.asked.count("announce") == 1

    run(tmp_path, scenario)


def test_a_host_that_takes_long_to_list_what_it_offers_rests_before_it_does_so_again(tmp_path: Path) -> None:
    async def scenario(one: Member) -> None:
        class Long(list[InstanceRecord]):
            """Takes 10 ms to be read."""

            def __iter__(self) -> Iterator[InstanceRecord]:
                one.clock._now += 0.01
                return super().__iter__()

        await one.joins()
        one.rows = Long(cells("nlu", state="degraded"))
        one.membership.inventory_changed("nlu", cells("nlu", state="degraded"))
        await eventually(lambda: one.office.service.table.instances["nlu", "pc2", 1].state == "degraded")
        one.office.asked.clear()
        one.rows = Long(cells("nlu"))
        one.membership.inventory_changed("nlu", cells("nlu"))
        await settle()
        assert one.office.asked == []
        await one.clock.advance(0.1)
        await eventually(lambda: one.office.service.table.instances["nlu", "pc2", 1].state == "ready")

    run(tmp_path, scenario)


def test_nothing_is_announced_twice(tmp_path: Path) -> None:
    async def scenario(one: Member) -> None:
        await one.joins()
        await one.hears()
        for _ in range(3):
            one.membership.inventory_changed("nlu", one.rows)
            await settle()
        assert one.office.asked.count("announce") == 1

    run(tmp_path, scenario)


# -- following


def test_hosts_are_dialled_when_they_come_and_let_go_when_they_are_gone(tmp_path: Path) -> None:
    async def scenario(one: Member) -> None:
        await one.joins()
        await one.hears()
        one.pool.dialled.clear()
        for record, dialled, dropped in (
            (host("mainpc"), 1, 0), (host("mainpc", state="busy"), 2, 0), (host("mainpc", state="suspect"), 3, 0),
            (host("mainpc", state="stuck"), 3, 0), (host("mainpc", state="leaving"), 3, 0),
            (host("mainpc", state="dead"), 3, 1), (host("mainpc", 2), 4, 1), (None, 4, 2),
        ):
            one.office.host_is(record)
            await one.hears()
            assert (len(one.pool.dialled), len(one.pool.dropped)) == (dialled, dropped), record
            assert one.in_step
        assert one.pool.dropped == [("mainpc", "mainpc is dead"), ("mainpc", "mainpc is gone")]
        assert one.pool.dialled[-1].incarnation == 2
        one.office.host_is(host("pc2", 7, state="suspect"), "pc2")
        await one.hears()
        assert len(one.pool.dialled) == 4, "nobody dials itself"

    run(tmp_path, scenario)


def test_a_host_whose_key_is_not_known_is_not_dialled_and_costs_nobody_else(tmp_path: Path) -> None:
    async def scenario(one: Member) -> None:
        one.key = "unknown"
        one.office.host_is(host("mainpc"))
        await one.joins()
        assert [peer.host for peer in one.pool.dialled] == [REGISTRY]
        assert one.directory.host("mainpc") is not None

    run(tmp_path, scenario)


def test_wishes_and_settings_of_operators_are_passed_on(tmp_path: Path) -> None:
    async def scenario(one: Member) -> None:
        await one.joins()
        await one.hears()
        one.differences.clear()
        asked = Request("registry", "set_desired", b"", 0.0, Trace.new(), "")
        for operation, given in (
            ("set_desired", {"service": "nlu", "host": "pc2", "desired": "stopped"}),
            ("set_override", {"service": "nlu", "key": "results", "value": 5}),
        ):
            (await one.office.service.handle(asked._replace(operation=operation, body=encode(given)))).value()
        await one.hears()
        (difference,) = one.differences
        assert (difference.desired, difference.overrides) == ((("nlu", "pc2"),), ("nlu",))

    run(tmp_path, scenario)


def test_a_change_that_does_not_follow_is_made_up_for(tmp_path: Path) -> None:
    async def scenario(one: Member) -> None:
        await one.joins()
        await one.hears()
        one.office.host_is(host("mainpc"))
        assert one.office.news(), "and this one is lost"
        one.office.host_is(host("mainpc", state="busy"))
        one.office.asked.clear()
        await one.hears()
        await eventually(lambda: one.in_step)
        assert one.office.asked == ["sync"]
        mainpc = one.directory.host("mainpc")
        assert mainpc is not None and mainpc.state == "busy"

    run(tmp_path, scenario)


def test_it_announces_itself_again_when_the_registry_asks_for_it(tmp_path: Path) -> None:
    async def scenario(one: Member) -> None:
        await one.joins()
        await one.hears()
        one.office.asked.clear()
        one.office.service.leases = Leases(one.clock.monotonic())
        epoch, revision = one.directory.position
        wanted = encode({"epoch": epoch, "revision": revision, "announce": True})
        assert one.membership.heard(Event(CHANGES, wanted, "registry@mainpc", 0.0))
        await eventually(lambda: "announce" in one.office.asked)
        await settle()
        assert one.office.asked.count("announce") == 1

    run(tmp_path, scenario)


def test_events_that_are_not_of_the_registry_are_left_to_others(tmp_path: Path) -> None:
    async def scenario(one: Member) -> None:
        assert not one.membership.heard(Event("door.opened", encode(None), "lamp@mainpc", 0.0))

    run(tmp_path, scenario)


@pytest.mark.parametrize("news", [
    [], "all is well", {}, {"epoch": 1}, {"epoch": "1", "revision": 1}, {"epoch": 1, "revision": True},
    {"epoch": 1, "revision": 9, "changes": 5}, {"epoch": 1, "revision": 9, "snapshot": b"nothing"},
    {"epoch": 9, "revision": 9, "snapshot": "nothing"},
])
def test_news_that_are_none_change_nothing(tmp_path: Path, news: Any) -> None:
    async def scenario(one: Member) -> None:
        await one.joins()
        await one.hears()
        before = one.directory.view
        with pytest.raises(ProtocolError):
            one.membership.heard(Event(CHANGES, encode(news), "registry@mainpc", 0.0))
        assert one.directory.view is before

    run(tmp_path, scenario)


# -- trouble


def test_a_host_that_is_refused_says_so_and_goes_on_asking(tmp_path: Path) -> None:
    async def scenario(one: Member) -> None:
        leases = one.office.service.leases
        leases.link_up("pc2", 99, "of another", "heartbeat", one.clock.monotonic())
        one.membership.linked(REGISTRY, True, "")
        await eventually(lambda: one.refusals)
        assert isinstance(one.refusals[0], PermissionDenied) and not one.membership.announced.is_set()
        assert "pc2" in one.refusals[0].message
        await one.clock.advance(RETRY)
        await eventually(lambda: len(one.refusals) == 2)
        one.office.service.leases = Leases(one.clock.monotonic())
        await one.clock.advance(RETRY)
        await eventually(one.membership.announced.is_set)
        assert len(one.refusals) == 2

    run(tmp_path, scenario)


def test_a_registry_that_is_lost_takes_nothing_away_and_is_joined_again(tmp_path: Path) -> None:
    async def scenario(one: Member) -> None:
        one.office.host_is(host("mainpc"))
        await one.joins()
        await one.hears()
        one.office.away = True
        for _ in range(2):
            one.membership.linked(REGISTRY, False, "closed the connection")
        one.rows = cells("tts")
        one.office.asked.clear()
        one.membership.inventory_changed("tts", one.rows)
        await one.clock.advance(60)
        assert one.office.asked == [] and one.directory.host("mainpc") is not None
        assert (one.membership.connected, one.membership.reason) == (False, "closed the connection")
        await one.office.open()
        one.office.away = False
        await one.joins()
        await eventually(lambda: ("tts", "pc2", 1) in one.office.service.table.instances)
        await one.hears()
        assert one.in_step and one.directory.position[0] == 2
        assert one.news == [(True, ""), (False, "closed the connection"), (True, "")]

    run(tmp_path, scenario)


@pytest.mark.parametrize("answer", [["all is well"], {"epoch": 1}, {"epoch": 1, "revision": 3, "changes": [{}]}])
def test_an_answer_that_is_none_is_asked_for_again(
    tmp_path: Path, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(one: Member) -> None:
        one.office.answers["sync"] = answer
        with caplog.at_level(logging.WARNING, "mesh.membership"):
            one.membership.linked(REGISTRY, True, "")
            await settle()
        assert "the registry does not answer as it should" in caplog.text
        assert one.office.asked == ["sync"] and not one.membership.announced.is_set()
        del one.office.answers["sync"]
        await one.clock.advance(RETRY)
        await eventually(one.membership.announced.is_set)

    run(tmp_path, scenario)


def test_calls_that_fail_on_the_way_are_made_again(tmp_path: Path) -> None:
    async def scenario(one: Member) -> None:
        one.office.away = True
        one.membership.linked(REGISTRY, True, "")
        await settle()
        await one.clock.advance(RETRY * 2.5)
        assert one.office.asked == ["sync"] * 3 and not one.membership.announced.is_set()
        one.office.away = False
        await one.clock.advance(RETRY)
        await eventually(one.membership.announced.is_set)

    run(tmp_path, scenario)


def test_a_lost_link_puts_a_host_last_until_it_is_back(tmp_path: Path) -> None:
    async def scenario(one: Member) -> None:
        one.office.host_is(host("mainpc"))
        await one.joins()
        for up in (True, False, True):
            one.membership.linked("mainpc", up, "closed the connection")
            assert one.directory.is_reachable("mainpc") is up
        one.membership.linked("pc3", False, "never heard of")
        assert one.news == [(True, "")]

    run(tmp_path, scenario)


# -- leaving


def test_it_says_goodbye(tmp_path: Path) -> None:
    async def scenario(one: Member) -> None:
        one.office.service.leases.link_up("pc2", 7, "its heartbeat", "heartbeat", one.clock.monotonic())
        await one.joins()
        await one.membership.stop()
        assert one.office.asked[-1] == "withdraw"
        assert one.office.service.table.hosts["pc2"].state == "leaving"

    run(tmp_path, scenario)


def test_a_goodbye_that_nobody_takes_holds_up_nothing(tmp_path: Path) -> None:
    async def scenario(one: Member) -> None:
        await one.joins()
        one.office.away = True
        await one.membership.stop()
        one.office.asked.clear()
        one.membership.linked(REGISTRY, False, "closed the connection")
        await one.membership.stop()
        assert one.office.asked == []

    run(tmp_path, scenario)


# -- over real sockets


def test_it_follows_a_real_registry_and_finds_it_again(tmp_path: Path) -> None:
    config = configured(tmp_path)

    async def scenario() -> None:
        stop = asyncio.Event()
        serving = await served(config, stop)
        async with linked_member(config) as (membership, directory, news):
            await eventually(lambda: directory.host("pc2") and membership.announced.is_set())
            await eventually(lambda: "pc2" in directory.view.hosts)
            epoch = directory.position[0]
            stop.set()
            await serving
            await eventually(lambda: not membership.connected)
            assert "pc2" in directory.view.hosts
            serving = await served(config, stop := asyncio.Event())
            await eventually(lambda: membership.connected and directory.position[0] > epoch)
            await eventually(lambda: directory.view.hosts["pc2"].incarnation == 7 and not directory.view.carried)
            assert [up for up, _ in news] == [True, False, True]
        stop.set()
        await serving

    asyncio.run(scenario())


async def served(config: MeshConfig, stop: asyncio.Event) -> asyncio.Task[None]:
    """Start a registry and return its task once it is ready."""
    ready = asyncio.Event()
    task = asyncio.create_task(Daemon(config).run(ready.set, stop.wait))
    await asyncio.wait([task, asyncio.ensure_future(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
    assert not task.done(), task.exception()
    return task


@asynccontextmanager
async def linked_member(
    config: MeshConfig,
) -> AsyncIterator[tuple[Membership, Directory, list[tuple[bool, str]]]]:
    """Give the membership of pc2 over a pool of real links."""
    clock, context, news = Clock(), profile.new_context(), list[tuple[bool, str]]()
    deadlines, directory = Deadlines(clock), Directory(clock=clock)
    me = host("pc2", 7)

    def heard(event: Event, _: str) -> None:
        membership.heard(event)

    pool = Pool(
        context, None, lambda: Hello(config.mesh, "host", "pc2", 7, ("#",)), Pending(deadlines),
        LinkCallbacks(lambda *link: membership.linked(*link), heard, lambda *_: None, lambda *_: None),
        clock, Traffic(),
    )

    async def never(limit: float) -> None: ...

    async def nobody(request: Request) -> Reply:
        raise AssertionError(request)

    send = Outgoing(NO_RULES, Resolver(directory, "pc2", clock, settling=lambda: False, changed=never), "pc2",
                    local=nobody, remote=pool.exchange, clock=clock)
    membership = Membership(
        config, "pc2", incarnation=7, directory=directory, pool=pool, client=Client("supervisor@pc2", send, clock),
        clock=clock, key_of=lambda row: None, me=lambda: me, inventory=lambda: cells("nlu"),
        differed=lambda difference: None, refused=lambda error: None, news=lambda *what: news.append(what),
    )
    directory.set_own(me, cells("nlu"))
    membership.start(None)
    try:
        yield membership, directory, news
    finally:
        await membership.stop()
        pool.close()
        deadlines.close()
        context.term()


# --- what the registry wants told -------------------------------------------------------------------------------------


def test_the_registrys_troubles_are_read_with_kind_and_message() -> None:
    body = encode({"kind": "refused_key", "message": "a connection was refused: unknown", "more": 1})
    assert checked_trouble(Event("registry.trouble", body, "registry@mainpc", 1.0)) == {
        "kind": "refused_key", "message": "a connection was refused: unknown"}


@pytest.mark.parametrize(("topic", "payload"), [
    ("registry.other", {"kind": "x", "message": "y"}), ("registry.trouble", ["x"]), ("registry.trouble", {"kind": "x"}),
    ("registry.trouble", {"kind": 1, "message": "y"})])
def test_anything_else_is_no_news_of_the_registry(topic: str, payload: object) -> None:
    with pytest.raises(ProtocolError, match="cannot read"):
        checked_trouble(Event(topic, encode(payload), "registry@mainpc", 1.0))
