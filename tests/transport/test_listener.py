"""The end that listens: who may come in, and how long a session lasts. What sessions say is in test_session.py."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest
import zmq

from mesh import wire
from mesh.clock import Clock
from mesh.errors import PermissionDenied, StartError
from mesh.message import Reply, Request, decode, encode
from mesh.transport import listener as module
from mesh.transport import profile
from tests.eventually import eventually, wait_until
from tests.figures import read
from tests.transport.ends import (
    KEYS,
    RawDealer,
    ask,
    host,
    on_a_loop,
    raw_dealer,
    two_hosts,
    value_of,
)

HERE = "mainpc"


def refusal(envelope: wire.Envelope) -> str:
    """Return the words of an answer that must be REFUSED."""
    assert envelope[0] == wire.REFUSED, envelope
    return wire.read_refused(envelope).message


# --- who may come in --------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_hello_is_answered_with_who_listens() -> None:
    async with host(HERE, incarnation=7) as callee, raw_dealer(callee) as dealer:
        callee.become(interest=("memory.*",))
        answer = await dealer.greet()
        assert answer[0] == wire.WELCOME
        assert wire.read_greeting(answer) == wire.Hello("home", "host", HERE, 7, ("memory.*",), "test")
        session = callee.session_of("pc2")
        assert (session.kind, session.incarnation, session.caller, len(session)) == ("host", 1, "pc2", 0)
        assert callee.sessions == [("pc2", True)]
        shown = read(callee.listener.samples())
        assert [shown["mesh_sessions", kind] for kind in ("host", "heartbeat", "operator")] == [1, 0, 0]
        assert shown["mesh_session_outbox_bytes", "pc2"] == shown["mesh_greetings_refused_total",] == 0


@on_a_loop
async def test_whoever_says_anything_before_hello_is_told_to_begin_anew() -> None:
    asked: list[Request] = []

    async def note(request: Request) -> Reply:
        asked.append(request)
        return Reply(request.body)

    async with host(HERE, note) as callee, raw_dealer(callee) as dealer:
        call, hello = wire.call(1, ask()), wire.hello(wire.Hello("home", "host", "pc2", 1))
        for envelopes in ([call], [hello, call], [call, hello], [wire.cancel(1)], [wire.interest(["#"])], []):
            await dealer.send(*envelopes)
            assert (await dealer.next())[0] == wire.RESET
        assert (asked, callee.sessions, callee.listener.sessions) == ([], [], {})
        assert (await dealer.greet())[0] == wire.WELCOME


@on_a_loop
async def test_bytes_that_are_no_frame_are_refused_before_hello_and_harm_nobody() -> None:
    async with two_hosts() as (callee, caller), raw_dealer(callee, "pc3") as dealer:
        for parts in ([b""], [b"\xc1"], [os.urandom(1000)], [wire.frame(0, 0, [])[:-1]]):
            await dealer.send_bytes(*parts)
            assert "no frame" in refusal(await dealer.next())
        await dealer.send_bytes(wire.frame(0, 0, [wire.hello(wire.Hello("home", "host", "pc3", 1))]), b"second")
        assert (await dealer.next())[0] == wire.RESET
        assert callee.traffic.undecodable == 4
        assert len(callee.troubles) == 4
        assert await caller.call(HERE, "undisturbed") == "undisturbed"
        assert (await dealer.greet())[0] == wire.WELCOME


@on_a_loop
async def test_another_mesh_is_refused_with_both_names() -> None:
    async with host(HERE) as callee, raw_dealer(callee) as dealer:
        words = refusal(await dealer.greet(mesh="office"))
        assert words == ("this is mesh 'home', the peer belongs to mesh 'office'; check `mesh:` and the ports in "
                         "config/hosts.yaml")
        assert callee.troubles[0].startswith("a connection from 127.0.0.1:")
        assert callee.troubles[0].endswith(f"is refused: {words}")
        assert read(callee.listener.samples())["mesh_greetings_refused_total",] == 1


@on_a_loop
async def test_another_version_is_refused_with_both_numbers() -> None:
    async with host(HERE) as callee, raw_dealer(callee) as dealer:
        hello = wire.hello(wire.Hello("home", "host", "pc2", 1))
        await dealer.send(hello.replace(b"\x93\x01\x01", b"\x93\x01\x63", 1))
        assert refusal(await dealer.next()) == "the peer speaks protocol version 99, this side speaks 1"


@pytest.mark.parametrize(("key", "kind", "name", "claimed"), [
    ("pc2", "host", "pc3", "pc3"), ("pc2", "heartbeat", HERE, HERE), ("pc2", "operator", "pc2", "operator"),
    ("operator", "host", "pc2", "pc2"), ("operator", "host", "operator", "a host"),
    ("operator", "heartbeat", "operator", "a heartbeat"),
])
@on_a_loop
async def test_a_key_speaks_for_its_own_name_only(key: str, kind: Any, name: str, claimed: str) -> None:
    async with host(HERE) as callee, raw_dealer(callee, key) as dealer:
        words = refusal(await dealer.greet(kind, host=name))
        assert words == f"the key of {key} may not speak for {claimed}"
        assert callee.listener.sessions == {}


@on_a_loop
async def test_an_operator_may_call_itself_anything_and_speaks_as_operator() -> None:
    seen: list[str] = []

    async def note(request: Request) -> Reply:
        seen.append(request.via)
        return Reply(request.body)

    async with host(HERE, note) as callee, raw_dealer(callee, "operator") as dealer, raw_dealer(callee, "pc2") as pc2:
        await dealer.greet("operator", host="pc2")
        await pc2.greet("host")
        await dealer.send(wire.call(1, ask(caller="pc2")))
        await pc2.send(wire.call(1, ask(caller="operator")))
        await eventually(lambda: len(seen) == 2)
        assert sorted(seen) == ["operator", "pc2"]


@on_a_loop
async def test_a_second_host_of_one_name_is_refused_until_the_first_is_gone() -> None:
    async with host(HERE) as callee, raw_dealer(callee) as first:
        assert (await first.greet(incarnation=5))[0] == wire.WELCOME
        async with raw_dealer(callee) as second:
            for incarnation in (6, 4):
                words = refusal(await second.greet(incarnation=incarnation))
                assert f"a host named pc2 is connected already (incarnation 5, this one is {incarnation})" in words
                assert "stop the other one or give this one another name" in words
            assert (await second.greet("heartbeat", incarnation=6))[0] == wire.WELCOME, "of another kind"
        async with raw_dealer(callee) as same:
            assert (await same.greet(incarnation=5))[0] == wire.WELCOME, "a second connection of the same one"
        first.socket.close()
        await eventually(lambda: not callee.listener.sessions)
        async with raw_dealer(callee) as newer:
            assert (await newer.greet(incarnation=6))[0] == wire.WELCOME


@on_a_loop
async def test_a_host_that_stops_lets_nobody_in() -> None:
    async with host(HERE) as callee, raw_dealer(callee) as dealer:
        callee.listener.accepting = False
        assert refusal(await dealer.greet()) == "mainpc is stopping"


@on_a_loop
async def test_connections_of_one_name_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSIONS_PER_PEER", 2)
    async with host(HERE) as callee, raw_dealer(callee) as one, raw_dealer(callee) as two, raw_dealer(callee) as three:
        assert [(await dealer.greet())[0] for dealer in (one, two)] == [wire.WELCOME] * 2
        assert refusal(await three.greet()) == "pc2 has 2 connections here already; close some"
        async with raw_dealer(callee, "pc3") as other:
            assert (await other.greet())[0] == wire.WELCOME
        two.socket.close()
        await eventually(lambda: len(callee.listener.sessions) == 1)
        assert (await three.greet())[0] == wire.WELCOME


@on_a_loop
async def test_connections_are_bounded_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSIONS", 1)
    async with host(HERE) as callee, raw_dealer(callee) as one, raw_dealer(callee, "pc3") as other:
        assert (await one.greet())[0] == wire.WELCOME
        assert "connections here already" in refusal(await other.greet())


@on_a_loop
async def test_whoever_is_told_of_a_session_may_refuse_it() -> None:
    async with host(HERE) as callee, raw_dealer(callee) as dealer:
        callee.refuses = PermissionDenied("an older incarnation is not heard again")
        assert refusal(await dealer.greet()) == "an older incarnation is not heard again"
        assert (callee.listener.sessions, callee.sessions) == ({}, [])
        callee.refuses = None
        assert (await dealer.greet())[0] == wire.WELCOME
        assert callee.sessions == [("pc2", True)]


# --- keys -------------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_stranger_gets_no_answer_at_all() -> None:
    async with two_hosts() as (callee, caller), raw_dealer(callee, "stranger") as stranger:
        await eventually(lambda: callee.heartbeat.refused)
        assert not stranger.socket.poll(50, zmq.POLLOUT)
        assert [name for name, _ in callee.sessions] == ["pc2"]
        assert await caller.call(HERE, "undisturbed") == "undisturbed"


@on_a_loop
async def test_a_program_without_security_is_reported_and_harms_nobody() -> None:
    async with two_hosts() as (callee, caller):
        where = "127.0.0.1", int(callee.endpoint.rpartition(":")[2])
        with socket.create_connection(where) as plain, socket.create_connection(where) as browser:
            plain.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
            browser.sendall(b"GET / HTTP/1.1\r\n\r\n")
            await eventually(lambda: callee.troubles)
            assert callee.troubles[0] == "a program without the mesh's security knocked at this port and was refused"
            assert await caller.call(HERE, "undisturbed") == "undisturbed"


@on_a_loop
async def test_without_security_names_are_believed() -> None:
    async with host(HERE, secure=False) as callee, host("pc2", secure=False) as caller:
        await caller.join(callee)
        assert await caller.call(HERE, "plain") == "plain"
        assert callee.session_of("pc2").peer == "pc2"


# --- how long a session lasts -----------------------------------------------------------------------------------------


@on_a_loop
async def test_a_session_ends_with_its_connection_and_its_calls_with_it() -> None:
    begun, cancelled = [], []

    async def wait(request: Request) -> Reply:
        begun.append(decode(request.body))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(decode(request.body))
            raise
        raise AssertionError("never set")

    async with host(HERE, wait) as callee, raw_dealer(callee) as leaving, raw_dealer(callee, "pc3") as staying:
        for dealer in (leaving, staying):
            await dealer.greet()
            await dealer.send(wire.call(1, ask(f"{dealer.name} one")), wire.call(2, ask(f"{dealer.name} two")))
        await eventually(lambda: len(begun) == 4)
        leaving.socket.close()
        await eventually(lambda: cancelled == ["pc2 one", "pc2 two"])
        assert callee.sessions == [("pc2", True), ("pc3", True), ("pc2", False)]
        assert len(callee.session_of("pc3")) == 2


@on_a_loop
async def test_answers_for_a_peer_that_is_gone_are_dropped() -> None:
    go_on = asyncio.Event()
    answered = []

    async def stubborn(request: Request) -> Reply:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await go_on.wait()
        answered.append(1)
        return Reply(encode(bytes(100_000)))

    async with host(HERE, stubborn) as callee, raw_dealer(callee) as leaving, raw_dealer(callee, "pc3") as staying:
        await leaving.greet()
        await staying.greet()
        await leaving.send(wire.call(1, ask()))
        await eventually(lambda: len(callee.session_of("pc2")) == 1)
        leaving.socket.close()
        await eventually(lambda: len(callee.listener.sessions) == 1)
        go_on.set()
        await eventually(lambda: answered)
        await staying.send(wire.call(1, ask()), wire.cancel(1))
        assert wire.read_reply(await staying.next())[1].error is not None


@on_a_loop
async def test_a_connection_that_ends_right_after_its_hello_leaves_no_session() -> None:
    async with host(HERE) as callee:
        hello = wire.frame(0, 0, [wire.hello(wire.Hello("home", "host", "pc2", 1))])
        for _ in range(20):
            dealers = [RawDealer(callee.peer) for _ in range(3)]
            for dealer in dealers:  # all of it while the loop does not turn
                assert dealer.socket.poll(5000, zmq.POLLOUT)
                dealer.socket.send(hello)
            for dealer in dealers:
                dealer.socket.close(linger=500)
            wait_until(lambda: not connected(callee.endpoint))
            for dealer in dealers:
                dealer.close()
            async with raw_dealer(callee) as other:
                assert (await other.greet(incarnation=2))[0] == wire.WELCOME
            await eventually(lambda: not callee.listener.sessions)
        assert [up for _, up in callee.sessions].count(True) == [up for _, up in callee.sessions].count(False)


def connected(endpoint: str) -> int:
    """Return how many connections a port has, as the operating system sees it."""
    port = f":{int(endpoint.rpartition(':')[2]):04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table]
    return sum(1 for row in rows[1:] if row[1].endswith(port) and row[3] == "01")


@on_a_loop
async def test_ending_a_session_whose_connection_is_gone_ends_no_other_connection() -> None:
    async with two_hosts() as (callee, caller):
        for _ in range(10):
            gone = RawDealer(callee.peer, "pc3")
            await gone.greet()
            session = callee.session_of("pc3")
            before = connected(callee.endpoint)
            gone.close()  # from here on the loop does not turn, so the listener does not know yet
            wait_until(lambda: connected(callee.endpoint) < before)  # noqa: B023
            newcomer = RawDealer(callee.peer, "operator")  # may well get the descriptor of the one that is gone
            assert newcomer.socket.poll(5000, zmq.POLLOUT)
            callee.listener.sever(session, "for the test")
            assert (await newcomer.greet("operator"))[0] == wire.WELCOME
            newcomer.close()
            await eventually(lambda: len(callee.listener.sessions) == 1)
        assert await caller.call(HERE, "undisturbed") == "undisturbed"


@on_a_loop
async def test_a_listener_that_closes_ends_every_session() -> None:
    async with two_hosts() as (callee, caller):
        assert await caller.call(HERE, 1) == 1
        callee.listener.close()
        assert (callee.sessions, callee.listener.sessions) == ([("pc2", True), ("pc2", False)], {})
        await eventually(lambda: not caller.pool.up(HERE))


@on_a_loop
async def test_whoever_is_told_that_the_host_leaves_is_waited_for() -> None:
    async with two_hosts() as (callee, caller), raw_dealer(callee, "pc3") as heart:
        await heart.greet("heartbeat")
        assert callee.listener.waiting
        callee.listener.accepting = False
        callee.listener.tell(wire.leaving())
        await eventually(lambda: not callee.listener.waiting)
        assert caller.links[-1] == (HERE, False, "the peer is stopping")


# --- the port ---------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_port_that_is_taken_is_named() -> None:
    async with host(HERE) as first, host("pc2", listens=False) as second:
        with pytest.raises(StartError, match=f"cannot listen at {first.endpoint}: Address already in use") as caught:
            second.listen(first.endpoint)
        assert "see config/hosts.yaml" in caught.value.message
        second.listen()


@on_a_loop
async def test_a_dealer_of_any_make_may_knock_and_go() -> None:
    async with two_hosts() as (callee, caller):
        context = profile.new_context()
        odd = [context.socket(kind) for kind in (zmq.DEALER, zmq.REQ, zmq.SUB, zmq.PUSH, zmq.ROUTER)]
        for one in odd:
            one.setsockopt(zmq.CURVE_SERVERKEY, KEYS[HERE].public.encode())
            one.setsockopt(zmq.CURVE_PUBLICKEY, KEYS["pc3"].public.encode())
            one.setsockopt(zmq.CURVE_SECRETKEY, KEYS["pc3"].secret.encode())
            one.connect(callee.endpoint)
        for one in odd[:2]:
            assert one.poll(2000, zmq.POLLOUT)
            one.send(b"nonsense")
        await eventually(lambda: len(callee.troubles) >= 2)
        assert await caller.call(HERE, "undisturbed") == "undisturbed"
        for one in odd:
            one.close()
        context.term()
        assert [name for name, _ in callee.sessions] == ["pc2"]


@on_a_loop
async def test_values_cross_as_they_were_sent() -> None:
    async with host(HERE) as callee, raw_dealer(callee) as dealer:
        await dealer.greet()
        await dealer.send(wire.call(5, ask({"a": [1, b"x"]}, clock=Clock())))
        envelope = await dealer.next()
        assert (envelope[0], envelope[1], value_of(envelope)) == (wire.REPLY, 5, {"a": [1, b"x"]})
