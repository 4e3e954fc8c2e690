"""The frames of a link: what shares one, what is cut into parts, what is taken back, and what a peer may send."""

from __future__ import annotations

import asyncio
import os

import pytest

from mesh import wire
from mesh.errors import Cancelled, DeadlineExceeded, MessageTooLarge, Overloaded, Unreachable
from mesh.message import Event, Reply, encode
from mesh.transport import exchange
from mesh.transport.link import Peer
from tests.eventually import eventually
from tests.transport.ends import ask, host, on_a_loop, outcome, raw_router, two_hosts, unreachable, value_of

HERE = "mainpc"

# --- frames -----------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_alone_a_call_is_a_frame_and_many_together_share_frames() -> None:
    async with two_hosts() as (callee, caller):
        for end in (caller, callee):
            end.traffic.frames_out = end.traffic.envelopes_out = 0
        for number in range(50):
            await caller.call(HERE, number)
        assert (caller.traffic.frames_out, caller.traffic.envelopes_out) == (50, 50)
        assert (callee.traffic.frames_out, callee.traffic.envelopes_out) == (50, 50)

        async def worker() -> None:
            for number in range(30):
                await caller.call(HERE, number, timeout=20)

        for end in (caller, callee):
            end.traffic.frames_out = end.traffic.envelopes_out = 0
        await asyncio.gather(*(worker() for _ in range(64)))
        assert caller.traffic.envelopes_out == callee.traffic.envelopes_out == 64 * 30
        assert caller.traffic.envelopes_out / caller.traffic.frames_out > 4
        assert callee.traffic.envelopes_out / callee.traffic.frames_out > 4


@on_a_loop
async def test_a_big_body_has_four_parts_on_the_way_and_small_calls_overtake_it() -> None:
    async with raw_router() as listener, host("pc2", listens=False) as caller:
        caller.pool.connect(listener.peer)
        routing_id = await listener.welcome()
        big = outcome(caller, ask(bytes(1_000_000)))
        await eventually(lambda: len(listener.of_kind(wire.CHUNK_OF)) == 4)
        small = outcome(caller, ask("small"))
        await eventually(lambda: listener.of_kind(wire.CALL))
        assert len(listener.of_kind(wire.CHUNK_OF)) == 4
        assert set(listener.sizes) == {1}
        listener.tell(routing_id, wire.reply(listener.of_kind(wire.CALL)[0][1], Reply(encode("quick"))))
        assert (await small).value() == "quick"
        transfer = listener.of_kind(wire.CHUNK_OF)[0][1]
        for _, _, _, offset, part in listener.of_kind(wire.CHUNK_OF):
            listener.tell(routing_id, wire.ack(transfer, offset + len(part)))
        await eventually(lambda: len(listener.of_kind(wire.CHUNK_OF)) > 4)  # how many depends on how quick that was
        big.cancel()
        await eventually(lambda: listener.of_kind(wire.CHUNK_OF)[-1] == [wire.CHUNK_OF, transfer, 0, 0, b""])
        await eventually(lambda: len(listener.of_kind(wire.CANCEL)) == 1)


@on_a_loop
async def test_small_calls_go_on_quickly_beside_a_big_body() -> None:
    async with two_hosts() as (_, caller):
        big = outcome(caller, ask(os.urandom(20_000_000), timeout=25))
        served = 0
        while not big.done():
            await caller.call(HERE, served)
            served += 1
        assert len((await big).value()) == 20_000_000
        assert served > 10


@on_a_loop
async def test_a_call_taken_back_before_it_left_never_leaves() -> None:
    async with raw_router() as listener, host("pc2", listens=False) as caller:
        caller.pool.connect(listener.peer)
        routing_id, _ = await listener.next()
        call = outcome(caller, ask("never"))
        expiring = outcome(caller, ask("expires", timeout=0.05))
        error = (await expiring).error
        assert type(error) is DeadlineExceeded
        assert error.details == {"began": "no"}
        assert error.message.endswith("the call had not left this host yet")
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        after = outcome(caller, ask("after"))
        listener.tell(routing_id, wire.welcome(wire.Hello("home", "host", HERE, 1)))
        await eventually(lambda: listener.of_kind(wire.CALL))
        assert [value_of(envelope) for envelope in listener.of_kind(wire.CALL)] == ["after"]
        assert listener.of_kind(wire.CANCEL) == []
        after.cancel()


