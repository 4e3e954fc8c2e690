"""A call goes to the host that offers the service; a service that is about to come is waited for, a typo is not."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from mesh.config import Policies
from mesh.directory import Directory
from mesh.errors import Unavailable, UnknownService
from mesh.message import Reply, Request, encode, replied
from mesh.policy.resolve import PATIENCE, Resolver
from mesh.policy.rules import RuleBook
from mesh.policy.stack import Outgoing
from mesh.records import HostRecord, InstanceRecord
from mesh.testing import FakeClock
from mesh.testing.clock import settle
from tests.policy.calls import ask, on_a_loop


class Routing:
    """A resolver on pc2 over a directory that the test writes, and where the calls went."""

    def __init__(self, known: tuple[str, ...] = ("kb", "nlu", "memory")) -> None:
        self.clock = FakeClock()
        self.directory = Directory(known_names=known, clock=self.clock)
        self.went: list[str] = []
        self.settles = False
        self._changed = asyncio.Event()
        self._revision = 0
        self.resolver = Resolver(
            self.directory, "pc2", self.clock, settling=lambda: self.settles, changed=self._wait,
        )
        rules = RuleBook(Policies(retry=None), lambda _: None)
        self.send = Outgoing(rules, self.resolver, "pc2", local=self._local, remote=self._remote,
                             clock=self.clock)

    def table(self, *instances: tuple[str, str, str], hosts: tuple[str, ...] = ("mainpc", "pc2")) -> None:
        """Let the directory hold these (service, place, state)."""
        self._revision += 1
        self.directory.replace(1, self._revision, {
            "settled": True, "desired": [], "overrides": [],
            "hosts": [HostRecord(name, 1, "127.0.0.1", 1, 2, "", "", "ok", 0).to_wire() for name in hosts],
            "instances": [InstanceRecord(service, place.partition("#")[0], 1, state,  # type: ignore[arg-type]
                                         number=int(place.partition("#")[2] or 1)).to_wire()
                          for service, place, state in instances],
        })
        self._changed.set()
        self._changed = asyncio.Event()

    async def call(self, service: str, **fields: Any) -> asyncio.Task[Reply]:
        async def made() -> Reply:
            return await replied(self.send(ask("x", target=f"{service}.find", **fields)))

        task = asyncio.ensure_future(made())
        await settle()
        return task

    async def error(self, service: str, **fields: Any) -> Exception:
        reply = await (await self.call(service, **fields))
        assert reply.error is not None
        return reply.error

    async def _local(self, request: Request) -> Reply:
        self.went.append("pc2 itself")
        return Reply(encode("answer"))

    async def _remote(self, request: Request, host: str) -> Reply:
        self.went.append(host)
        return Reply(encode("answer"))

    async def _wait(self, limit: float) -> None:
        changed, over = self._changed, asyncio.Event()
        timer = self.clock.call_later(limit, over.set)
        waits = [asyncio.ensure_future(changed.wait()), asyncio.ensure_future(over.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        timer.cancel()
        for wait in waits:
            wait.cancel()


@on_a_loop
async def test_a_call_goes_where_its_service_is() -> None:
    it = Routing()
    it.table(("kb", "mainpc", "ready"), ("nlu", "pc2", "ready"), ("memory", "mainpc", "degraded"))
    for service in ("kb", "nlu", "memory"):
        assert (await (await it.call(service))).value() == "answer"
    assert it.went == ["mainpc", "pc2 itself", "mainpc"]


@on_a_loop
async def test_the_own_instance_comes_first_and_a_wish_before_it() -> None:
    it = Routing()
    it.table(("kb", "mainpc", "ready"), ("kb", "pc2", "ready"))
    await (await it.call("kb"))
    await (await it.call("kb", to_host="mainpc"))
    assert it.went == ["pc2 itself", "mainpc"]


@on_a_loop
async def test_supervisor_and_registry_need_no_directory() -> None:
    it = Routing()
    await (await it.call("supervisor"))
    await (await it.call("supervisor", to_host="mainpc"))
    await (await it.call("supervisor", to_host="pc2"))
    await (await it.call("registry"))
    assert it.went == ["pc2 itself", "mainpc", "pc2 itself", "registry"]


@on_a_loop
async def test_an_unknown_name_fails_at_once_with_the_nearest_one_even_while_the_host_settles() -> None:
    it = Routing(known=("knowledge_base", *(f"service{number}" for number in range(500))))
    it.settles = True
    begun = time.thread_time()
    error = await it.error("knowlege_base")
    assert time.thread_time() - begun < 0.05
    assert isinstance(error, UnknownService)
    assert error.details == {"suggestion": "knowledge_base"}
    assert "did you mean knowledge_base?" in error.message
    assert it.went == []


@on_a_loop
async def test_a_service_that_starts_is_waited_for() -> None:
    it = Routing()
    it.table(("kb", "mainpc", "starting"))
    call = await it.call("kb")
    await it.clock.advance(PATIENCE - 0.1)
    assert not call.done()
    it.table(("kb", "mainpc", "ready"))
    assert (await call).value() == "answer"
    assert it.went == ["mainpc"]


@on_a_loop
async def test_a_change_that_is_none_for_the_service_is_waited_out() -> None:
    it = Routing()
    it.table(("kb", "mainpc", "starting"))
    call = await it.call("kb")
    for state in ("starting", "ready", "degraded"):
        it.table(("kb", "mainpc", "starting"), ("nlu", "mainpc", state))
        await settle()
    assert not call.done()
    it.table(("kb", "mainpc", "ready"))
    assert (await call).value() == "answer"


@on_a_loop
async def test_a_service_that_starts_too_long_is_given_up_after_two_seconds() -> None:
    it = Routing()
    it.table(("kb", "mainpc", "starting"))
    call = await it.call("kb")
    await it.clock.advance(PATIENCE + 0.001)
    error = (await call).error
    assert isinstance(error, Unavailable)
    assert "starting" in error.message
    assert error.details["retry_after"] > 0


@on_a_loop
async def test_nobody_waits_longer_than_the_call_may_take() -> None:
    it = Routing()
    it.table(("kb", "mainpc", "starting"))
    call = await it.call("kb", deadline=1000.5)
    await it.clock.advance(0.51)
    assert isinstance((await call).error, Unavailable)


@on_a_loop
async def test_a_service_that_is_down_is_not_waited_for_and_the_reason_told() -> None:
    it = Routing()
    it.table(("kb", "mainpc", "quarantined"))
    error = await it.error("kb")
    assert isinstance(error, Unavailable)
    assert "kb is quarantined on mainpc" in error.message


@on_a_loop
async def test_a_start_that_fails_while_it_is_waited_for_ends_the_waiting() -> None:
    it = Routing()
    it.table(("kb", "mainpc", "starting"))
    call = await it.call("kb")
    it.table(("kb", "mainpc", "quarantined"))
    error = (await call).error
    assert isinstance(error, Unavailable)
    assert "quarantined" in error.message


@on_a_loop
async def test_a_host_that_has_only_just_joined_waits_for_names_it_knows() -> None:
    it = Routing()
    it.settles = True
    call = await it.call("kb")
    await it.clock.advance(1.0)
    it.table(("kb", "mainpc", "ready"))
    assert (await call).value() == "answer"
    it.settles = False
    assert isinstance(await it.error("memory"), Unavailable)


@on_a_loop
async def test_only_the_wished_host_is_waited_for() -> None:
    it = Routing()
    it.table(("kb", "mainpc", "starting"), ("kb", "pc2", "ready"))
    call = await it.call("kb", to_host="mainpc")
    assert not call.done()
    it.table(("kb", "mainpc", "ready"), ("kb", "pc2", "ready"))
    await call
    assert it.went == ["mainpc"]


@on_a_loop
async def test_a_caller_that_gives_up_waits_no_more() -> None:
    it = Routing()
    it.table(("kb", "mainpc", "starting"))
    call = await it.call("kb")
    call.cancel()
    await settle()
    it.table(("kb", "mainpc", "ready"))
    await settle()
    assert (call.cancelled(), it.went) == (True, [])
