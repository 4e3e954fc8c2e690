"""The registry's operations: what each does, and what it refuses with which words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mesh.clock import Clock
from mesh.directory import Directory, inventory_hash, unpack_snapshot
from mesh.errors import (
    InvalidArgument,
    MeshError,
    PermissionDenied,
    RemoteFailure,
    StoreError,
    UnknownOperation,
    UnknownService,
)
from mesh.message import Request, encode
from mesh.tracing import Trace
from registry.changes import DesiredChange, OverrideChange
from registry.desired import Desired
from registry.leases import Leases
from registry.overrides import Overrides
from registry.service import RegistryService, Surroundings
from registry.sqlite_store import SqliteStore
from registry.table import Table
from tests.registry.rows import cells, host

AROUND = Surroundings("mainpc", "tcp://127.0.0.1:7400", ("mainpc", "pc2"), ("nlu", "tts"))


class Turned(Clock):
    """A clock turned by hand."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_000_000 + self.now


class Desk:
    """A registry service and somebody who asks it."""

    def __init__(self, path: Path) -> None:
        self.clock = Turned()
        self.store = SqliteStore(path)
        self.told = 0

    async def open(self) -> Desk:
        found = await self.store.open()
        self.service = RegistryService(
            AROUND, Table(9), Leases(self.clock.now), Desired(found.desired), Overrides(found.overrides), self.store,
            clock=self.clock, on_change=self.on_change,
        )
        return self

    def on_change(self) -> None:
        self.told += 1

    async def ask(self, operation: str, via: str = "pc2", **arguments: Any) -> Any:
        return (await self.service.handle(request(operation, encode(arguments), via))).value()

    async def refused(self, kind: type[MeshError], operation: str, via: str = "pc2", **arguments: Any) -> MeshError:
        with pytest.raises(kind) as caught:
            await self.ask(operation, via, **arguments)
        return caught.value

    async def joins(self, name: str = "pc2", *services: str, incarnation: int = 1) -> Any:
        self.service.leases.link_up(name, incarnation, name, "heartbeat", self.clock.now)
        return await self.ask("announce", name, **inventory(name, *services, incarnation=incarnation))


def request(operation: str, body: bytes, via: str = "pc2") -> Request:
    return Request("registry", operation, body, 1e9, Trace.new(), "someone", via=via)


def inventory(name: str, *services: str, incarnation: int = 1) -> dict[str, Any]:
    rows = [row.to_wire() for row in cells(*services, where=name)]
    return {"host": host(name, incarnation).to_wire(), "instances": rows}


@pytest.fixture
def at_desk(tmp_path: Path) -> Callable[[Callable[[Desk], Awaitable[None]]], None]:
    """Run something at an open desk, which is closed afterwards."""

    def run(work: Callable[[Desk], Awaitable[None]]) -> None:
        async def inside() -> None:
            desk = await Desk(tmp_path / "registry.db").open()
            try:
                await work(desk)
            finally:
                await desk.service.close()

        asyncio.run(inside())

    return run


AtDesk = Callable[[Callable[[Desk], Awaitable[None]]], None]


def test_a_host_that_announces_itself_learns_what_operators_want_of_it(at_desk: AtDesk) -> None:
    async def work(desk: Desk) -> None:
        await desk.ask("set_desired", service="nlu", host="pc2", desired="stopped")
        await desk.ask("set_desired", service="nlu", host="mainpc", desired="stopped")
        await desk.ask("set_override", service="tts", key="voice.speed", value=1.5)
        reply = await desk.joins("pc2", "nlu", "asr")
        assert reply == {"epoch": 9, "revision": 6, "desired": {"nlu": "stopped"},
                         "overrides": {"tts": {"voice.speed": 1.5}}}
        table = await desk.ask("table")
        assert [row["service"] for row in table["instances"]] == ["asr", "nlu"]
        assert table["hosts"][0]["state"] == "ok" and table["hosts"][0]["since"] == 1_000_100

    at_desk(work)


def test_a_sync_brings_nothing_changes_or_a_snapshot_and_asks_for_an_announcement(at_desk: AtDesk) -> None:
    async def work(desk: Desk) -> None:
        known: dict[str, Any] = {"incarnation": 1, "hash": inventory_hash(cells("nlu"))}
        first = await desk.ask("sync", epoch=3, revision=70, **known)
        assert first["announce"] and unpack_snapshot(first["snapshot"])["hosts"] == []
        await desk.joins("pc2", "nlu")
        second = await desk.ask("sync", epoch=9, revision=0, **known)
        assert not second["announce"] and [change["kind"] for change in second["changes"]] == ["host", "instance"]
        assert await desk.ask("sync", epoch=9, revision=2, **known) == {"epoch": 9, "revision": 2, "announce": False}
        third = await desk.ask("sync", epoch=9, revision=2, incarnation=1, hash=b"other")
        assert third["announce"]

    at_desk(work)