@on_a_loop
async def test_cancel_follows_a_call_that_has_left() -> None:
    async with raw_router() as listener, host("pc2", listens=False) as caller:
        caller.pool.connect(listener.peer)
        await listener.welcome()
        call = outcome(caller, ask(timeout=0.05))
        error = (await call).error
        assert error is not None
        assert error.details == {"began": "unknown"}
        await eventually(lambda: listener.of_kind(wire.CANCEL))
        assert listener.of_kind(wire.CANCEL)[0][1] == listener.of_kind(wire.CALL)[0][1]


@on_a_loop
async def test_calls_a_peer_does_not_take_are_refused_over_16_mib_and_other_peers_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with raw_router("pc3") as listener, two_hosts() as (_, caller):
        link = caller.pool.connect(listener.peer)
        await listener.welcome()
        await eventually(lambda: link.state == "up")
        monkeypatch.setattr(link, "transmit", lambda frame: False)  # libzmq's thread may take all before it is full
        body = bytes(60_000)
        calls = [outcome(caller, ask(body, timeout=20), to="pc3") for _ in range(400)]
        await eventually(lambda: link.blocked and any(call.done() for call in calls))
        assert {type(call.result().error) for call in calls if call.done()} == {Overloaded}
        assert link.outbox.call_bytes <= 16 * 1024 * 1024
        assert await caller.call(HERE, "undisturbed") == "undisturbed"
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert (link.outbox.call_bytes, link.waiters) == (0, {})


@on_a_loop
async def test_a_peer_that_does_not_answer_gets_no_more_than_so_many_bytes_of_calls_also_of_those_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange, "OWED_BYTES", 10_000)
    async with raw_router() as listener, host("pc2", listens=False) as caller:
        link = caller.pool.connect(listener.peer)
        routing_id = await listener.welcome()
        await eventually(lambda: link.state == "up")
        calls = [outcome(caller, ask(bytes(3000), timeout=20)) for _ in range(3)]
        await eventually(lambda: len(listener.of_kind(wire.CALL)) == 3)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert not link.waiters and link.owed_bytes > 9000
        refused = (await outcome(caller, ask(bytes(3000)))).error
        assert type(refused) is Overloaded and "of calls to answer or to read yet" in refused.message
        for envelope in listener.of_kind(wire.CALL):
            listener.tell(routing_id, wire.reply(envelope[1], Reply(error=Cancelled("it was given up"))))
        await eventually(lambda: link.owed_bytes == 0)
        again = outcome(caller, ask(bytes(3000), timeout=20))
        await eventually(lambda: len(listener.of_kind(wire.CALL)) == 4)
        listener.tell(routing_id, wire.reply(listener.of_kind(wire.CALL)[3][1], Reply(encode("well"))))
        assert (await again).value() == "well" and link.owed_bytes == 0
        outcome(caller, ask(bytes(3000), timeout=20))
        await eventually(lambda: link.owed_bytes > 3000)
        link.lose("the test ends it")
        assert link.owed_bytes == 0


@on_a_loop
async def test_a_header_that_is_too_long_ends_that_call() -> None:
    async with two_hosts() as (_, caller):
        reply = await outcome(caller, ask()._replace(path=("x" * 500,) * 5))
        assert type(reply.error) is MessageTooLarge
        assert caller.pool.links[HERE].waiters == {}
        assert await caller.call(HERE, "fine") == "fine"


# --- what a listener sends --------------------------------------------------------------------------------------------


