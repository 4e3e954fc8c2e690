"""What a greeted peer may say, what it is answered, and that it can harm nobody but itself."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, cast

import msgpack
import pytest
import zmq

from mesh import wire
from mesh.errors import DeadlineExceeded, Overloaded
from mesh.message import Event, Reply, Request, decode, encode
from mesh.transport import profile
from mesh.transport import session as module
from tests.eventually import eventually, wait_until
from tests.slack import Slack
from tests.transport.ends import Host, RawDealer, ask, echo, host, on_a_loop, raw_dealer, two_hosts, value_of
from tests.transport.programs import passed

HERE = "mainpc"
MIB = 1024 * 1024


@pytest.fixture
def no_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have peers that do not read keep their connection, as on a line that is slow but not dead."""
    monkeypatch.setitem(cast(dict[int, int], profile._EVERY), zmq.HEARTBEAT_IVL, 0)


def happened(topic: str, value: Any = None) -> Event:
    return Event(topic, encode(value), f"kb@{HERE}", 1.0)


async def greeted(dealer: RawDealer, kind: wire.PeerKind = "host", **how: Any) -> RawDealer:
    assert (await dealer.greet(kind, **how))[0] == wire.WELCOME
    return dealer


# --- calls ------------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_call_is_answered_under_its_number() -> None:
    async with host(HERE) as callee, raw_dealer(callee) as dealer:
        await greeted(dealer)
        await dealer.send(*(wire.call(number, ask(number)) for number in (9, 3, 2**61)))
        await eventually(lambda: len(dealer.of_kind(wire.REPLY)) == 3)
        assert {envelope[1]: value_of(envelope) for envelope in dealer.of_kind(wire.REPLY)} == {
            9: 9, 3: 3, 2**61: 2**61
        }


@on_a_loop
async def test_a_number_that_is_being_answered_may_not_be_used_again() -> None:
    runs: list[object] = []

    async def wait(request: Request) -> Reply:
        runs.append(decode(request.body))
        await asyncio.Event().wait()
        raise AssertionError("never set")

    async with host(HERE, wait) as callee, raw_dealer(callee) as dealer:
        await greeted(dealer)
        await dealer.send(wire.call(1, ask("first")), wire.call(1, ask("second")), wire.call(2, ask("third")))
        await eventually(lambda: len(runs) == 2)
        assert (runs, callee.traffic.undecodable) == (["first", "third"], 1)


@on_a_loop
async def test_a_call_whose_deadline_has_passed_is_answered_and_not_run() -> None:
    runs: list[object] = []

    async def note(request: Request) -> Reply:
        runs.append(decode(request.body))
        return Reply(request.body)

    async with host(HERE, note) as callee, raw_dealer(callee) as dealer:
        await greeted(dealer)
        await dealer.send(wire.call(1, ask("late", timeout=-0.5)))
        number, reply = wire.read_reply(await dealer.next())
        assert (number, type(reply.error)) == (1, DeadlineExceeded)
        assert reply.error is not None
        assert reply.error.details == {"began": "no"}
        await dealer.send(wire.call(3, ask("in time", timeout=3)))
        assert value_of(await dealer.next()) == "in time"
        assert runs == ["in time"]


@on_a_loop
async def test_deadlines_are_meant_on_the_clock_of_the_caller() -> None:
    async with host(HERE) as callee, raw_dealer(callee) as dealer:
        await greeted(dealer, stamp=7_000)
        await dealer.send(wire.call(1, ask("in time")._replace(deadline=8.0)), stamp=7_050)
        assert value_of(await dealer.next()) == "in time"
        begun = time.monotonic()  # the caller's clock was at 7.05 s or later
        await eventually(lambda: time.monotonic() > begun + 0.4)
        await dealer.send(wire.call(2, ask("late")._replace(deadline=7.3)), stamp=7_100)  # it was 0.35 s under way
        number, reply = wire.read_reply(await dealer.next())
        assert (number, type(reply.error)) == (2, DeadlineExceeded)


@on_a_loop
async def test_cancel_ends_a_call_and_unknown_numbers_nothing() -> None:
    async def wait(request: Request) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError("never set")

    async with host(HERE, wait) as callee, raw_dealer(callee) as dealer:
        await greeted(dealer)
        await dealer.send(wire.cancel(7), wire.call(7, ask()), wire.call(8, ask()), wire.cancel(9))
        await eventually(lambda: len(callee.session_of("pc2")) == 2)
        await dealer.send(wire.cancel(7), wire.cancel(7))
        number, reply = wire.read_reply(await dealer.next())
        assert reply.error is not None
        assert (number, reply.error.code) == (7, "cancelled")
        assert (len(callee.session_of("pc2")), callee.traffic.undecodable) == (1, 0)


