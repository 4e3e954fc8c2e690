"""Both ends of a cell's connection call and answer; what became of a call when the connection is lost is known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from mesh import wire
from mesh.errors import Cancelled, Unreachable
from mesh.message import Event, Handler, Reply, Request, decode, encode, replied
from mesh.testing.clock import settle
from mesh.transport.link import Link
from mesh.transport.outbox import Outbox
from mesh.transport.running import Running
from mesh.transport.session import Session
from tests.eventually import eventually
from tests.transport.ends import Host, ask, echo, host, on_a_loop, raw_dealer, raw_router, two_hosts, unreachable
from tests.transport.outlet import Outlet

PARENT = "mainpc"
CELL = "pc2"


class Waiting:
    """Answers only when the test says so, and remembers who was cancelled."""

    def __init__(self) -> None:
        self.begun: list[Request] = []
        self.cancelled: list[Request] = []
        self.go = asyncio.Event()

    async def __call__(self, request: Request) -> Reply:
        self.begun.append(request)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(request)
            raise
        return Reply(request.body)


@asynccontextmanager
async def parent_and_cell(
    answers: Handler = echo, parents: Handler = echo
) -> AsyncIterator[tuple[Host, Host, Session, Link]]:
    async with host(PARENT, parents) as parent, host(CELL, answers, kind="cell", listens=False) as cell:
        link = await cell.join(parent)
        yield parent, cell, parent.session_of(CELL), link


@on_a_loop
async def test_calls_go_both_ways_at_once_and_their_numbers_never_meet() -> None:
    down, up = Waiting(), Waiting()
    async with parent_and_cell(down, up) as (_, cell, session, _link):
        calls = [asyncio.ensure_future(replied(session.exchange(ask(["down", number])))) for number in range(20)]
        calls += [asyncio.ensure_future(replied(cell.pool.exchange(ask(["up", number]), PARENT)))
                  for number in range(20)]
        await eventually(lambda: (len(down.begun), len(up.begun)) == (20, 20))
        down.go.set()
        up.go.set()
        values = [(await call).value() for call in calls]
        assert values == [["down", number] for number in range(20)] + [["up", number] for number in range(20)]


@on_a_loop
async def test_each_end_is_told_who_calls() -> None:
    down, up = Waiting(), Waiting()
    down.go.set()
    up.go.set()
    async with parent_and_cell(down, up) as (_, cell, session, _link):
        await replied(session.exchange(ask()))
        await replied(cell.pool.exchange(ask(), PARENT))
        assert (down.begun[0].via, up.begun[0].via) == (PARENT, f"cell:{CELL}:{session.incarnation}")


@on_a_loop
async def test_cancelling_a_call_down_cancels_only_that_one() -> None:
    down, up = Waiting(), Waiting()
    async with parent_and_cell(down, up) as (_, cell, session, _link):
        mine = asyncio.ensure_future(replied(session.exchange(ask("down"))))
        other = asyncio.ensure_future(replied(cell.pool.exchange(ask("up"), PARENT)))
        await eventually(lambda: down.begun and up.begun)
        mine.cancel()
        await eventually(lambda: [decode(request.body) for request in down.cancelled] == ["down"])
        assert up.cancelled == []
        up.go.set()
        assert (await other).value() == "up"


@on_a_loop
async def test_when_the_connection_is_lost_calls_of_both_ends_end_and_say_what_is_known() -> None:
    down, up = Waiting(), Waiting()
    async with parent_and_cell(down, up) as (_, cell, session, link):
        left = asyncio.ensure_future(replied(session.exchange(ask("left"))))
        mine = asyncio.ensure_future(replied(cell.pool.exchange(ask("mine"), PARENT)))
        await eventually(lambda: down.begun and up.begun)
        waits = asyncio.ensure_future(replied(session.exchange(ask("waits"))))
        session.end("for the test")
        assert unreachable(await left)[0] == "unknown"
        assert unreachable(await waits)[0] == "no"
        assert unreachable(await replied(session.exchange(ask("after"))))[0] == "no"
        await eventually(lambda: len(up.cancelled) == 1)
        link.lose("for the test")
        assert unreachable(await mine)[0] == "unknown"
        await eventually(lambda: len(down.cancelled) == 1)
        assert (len(session), len(link), session.waiters, link.waiters) == (0, 0, {}, {})


@on_a_loop
async def test_what_a_lost_connection_asked_is_never_answered_over_the_next_one() -> None:
    release = asyncio.Event()
    begun: list[Request] = []

    async def stubborn(request: Request) -> Reply:
        begun.append(request)
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return Reply(request.body)

    async with raw_router() as parent, host(CELL, stubborn, kind="cell", listens=False) as cell:
        link = cell.pool.connect(parent.peer)
        first = await parent.welcome()
        await eventually(lambda: link.state == "up")
        parent.tell(first, wire.call(7, ask("old")))
        await eventually(lambda: len(begun) == 1)
        link.lose("for the test")
        second = await parent.welcome()
        await eventually(lambda: link.state == "up")
        parent.tell(second, wire.call(7, ask("new")))
        await eventually(lambda: len(begun) == 2)
        release.set()
        await eventually(lambda: parent.of_kind(wire.REPLY))
        await settle()
        assert [decode(answer[-1]) for answer in parent.of_kind(wire.REPLY)] == ["new"]


@on_a_loop
async def test_a_parent_that_leaves_has_its_calls_cancelled_and_the_cell_hangs_up() -> None:
    down = Waiting()
    async with parent_and_cell(down) as (parent, _, session, link):
        call = asyncio.ensure_future(replied(session.exchange(ask())))
        await eventually(lambda: down.begun)
        parent.listener.tell(wire.leaving())
        await eventually(lambda: link.state == "lost")
        assert len(down.cancelled) == 1
        assert type((await call).error) in (Cancelled, Unreachable)


@on_a_loop
async def test_only_a_cell_is_called_by_its_listener() -> None:
    async with two_hosts() as (callee, _):
        began, message = unreachable(await replied(callee.session_of("pc2").exchange(ask())))
        assert (began, "is not called over this connection" in message) == ("no", True)


@on_a_loop
async def test_a_host_counts_a_call_that_comes_down_as_a_fault() -> None:
    async with raw_router() as listener, host("pc2", listens=False) as caller:
        link = caller.pool.connect(listener.peer)
        routing_id = await listener.welcome()
        await eventually(lambda: link.state == "up")
        listener.tell(routing_id, wire.call(1, ask()))
        await eventually(lambda: caller.traffic.undecodable == 1)


@on_a_loop
async def test_a_listener_without_cells_lets_none_in() -> None:
    async with host(PARENT) as parent:
        parent.listener._callbacks = replace(parent.listener._callbacks, cell=None)
        async with raw_dealer(parent.door) as dealer:
            answer = await dealer.greet("cell")
            assert answer[0] == wire.REFUSED
            assert wire.read_refused(answer).code == "permission_denied"


@pytest.mark.parametrize(("kind", "door"), [("cell", False), ("host", True), ("operator", True), ("heartbeat", True)])
def test_cells_alone_come_in_by_the_door_of_the_cells(kind: wire.PeerKind, door: bool) -> None:
    @on_a_loop
    async def scenario() -> None:
        async with host(PARENT) as parent, raw_dealer(parent.door if door else parent.peer) as dealer:
            answer = await dealer.greet(kind)
            assert answer[0] == wire.REFUSED
            assert wire.read_refused(answer).code == "permission_denied"

    scenario()


@on_a_loop
async def test_what_a_cell_publishes_arrives_and_what_a_host_pushes_up_does_not() -> None:
    async with host(PARENT) as parent, host(CELL, kind="cell", listens=False) as cell, host("pc3") as other:
        event = Event("kitchen.light", encode(True), "lamp@mainpc", 5.0)
        (await cell.join(parent)).send_event(wire.event(event))
        await eventually(lambda: parent.events == [event])
        (await other.join(parent)).send_event(wire.event(event))
        await eventually(lambda: parent.traffic.undecodable == 1)
        assert parent.events == [event]


@on_a_loop
async def test_a_host_can_hang_up_on_a_cell() -> None:
    async with host(PARENT) as parent, host(CELL, kind="cell", listens=False) as cell:
        link = await cell.join(parent)
        parent.listener.sever(parent.session_of(CELL), "enough")
        await eventually(lambda: link.reason.endswith("closed the connection"))


def test_an_answer_is_not_taken_back_with_the_call_of_the_same_number() -> None:
    outbox = Outbox()
    outbox.put_call(1, "nlu@pc2", b"call")
    outbox.put_reply(1, "kb", b"answer")
    assert outbox.withdraw(1)
    assert outbox.take(0.0) == [b"answer"]
    outbox.put_reply(2, "kb", b"answer")
    assert (outbox.holds(2), outbox.withdraw(2)) == (False, False)


@on_a_loop
async def test_abandoned_requests_are_cancelled_and_nobody_is_answered() -> None:
    waiting = Waiting()
    answers: list[Reply] = []
    running = Running(waiting, lambda number, request, reply: answers.append(reply), Outlet())
    for number in range(3):
        running.start(number, ask(number))
    await settle()
    running.abandon()
    await settle()
    assert (len(waiting.cancelled), answers, len(running), running._abandoned) == (3, [], 0, set())
    running.start(1, ask(encode(1)))
    waiting.go.set()
    await settle()
    assert len(answers) == 1