@on_a_loop
async def test_answers_for_unknown_numbers_are_ignored() -> None:
    async with raw_router() as listener, host("pc2", listens=False) as caller:
        link = caller.pool.connect(listener.peer)
        routing_id = await listener.welcome()
        call = outcome(caller, ask())
        await eventually(lambda: listener.of_kind(wire.CALL))
        number = listener.of_kind(wire.CALL)[0][1]
        for other in (number + 1, 0, 2**61):
            listener.tell(routing_id, wire.reply(other, Reply(encode("not yours"))))
        answer = wire.reply(number, Reply(encode("yours")))
        listener.tell(routing_id, answer, answer)
        assert (await call).value() == "yours"
        assert (link.state, caller.traffic.undecodable) == ("up", 0)


@on_a_loop
async def test_an_error_whose_body_is_garbage_still_ends_its_call() -> None:
    async with raw_router() as listener, host("pc2", listens=False) as caller:
        link = caller.pool.connect(listener.peer)
        routing_id = await listener.welcome()
        call = outcome(caller, ask())
        await eventually(lambda: listener.of_kind(wire.CALL))
        number = listener.of_kind(wire.CALL)[0][1]
        answer = bytes(wire.reply(number, Reply(error=Unreachable("x"))))
        listener.tell(routing_id, answer.replace(b"\xa1x", b"\xc1\xc1"))
        error = (await call).error
        assert error is not None
        assert error.code == "protocol_error"
        assert link.state == "up"


@on_a_loop
async def test_three_bad_frames_end_that_connection_and_its_calls_only() -> None:
    async with raw_router() as listener, two_hosts() as (_, caller):
        link = caller.pool.connect(Peer("pc3", listener.endpoint, listener.key.public))
        routing_id = await listener.welcome(host="pc3")
        call = outcome(caller, ask(), to="pc3")
        await eventually(lambda: listener.of_kind(wire.CALL))
        listener.tell_bytes(routing_id, b"\xc1")
        listener.tell_bytes(routing_id, wire.frame(0, 0, []), b"a second part")
        await eventually(lambda: caller.traffic.undecodable == 2)
        assert link.state == "up"
        listener.tell(routing_id, wire.cancel(1))  # well formed, but nothing a listener says
        assert unreachable(await call)[0] == "unknown"
        assert caller.troubles == [
            "pc3 sent 3 undecodable frames within 10 s: an envelope of kind CANCEL does not come from a listener"
        ]
        assert await caller.call(HERE, "undisturbed") == "undisturbed"


@on_a_loop
async def test_whoever_hears_of_events_may_fail_without_stopping_what_follows() -> None:
    async with raw_router() as listener, host("pc2", listens=False) as caller:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        caller.pool.connect(listener.peer)
        routing_id = await listener.welcome()
        await eventually(lambda: caller.pool.up(HERE))

        def broken(event: Event, peer: str) -> None:
            raise RuntimeError("the subscriber is broken")

        object.__setattr__(caller.pool._callbacks, "event", broken)
        call = outcome(caller, ask())
        await eventually(lambda: listener.of_kind(wire.CALL))
        number = listener.of_kind(wire.CALL)[0][1]
        happened = wire.event(Event("a", encode(1), "x@mainpc", 0.0))
        for _ in range(20):
            listener.tell(routing_id, happened)
        listener.tell(routing_id, wire.reply(number, Reply(encode("after them"))))
        assert (await call).value() == "after them"


@on_a_loop
async def test_events_arrive_in_order_and_lost_ones_are_counted() -> None:
    async with raw_router() as listener, host("pc2", listens=False) as caller:
        caller.pool.connect(listener.peer)
        routing_id = await listener.welcome()
        for number in range(5):
            happened = Event("memory.added", encode(number), "kb@mainpc", 1.0)
            listener.tell(routing_id, wire.event(happened), lost=number // 3 * 7)
        await eventually(lambda: len(caller.events) == 5)
        assert [event.value() for event in caller.events] == [0, 1, 2, 3, 4]
        assert caller.lost == [(HERE, 7)]