def test_who_has_synced_is_fed_what_comes_after(at_desk: AtDesk) -> None:
    async def work(desk: Desk) -> None:
        directory = Directory()
        reply = await desk.ask("sync", "mainpc", incarnation=1, epoch=0, revision=0, hash=b"")
        directory.replace(reply["epoch"], reply["revision"], unpack_snapshot(reply["snapshot"]))
        told = desk.told
        await desk.joins("pc2", "nlu")
        assert desk.told > told and desk.service.feed.due() == pytest.approx(100.05)
        [(name, revision, _)] = desk.service.feed.news()
        assert (name, revision) == ("mainpc", 2)
        desk.service.leases.link_down("pc2", "pc2", desk.clock.now)
        desk.service.leases.refused("pc2", 1)
        desk.service.settle()
        assert desk.service.feed.due() == 100.0  # a death does not wait

    at_desk(work)


def test_a_withdrawn_host_leaves_and_is_not_asked_to_announce_itself(at_desk: AtDesk) -> None:
    async def work(desk: Desk) -> None:
        await desk.joins("pc2", "nlu")
        await desk.ask("withdraw", incarnation=1)
        table = await desk.ask("table")
        assert table["hosts"][0]["state"] == "leaving" and table["instances"] == []
        await desk.refused(PermissionDenied, "announce", **inventory("pc2", "nlu"))

    at_desk(work)


def test_nobody_announces_another_host_and_only_hosts_announce(at_desk: AtDesk) -> None:
    async def work(desk: Desk) -> None:
        error = await desk.refused(PermissionDenied, "announce", "mainpc", **inventory("pc2", "nlu"))
        assert error.message == "mainpc may announce only itself, host.name names pc2"
        mixed = {**inventory("pc2"), "instances": inventory("mainpc", "nlu")["instances"]}
        assert "instances names mainpc" in (await desk.refused(PermissionDenied, "announce", **mixed)).message
        for via in ("", "operator"):
            for operation, arguments in (("announce", inventory("pc2")), ("withdraw", {"incarnation": 1}),
                                         ("sync", {"incarnation": 1, "epoch": 0, "revision": 0, "hash": b""})):
                error = await desk.refused(PermissionDenied, operation, via, **arguments)
                assert "is for hosts" in error.message
        assert (await desk.ask("table"))["hosts"] == []

    at_desk(work)


def test_a_second_supervisor_of_one_name_is_refused_with_the_reason(at_desk: AtDesk) -> None:
    async def work(desk: Desk) -> None:
        await desk.joins("pc2", "nlu")
        for operation, arguments in (("announce", inventory("pc2", incarnation=2)),
                                     ("sync", {"incarnation": 2, "epoch": 0, "revision": 0, "hash": b""})):
            error = await desk.refused(PermissionDenied, operation, **arguments)
            assert "host pc2 is already running as incarnation 1 (pid 42 at 127.0.0.1)" in error.message

    at_desk(work)