@on_a_loop
async def test_a_body_that_does_not_decode_fails_that_call_alone() -> None:
    async with host(HERE, lambda request: echo(request._replace(body=encode(decode(request.body))))) as callee, \
            raw_dealer(callee) as dealer:
        await greeted(dealer)
        await dealer.send(wire.call(1, ask()._replace(body=b"\xc1")), wire.call(2, ask("fine")))
        await eventually(lambda: len(dealer.read()) == 3)
        assert value_of(dealer.of_kind(wire.REPLY)[0]) == "fine"
        _, reply = wire.read_reply(dealer.of_kind(wire.ERROR)[0])
        assert reply.error is not None
        assert reply.error.details == {"type": "ProtocolError"}
        assert callee.traffic.undecodable == 0


# --- faults -----------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_three_bad_frames_within_ten_seconds_end_that_session_and_disturb_nobody() -> None:
    async with two_hosts() as (callee, caller), raw_dealer(callee, "pc3") as bad:
        await greeted(bad)
        took: list[float] = []

        async def work() -> None:
            while not bad.socket.closed and len(took) < 2000:
                begun = time.monotonic()
                assert await caller.call(HERE, "x") == "x"
                took.append(time.monotonic() - begun)

        other = asyncio.ensure_future(work())
        await bad.send_bytes(b"\xc1")
        await bad.send_bytes(wire.frame(0, 0, []), b"a second part")
        await eventually(lambda: callee.traffic.undecodable == 2)
        assert callee.session_of("pc3")
        await bad.send(wire.welcome(wire.Hello("home", "host", "pc3", 1)))
        await eventually(lambda: bad.closed_by_peer)
        assert callee.sessions[-1] == ("pc3", False)
        assert callee.troubles == [
            "host pc3: 3 undecodable frames within 10 s, the last because an envelope of kind WELCOME does not come "
            "from a host; its connection is closed"
        ]
        await eventually(lambda: len(took) > 100)
        other.cancel()
        assert sorted(took)[len(took) // 2] < 0.05
        assert [session.peer for session in callee.listener.sessions.values()] == ["pc2"]


@on_a_loop
async def test_any_bytes_of_a_greeted_peer_harm_nobody_else() -> None:
    made = os.urandom
    async with two_hosts() as (callee, caller):
        for attempt in range(8):
            async with raw_dealer(callee, "pc3") as bad:
                await greeted(bad)
                some = [bytes(wire.call(1, ask("x"))), wire.chunk(1, 100_000, 0, b"abc"), wire.ack(9, 9)]
                good = wire.frame(5, 0, some)
                for _ in range(5):
                    cut = 1 + made(1)[0] % (len(good) - 1)
                    data = [made(50), good[:cut], good[:cut] + made(8) + good[cut + 8:], b"", good + b"\x00"]
                    bad.socket.send(data[attempt % len(data)])
                assert await caller.call(HERE, attempt) == attempt
        assert not [text for text in callee.troubles if "pc2" in text]


@pytest.mark.parametrize("envelope", [
    wire.hello(wire.Hello("home", "host", "pc2", 1)), wire.reset(), wire.reply(1, Reply(b"\xc0")),
    wire.event(happened("a.b")), wire.heartbeat(1, 0, b"x"), wire.echo(1), wire.chunk(1, 5, 4, b"x"),
])
@on_a_loop
async def test_what_a_host_has_no_business_to_say_is_a_fault(envelope: bytes) -> None:
    async with host(HERE) as callee, raw_dealer(callee) as dealer:
        await greeted(dealer)
        await dealer.send(envelope)
        await eventually(lambda: callee.traffic.undecodable == 1)
        await dealer.send(wire.leaving(), wire.call(1, ask("and goes on")))
        assert value_of(await dealer.next()) == "and goes on"
        assert callee.traffic.undecodable == 1


# --- events -----------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_events_go_to_whoever_is_interested() -> None:
    async with host(HERE) as callee, raw_dealer(callee) as pc2, raw_dealer(callee, "pc3") as pc3, \
            raw_dealer(callee, "operator") as operator:
        await greeted(pc2, interest=("memory.*",))
        await greeted(pc3)
        await greeted(operator, "operator", interest=("#",))
        callee.listener.publish(happened("memory.added", 1))
        callee.listener.publish(happened("errors.x", 2), only="operator")
        callee.listener.publish(happened("memory.gone", 3), only="operator")
        await eventually(lambda: len(operator.of_kind(wire.EVENT)) == 3)
        await eventually(lambda: len(pc2.of_kind(wire.EVENT)) == 1)
        assert [value_of(envelope) for envelope in operator.of_kind(wire.EVENT)] == [1, 2, 3]
        assert pc3.of_kind(wire.EVENT) == []


@on_a_loop
async def test_interest_can_change_and_whoever_wants_to_know_is_told() -> None:
    async with host(HERE) as callee, raw_dealer(callee) as dealer:
        await greeted(dealer, interest=("a.*",))
        told: list[tuple[str, ...]] = []
        session = callee.session_of("pc2")
        session.on_interest.append(lambda: told.append(session.interest.patterns))
        await dealer.send(wire.interest(["b.*", "c"]))
        await eventually(lambda: told == [("b.*", "c")])
        for topic in ("a.x", "b.x", "c"):
            callee.listener.publish(happened(topic, topic))
        await eventually(lambda: len(dealer.of_kind(wire.EVENT)) == 2)
        assert [envelope[1] for envelope in dealer.of_kind(wire.EVENT)] == ["b.x", "c"]


@on_a_loop
async def test_a_reader_that_is_too_slow_loses_the_oldest_events_and_is_told_how_many(no_heartbeats: None) -> None:
    async with host(HERE) as callee, raw_dealer(callee, high_water=1) as slow, raw_dealer(callee, "pc3") as quick:
        for dealer in (slow, quick):
            await greeted(dealer, interest=("#",))
        published = 0
        filling = os.urandom(3000)
        while callee.session_of("pc2").outbox.lost_events < 500:
            for _ in range(200):
                callee.listener.publish(happened("busy", [published, filling]))
                published += 1
            await eventually(lambda: len(quick.of_kind(wire.EVENT)) == published)  # noqa: B023
        callee.listener.publish(happened("busy", [published, b"last"]))
        published += 1
        await eventually(lambda: slow.of_kind(wire.EVENT)[-1:] and value_of(slow.heard[-1])[0] == published - 1)
        numbers = [value_of(envelope)[0] for envelope in slow.of_kind(wire.EVENT)]
        assert numbers == sorted(set(numbers))
        assert numbers[0] == 0
        assert slow.frames[-1].lost == published - len(numbers) >= 500
        assert quick.frames[-1].lost == 0
        assert [value_of(envelope)[0] for envelope in quick.of_kind(wire.EVENT)][:published - 1] == [
            *range(published - 1)
        ]


@on_a_loop
async def test_lost_events_are_counted_where_a_host_receives_them() -> None:
    async with host(HERE) as callee, host("pc2", listens=False) as caller:
        caller.become(interest=("#",))
        await caller.join(callee)
        callee.session_of("pc2").outbox.lost_events = 7
        callee.listener.publish(happened("a"))
        await eventually(lambda: caller.events)
        assert (caller.lost, caller.traffic.events_lost) == ([(HERE, 7)], 7)


# --- peers that do not read -------------------------------------------------------------------------------------------


async def fill(callee: Host, dealer: RawDealer) -> None:
    """Have a peer that reads nothing ask until its replies pile up."""
    await greeted(dealer)
    session = callee.session_of("pc2")
    before, number = callee.traffic.envelopes_in, 0

    def answered() -> bool:
        return callee.traffic.envelopes_in == before + number and len(session) == 0

    while not (session.blocked and session.outbox.call_bytes > 16 * MIB):
        number += 1
        await dealer.send(wire.call(number, ask(None, timeout=60)))
        if number % 20 == 0:
            await eventually(answered)
    await eventually(answered)


async def large(request: Request) -> Reply:
    """Answer a call of nothing with much, and any other with itself."""
    return Reply(encode(bytes(60_000)) if decode(request.body) is None else request.body)


@on_a_loop
async def test_a_peer_that_does_not_read_stops_no_other_and_gets_nothing_more_begun(no_heartbeats: None) -> None:
    async with host(HERE, large) as callee, raw_dealer(callee, high_water=1) as deaf, host("pc3") as caller:
        await fill(callee, deaf)
        await caller.join(callee)
        for number in range(20):
            with Slack() as slack:
                begun = time.monotonic()
                assert await caller.call(HERE, number) == number
                took = time.monotonic() - begun
            assert took < 0.5 + slack.lost
        deaf_session = callee.session_of("pc2")
        before = deaf_session.outbox.call_bytes
        await deaf.send(wire.call(10**6, ask(None, timeout=60)))
        await eventually(lambda: deaf_session.outbox.call_bytes > before)
        assert deaf_session.outbox.call_bytes < before + 1000, "a refusal, no further answer of 60 kB"
        await eventually(lambda: deaf.of_kind(wire.ERROR), limit=10)  # it reads again
        await eventually(lambda: deaf.of_kind(wire.ERROR)[-1][1] == 10**6, limit=10)
        assert {type(wire.read_reply(one)[1].error) for one in deaf.of_kind(wire.ERROR)} == {Overloaded}
        assert len(deaf.of_kind(wire.REPLY)) > 250, "no answer was lost"
        assert deaf_session.outbox.call_bytes == 0


@on_a_loop
async def test_a_send_that_does_not_succeed_hides_nothing_that_came(no_heartbeats: None) -> None:
    async with host(HERE, large) as callee, raw_dealer(callee, high_water=1) as deaf, \
            raw_dealer(callee, "pc3") as other:
        await greeted(other)
        await fill(callee, deaf)
        blocked = callee.session_of("pc2")
        for number in range(10):
            await other.send(wire.call(number, ask("heard")))
            wait_until(passed(0.02))  # the loop stands still, libzmq's thread takes the call in
            blocked.flush()
            assert blocked.blocked
            assert value_of(await other.next()) == "heard"


@on_a_loop
async def test_a_peer_that_takes_nothing_for_long_is_cut_off(
    no_heartbeats: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with host(HERE, large) as callee, raw_dealer(callee, high_water=1) as deaf, host("pc3") as caller:
        await caller.join(callee)
        await fill(callee, deaf)
        monkeypatch.setattr(module, "STALLED", 0.3)
        await eventually(lambda: ("pc2", False) in callee.sessions)
        assert await caller.call(HERE, "undisturbed") == "undisturbed"
        await eventually(lambda: deaf.read() and deaf.closed_by_peer)


# --- heartbeats -------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_heartbeat_is_echoed_and_passed_on() -> None:
    async with host(HERE) as callee, raw_dealer(callee) as heart:
        await greeted(heart, "heartbeat")
        await heart.send(wire.heartbeat(41, 12, b"inventory"))
        assert await heart.next() == [wire.ECHO, 41, b""]
        assert callee.heartbeats == [("pc2", 12, b"inventory")]


# --- parts ------------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_call_in_parts_is_acknowledged_and_run_when_it_is_bytes() -> None:
    async with host(HERE) as callee, raw_dealer(callee) as dealer:
        await greeted(dealer)
        data = bytes(wire.call(1, ask(bytes(150_000))))
        for offset in range(0, len(data), 65_536):
            await dealer.send(wire.chunk(5, len(data), offset, data[offset:offset + 65_536]))
            await eventually(lambda: len(dealer.of_kind(wire.ACK)) == offset // 65_536 + 1)  # noqa: B023
        assert [ack[2] for ack in dealer.of_kind(wire.ACK)] == [65_536, 131_072, len(data)]
        await eventually(lambda: len(dealer.of_kind(wire.CHUNK_OF)) == 3)
        parts = b"".join(part[4] for part in dealer.of_kind(wire.CHUNK_OF))
        assert wire.read_reply(msgpack.unpackb(parts))[1].value() == bytes(150_000)


@on_a_loop
async def test_an_answer_in_parts_waits_for_acknowledgements_and_small_answers_do_not() -> None:
    async with host(HERE, lambda request: answer(request)) as callee, raw_dealer(callee) as dealer:
        async def small_ones() -> None:
            for number in range(2, 12):
                await dealer.send(wire.call(number, ask("small")))
                await eventually(lambda: len(dealer.of_kind(wire.REPLY)) == number - 1)  # noqa: B023

        await greeted(dealer)
        await dealer.send(wire.call(1, ask("big")))
        await eventually(lambda: len(dealer.of_kind(wire.CHUNK_OF)) == 4)
        await small_ones()
        assert len(dealer.of_kind(wire.CHUNK_OF)) == 4
        assert callee.traffic.frames_out == 1 + 4 + 10


async def answer(request: Request) -> Reply:
    return Reply(encode(bytes(1_000_000) if decode(request.body) == "big" else "small"))


@on_a_loop
async def test_a_dealer_that_closes_in_the_middle_of_parts_leaves_nothing() -> None:
    async with two_hosts() as (callee, caller), raw_dealer(callee, "pc3") as dealer:
        await greeted(dealer)
        data = bytes(wire.call(1, ask(bytes(10 * MIB))))
        await dealer.send(wire.chunk(5, len(data), 0, data[:65_536]))
        session = callee.session_of("pc3")
        await eventually(lambda: session._arrivals.size)
        dealer.socket.close()
        await eventually(lambda: ("pc3", False) in callee.sessions)
        assert (len(session._arrivals), session._arrivals.size) == (0, 0)
        assert await caller.call(HERE, "fine") == "fine"
