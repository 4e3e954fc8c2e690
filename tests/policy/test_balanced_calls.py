"""Calls find one of several instances as the rules of their operation say, or as they wish themselves."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from mesh.config import Policies
from mesh.directory import Directory
from mesh.errors import InvalidArgument, Overloaded
from mesh.message import Items, Reply, Request, encode, replied
from mesh.policy.options import CallOptions
from mesh.policy.passage import Passage
from mesh.policy.resolve import Resolver
from mesh.policy.rules import RuleBook
from mesh.policy.stack import Outgoing
from mesh.records import HostRecord, InstanceRecord
from mesh.testing import FakeClock
from mesh.testing.clock import settle
from tests.policy.calls import ask, on_a_loop


class Calls:
    """Calls of mainpc to a service whose instances stand at the given places; each stays open until it is ended."""

    def __init__(self, *places: str, avoided: tuple[str, ...] = (), busy: tuple[str, ...] = (), **rules: Any) -> None:
        self.sent: list[str] = []
        self.wished: list[str | None] = []
        self.open: list[asyncio.Future[Reply]] = []
        self.avoided = set(avoided)
        directory = Directory(known_names=("kb",))
        hosts = {place.partition("#")[0] for place in places} | {"mainpc"}
        directory.replace(1, 1, {
            "settled": True, "desired": [], "overrides": [],
            "hosts": [HostRecord(name, 1, "127.0.0.1", 1, 2, "", "", "busy" if name in busy else "ok", 0).to_wire()
                      for name in hosts],
            "instances": [InstanceRecord("kb", place.partition("#")[0], 1, "ready",
                                         number=int(place.partition("#")[2] or 1)).to_wire() for place in places],
        })
        resolver = Resolver(directory, "mainpc", FakeClock(), settling=lambda: False, changed=self._never)
        book = RuleBook(Policies(**rules), lambda _: None)
        route = resolver.route(book.of("kb", "find"), lambda row: row.place in self.avoided)
        self._handle = Passage(route, self._send, FakeClock())

    async def call(self, options: CallOptions | None = None, **arguments: Any) -> str:
        """Make a call, leave it open, and return where it went; raises what refused it."""
        wanted = options or CallOptions()
        request = ask()._replace(body=encode(arguments), options=wanted.to_wire(), to_host=wanted.to_host)
        task = asyncio.ensure_future(self._made(request))
        await settle()
        if task.done():
            task.result().value()
        return self.sent[-1]

    async def end(self, reply: Reply | None = None) -> None:
        """End every open call."""
        for call in [call for call in self.open if not call.done()]:
            call.set_result(reply or Reply(encode(None)))
        self.open.clear()
        await settle()

    async def alone(self, count: int, options: CallOptions | None = None, **arguments: Any) -> list[str]:
        """Make calls one after the other, each when the one before has ended."""
        went = []
        for _ in range(count):
            went.append(await self.call(options, **arguments))
            await self.end()
        return went

    async def _made(self, request: Request) -> Reply:
        return await self._handle(request)

    async def _send(self, request: Request, host: str) -> Reply:
        _, _, number = (request.to_host or "").partition("#")
        self.sent.append(host if number in ("", "1") else f"{host}#{number}")
        self.wished.append(request.to_host)
        self.open.append(asyncio.get_running_loop().create_future())
        return await self.open[-1]

    async def _never(self, limit: float) -> None:
        raise AssertionError("nobody waits here")


class Stream(Items):
    """Items that never come."""

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.drop()

    def drop(self) -> None:
        self.ended(None)


@on_a_loop
async def test_one_instance_needs_no_choice_and_its_calls_are_not_counted() -> None:
    calls = Calls("pc2")
    assert await calls.alone(3) == ["pc2"] * 3 and calls.wished == [None] * 3
    assert await Calls("pc2#3").alone(1) == ["pc2#3"]


@on_a_loop
async def test_the_call_names_the_instance_that_was_chosen() -> None:
    calls = Calls("pc2", "pc2#2", balance="round_robin")
    assert await calls.alone(2) == ["pc2", "pc2#2"] and calls.wished == ["pc2#1", "pc2#2"]


@on_a_loop
async def test_calls_that_overlap_spread_and_those_that_have_ended_count_no_more() -> None:
    calls = Calls("mainpc", "pc2")
    assert Counter([await calls.call() for _ in range(10)]) == {"mainpc": 5, "pc2": 5}
    await calls.end()
    assert await calls.alone(5) == ["mainpc"] * 5


@on_a_loop
async def test_an_open_stream_counts_until_it_ends() -> None:
    calls = Calls("mainpc", "pc2")
    await calls.call()
    items = Stream()
    await calls.end(Reply(items=items))
    assert await calls.call() == "pc2"
    await calls.end()
    items.drop()
    assert await calls.call() == "mainpc"
    await calls.end()


@on_a_loop
async def test_a_call_that_is_given_up_counts_no_more() -> None:
    calls = Calls("mainpc", "pc2")
    task = asyncio.ensure_future(calls._made(ask()))
    await settle()
    task.cancel()
    await settle()
    assert await calls.alone(2) == ["mainpc"] * 2


@on_a_loop
async def test_instances_to_avoid_are_passed_over_for_a_worse_class_but_called_when_there_is_nobody_else() -> None:
    calls = Calls("pc2", "pc3", "pc4", busy=("pc4",), balance="round_robin", avoided=("pc2",))
    assert set(await calls.alone(4)) == {"pc3"}
    calls.avoided = {"pc2", "pc3"}
    assert set(await calls.alone(4)) == {"pc4"}
    calls.avoided = {"pc2", "pc3", "pc4"}
    assert set(await calls.alone(4)) == {"pc2", "pc3"}


@on_a_loop
async def test_an_instance_that_asked_for_patience_is_passed_over_though_it_has_nothing_to_do() -> None:
    went: list[str] = []

    async def answer(request: Request, host: str) -> Reply:
        went.append(host)
        return Reply(error=Overloaded("full", retry_after=1.0)) if host == "pc2" else Reply(encode("done"))

    clock, directory = FakeClock(), Directory()
    directory.replace(1, 1, {
        "settled": True, "desired": [], "overrides": [],
        "hosts": [HostRecord(name, 1, "127.0.0.1", 1, 2, "", "", "ok", 0).to_wire() for name in ("pc2", "pc3")],
        "instances": [InstanceRecord("kb", name, 1, "ready").to_wire() for name in ("pc2", "pc3")],
    })
    outgoing = Outgoing(
        RuleBook(Policies.model_validate({"retry": None, "balance": "round_robin"}), lambda _: None),
        Resolver(directory, "mainpc", clock, settling=lambda: False, changed=Calls()._never), "mainpc",
        local=lambda request: answer(request, "mainpc"), remote=answer, clock=clock,
    )
    assert (await replied(outgoing(ask()))).error is not None
    for _ in range(5):
        assert (await replied(outgoing(ask()))).value() == "done"
    assert went == ["pc2"] + ["pc3"] * 5
    await clock.advance(1.01)
    await replied(outgoing(ask()))
    await replied(outgoing(ask()))
    assert "pc2" in went[-2:]


@on_a_loop
async def test_a_place_leaves_the_choice_among_its_instances_only() -> None:
    calls = Calls("mainpc", "pc2", "pc2#2", balance="round_robin")
    assert await calls.alone(4, CallOptions(to_host="pc2")) == ["pc2", "pc2#2"] * 2
    assert await calls.alone(2, CallOptions(to_host="pc2#2")) == ["pc2#2"] * 2


@on_a_loop
async def test_a_call_may_wish_another_strategy_than_the_rule() -> None:
    calls = Calls("mainpc", "pc2", "pc3", balance="local_first")
    assert await calls.alone(3) == ["mainpc"] * 3
    assert sorted(await calls.alone(3, CallOptions(balance="round_robin"))) == ["mainpc", "pc2", "pc3"]


# hash


@on_a_loop
async def test_the_named_argument_chooses_always_the_same_instance() -> None:
    calls = Calls("mainpc", "pc2", "pc3", balance="hash", hash_by="user")
    homes = {}
    for number in range(30):
        went = set(await calls.alone(2, user=f"user {number}", limit=number))
        assert len(went) == 1
        homes[number] = went.pop()
    assert set(homes.values()) == {"mainpc", "pc2", "pc3"}


@on_a_loop
async def test_a_key_of_the_call_stands_for_the_argument() -> None:
    calls = Calls("mainpc", "pc2", "pc3", balance="hash", hash_by="user")
    other = Calls("pc3", "pc2", "mainpc")
    for name in ("anna", "bert", "carl"):
        assert await calls.alone(1, user=name) == await other.alone(1, CallOptions(key=name))


@pytest.mark.parametrize("places", [("pc2",), ("pc2", "pc3")])
@pytest.mark.parametrize("arguments", [{}, {"user": None}, {"users": "anna"}])
def test_a_call_without_the_argument_is_refused_also_while_there_is_nothing_to_choose(
    places: tuple[str, ...], arguments: dict[str, Any]
) -> None:
    @on_a_loop
    async def scenario() -> None:
        with pytest.raises(InvalidArgument, match="balanced by its argument 'user'") as caught:
            await Calls(*places, balance="hash", hash_by="user").call(**arguments)
        assert caught.value.details == {"path": "user"}

    scenario()


@on_a_loop
async def test_a_hash_of_nothing_is_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidArgument, match=r"`policies: hash_by:` in config/agents/kb\.yaml"):
        await Calls("pc2", "pc3").call(CallOptions(balance="hash"), user="anna")
    with pytest.raises(InvalidArgument, match="`policies: hash_by:`"):
        await Calls("pc2", "pc3", balance="hash").call(user="anna")


@on_a_loop
async def test_arguments_that_are_no_map_have_no_key() -> None:
    calls = Calls("pc2", "pc3", balance="hash", hash_by="user")
    for body in (b"", b"\xc1", encode([1, 2]), encode({"user": "x"})[:-1]):
        reply = await calls._made(ask()._replace(body=body))
        assert isinstance(reply.error, InvalidArgument)