@pytest.mark.parametrize(
    ("operation", "arguments", "path", "words"),
    [
        ("sync", {"incarnation": "1"}, "incarnation", "argument incarnation does not fit"),
        ("withdraw", {}, "incarnation", "argument incarnation is missing"),
        ("withdraw", {"incarnation": 1, "host": "pc2"}, "host", "argument host is not known; it takes incarnation"),
        ("status", {"all": True}, "all", "it takes no arguments"),
        ("announce", {"host": {"name": "pc2"}, "instances": []}, "host", "has no incarnation"),
        ("announce", {**inventory("pc2"), "instances": [{}]}, "instances[0]", "the instance row has no service"),
        ("set_desired", {"service": "nlu", "host": "pc2", "desired": "paused"}, "desired", "running or stopped"),
        ("set_desired", {"service": "nlu", "host": "pc22", "desired": "stopped"}, "host", "did you mean pc2?"),
        ("set_override", {"service": "nlu", "key": "a", "value": b"x"}, "value", "no config file could hold"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(
    at_desk: AtDesk, operation: str, arguments: dict[str, Any], path: str, words: str
) -> None:
    async def work(desk: Desk) -> None:
        error = await desk.refused(InvalidArgument, operation, **arguments)
        assert words in error.message and error.details["path"] == path

    at_desk(work)


def test_bodies_that_hold_no_arguments_are_refused(at_desk: AtDesk) -> None:
    async def work(desk: Desk) -> None:
        for body, words in ((b"\xc1", "do not decode"), (encode([1]), "are list, expected a map")):
            reply = await desk.service.handle(request("status", body))
            assert isinstance(reply.error, InvalidArgument) and words in reply.error.message

    at_desk(work)


def test_unknown_operations_and_services_come_with_the_nearest_name(at_desk: AtDesk) -> None:
    async def work(desk: Desk) -> None:
        error = await desk.refused(UnknownOperation, "anounce")
        assert error.details["suggestion"] == "announce" and "set_desired" in error.message
        for operation, arguments in (("set_desired", {"host": "pc2", "desired": "stopped"}),
                                     ("set_override", {"key": "a", "value": 1})):
            error = await desk.refused(UnknownService, operation, service="nlo", **arguments)
            assert error.details["suggestion"] == "nlu" and "did you mean nlu?" in error.message
        await desk.joins("pc2", "newcomer")  # what was ever announced is known
        await desk.ask("set_desired", service="newcomer", host="pc2", desired="stopped")

    at_desk(work)


def test_status_says_how_the_registry_and_its_hosts_are(at_desk: AtDesk) -> None:
    async def work(desk: Desk) -> None:
        await desk.joins("pc2", "nlu")
        desk.clock.now += 0.4
        status = await desk.ask("status", "operator")
        assert status["state"] == "ok" and status["store"] == "sqlite" and status["epoch"] == 9
        assert status["endpoint"] == "tcp://127.0.0.1:7400" and status["revision"] == 2
        assert status["hosts"][0]["name"] == "pc2" and status["hosts"][0]["lease_age_s"] == 0.4

    at_desk(work)


def test_what_was_accepted_is_there_after_a_restart(at_desk: AtDesk) -> None:
    async def before(desk: Desk) -> None:
        await desk.ask("set_desired", service="nlu", host="pc2", desired="stopped")
        await desk.ask("set_override", service="nlu", key="a", value=None)
        await desk.ask("set_override", service="nlu", key="b", value=2)
        await desk.ask("unset_override", service="nlu", key="b")

    async def after(desk: Desk) -> None:
        table = await desk.ask("table")
        assert table["desired"] == [{"service": "nlu", "host": "pc2", "desired": "stopped"}]
        assert table["overrides"] == [{"service": "nlu", "key": "a", "value": None}]

    at_desk(before)
    at_desk(after)


def test_a_write_that_cannot_be_stored_is_refused_and_does_not_count(
    at_desk: AtDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_: SqliteStore, change: DesiredChange | OverrideChange) -> None:
        raise StoreError("/disk/registry.db: the disk is full; free space there, nothing was written")

    async def work(desk: Desk) -> None:
        monkeypatch.setattr(SqliteStore, "save", full)
        error = await desk.refused(RemoteFailure, "set_desired", service="nlu", host="pc2", desired="stopped")
        assert "the disk is full" in error.message and error.details["type"] == "StoreError"
        assert (await desk.ask("table"))["desired"] == [] and desk.service.table.revision == 0

    at_desk(work)


def test_a_change_whose_caller_gave_up_while_it_was_written_counts(
    at_desk: AtDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(desk: Desk) -> None:
        begun, go_on, save = asyncio.Event(), asyncio.Event(), SqliteStore.save

        async def slow(store: SqliteStore, change: DesiredChange | OverrideChange) -> None:
            begun.set()
            await go_on.wait()
            await save(store, change)

        monkeypatch.setattr(SqliteStore, "save", slow)
        task = asyncio.ensure_future(desk.ask("set_desired", service="nlu", host="pc2", desired="stopped"))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await desk.ask("set_desired", service="tts", host="pc2", desired="stopped")  # in the order of the calls
        assert [row["service"] for row in (await desk.ask("table"))["desired"]] == ["nlu", "tts"]

    at_desk(work)


def test_an_unexpected_error_is_answered_and_the_registry_goes_on(
    at_desk: AtDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(desk: Desk) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Table, "plain", lambda self: 1 / 0)
            error = await desk.refused(RemoteFailure, "table")
            assert error.details["type"] == "ZeroDivisionError"
        assert (await desk.ask("table"))["hosts"] == []

    at_desk(work)
