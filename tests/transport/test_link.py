"""The end that dials: greets first, waits with its calls, knows what became of them, and dials again."""

from __future__ import annotations

import asyncio
import socket
import time

from mesh import wire
from mesh.errors import PermissionDenied, StartError
from mesh.message import Reply, Request, decode, encode
from mesh.testing.clock import settle
from mesh.transport import link as module
from mesh.transport.link import Peer
from tests.eventually import eventually
from tests.project import free_ports
from tests.transport.ends import KEYS, Host, ask, host, on_a_loop, outcome, raw_router, two_hosts, unreachable

HERE = "mainpc"

# --- greeting ---------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_hello_comes_first_and_nothing_else_before_the_welcome() -> None:
    async with raw_router() as listener, host("pc2", listens=False) as caller:
        caller.become(incarnation=42, interest=("memory.*",))
        caller.pool.connect(listener.peer)
        call = outcome(caller, ask("waits"))
        routing_id, hello = await listener.next()
        assert wire.read_greeting(hello) == wire.Hello("home", "host", "pc2", 42, ("memory.*",), "test")
        assert not await asyncio.to_thread(listener.socket.poll, 100)
        assert caller.pool.links[HERE].state == "greeting"
        listener.tell(routing_id, wire.welcome(wire.Hello("home", "host", HERE, 1)))
        _, envelope = await listener.next()
        assert envelope[0] == wire.CALL
        listener.tell(routing_id, wire.reply(envelope[1], Reply(encode("answer"), host=HERE)))
        assert (await call).value() == "answer"
        assert caller.links == [(HERE, True, "")]


@on_a_loop
async def test_each_dial_is_a_connection_with_an_identity_of_its_own() -> None:
    async with raw_router() as listener, host("pc2", listens=False) as caller:
        link = caller.pool.connect(listener.peer)
        seen = [await listener.welcome()]
        for _ in range(3):
            await eventually(lambda: link.state == "up")
            link.lose("for the test")
            seen.append(await listener.welcome())
        assert len(set(seen)) == 4
        assert {len(routing_id) for routing_id in seen} == {16}


@on_a_loop
async def test_what_answers_under_another_name_is_not_trusted() -> None:
    async with raw_router() as listener, host("pc2", listens=False) as caller:
        link = caller.pool.connect(listener.peer)
        call = outcome(caller, ask())
        await listener.welcome(host="pc3")
        began, message = unreachable(await call)
        assert began == "no"
        assert f"{listener.endpoint} answers as pc3 of mesh 'home', not as mainpc of mesh 'home'" in message
        assert "check config/hosts.yaml" in message
        assert link.state == "lost"
        assert len(caller.troubles) == 1


@on_a_loop
async def test_what_answers_for_another_mesh_is_not_trusted() -> None:
    async with raw_router() as listener, host("pc2", listens=False) as caller:
        link = caller.pool.connect(listener.peer)
        await listener.welcome(mesh="office")
        await eventually(lambda: link.state == "lost")
        assert "mesh 'office', not as mainpc of mesh 'home'" in caller.troubles[0]


@on_a_loop
async def test_a_refusal_is_told_once_and_not_hammered_at() -> None:
    async with raw_router() as listener, host("pc2", listens=False) as caller:
        link = caller.pool.connect(listener.peer)
        routing_id, _ = await listener.next()
        listener.tell(routing_id, wire.refused(PermissionDenied("two supervisors may not share a name")))
        await eventually(lambda: link.state == "lost")
        begun = time.monotonic()
        again, _ = await listener.next()
        assert time.monotonic() - begun > 0.7
        listener.tell(again, wire.refused(PermissionDenied("two supervisors may not share a name")))
        await eventually(lambda: len(caller.links) == 2)
        assert caller.troubles == [
            f"mainpc at {listener.endpoint} refused this host: two supervisors may not share a name"
        ]


@on_a_loop
async def test_interest_that_changed_during_the_greeting_is_told_after_it() -> None:
    async with raw_router() as listener, host("pc2", listens=False) as caller:
        caller.pool.connect(listener.peer)
        routing_id, hello = await listener.next()
        assert wire.read_greeting(hello).interest == ()
        caller.become(interest=("memory.*",))
        caller.pool.tell(wire.interest(["memory.*"]))  # reaches nobody: no link is up yet
        listener.tell(routing_id, wire.welcome(wire.Hello("home", "host", HERE, 1)))
        _, envelope = await listener.next()
        assert wire.read_interest(envelope) == ("memory.*",)


# --- keys -------------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_key_the_peer_does_not_know_is_named_with_what_to_do() -> None:
    async with host(HERE) as callee, host("pc2", listens=False, key=KEYS["stranger"]) as caller:
        caller.dial(callee)
        began, message = unreachable(await outcome(caller, ask()))
        assert began == "no"
        assert "does not know this key" in message
        assert "mesh keys show" in message
        assert callee.sessions == []


@on_a_loop
async def test_a_peer_that_does_not_hold_the_expected_key_is_not_trusted() -> None:
    async with host(HERE) as callee, host("pc2", listens=False) as caller:
        caller.dial(callee, key=KEYS["stranger"].public)
        began, message = unreachable(await outcome(caller, ask()))
        assert began == "no"
        assert "did not prove the key" in message


@on_a_loop
async def test_a_peer_without_security_is_told_apart() -> None:
    async with host(HERE) as callee, host("pc2", listens=False) as caller:
        caller.dial(callee, key=None)
        began, _ = unreachable(await outcome(caller, ask()))
        assert began == "no"
        assert callee.sessions == []


# --- waiting and losing -----------------------------------------------------------------------------------------------


@on_a_loop
async def test_calls_made_while_connecting_wait_and_are_delivered_in_order() -> None:
    seen: list[int] = []

    async def note(request: Request) -> Reply:
        seen.append(decode(request.body))
        return Reply(request.body)

    async with host(HERE, note) as callee, host("pc2", listens=False) as caller:
        caller.dial(callee)
        calls = [outcome(caller, ask(number)) for number in range(50)]
        assert [(await call).value() for call in calls] == list(range(50))
        assert seen == list(range(50))


@on_a_loop
async def test_where_nothing_listens_a_call_has_not_begun_and_ends_within_two_seconds() -> None:
    async with host("pc2", listens=False) as caller:
        endpoint = f"tcp://127.0.0.1:{free_ports(1)[0]}"
        caller.pool.connect(Peer(HERE, endpoint, KEYS[HERE].public))
        begun = time.monotonic()
        began, message = unreachable(await outcome(caller, ask()))
        assert time.monotonic() - begun < 4.5
        assert (began, f"nothing listens at {endpoint}" in message) == ("no", True)
        assert message.endswith("the call had not left")


@on_a_loop
async def test_where_nobody_answers_a_call_has_not_begun_and_ends_within_two_seconds() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        async with host("pc2", listens=False) as caller:
            endpoint = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
            caller.pool.connect(Peer(HERE, endpoint, KEYS[HERE].public))
            begun = time.monotonic()
            began, message = unreachable(await outcome(caller, ask()))
            assert 1.5 < time.monotonic() - begun < 4.5
            assert (began, f"no answer from {endpoint} within 2 s" in message) == ("no", True)


@on_a_loop
async def test_where_a_mesh_listens_but_does_not_greet_a_call_has_not_begun() -> None:
    async with raw_router() as listener, host("pc2", listens=False) as caller:
        caller.pool.connect(listener.peer)
        began, message = unreachable(await outcome(caller, ask()))
        assert (began, "within 2 s" in message) == ("no", True)
        assert [envelope[0] for _, envelope in listener.read()][:1] == [wire.HELLO]
        assert listener.of_kind(wire.CALL) == []


@on_a_loop
async def test_a_host_nobody_dialled_is_unreachable() -> None:
    async with host("pc2", listens=False) as caller:
        assert unreachable(await outcome(caller, ask(), to="pc9"))[0] == "no"
        assert not caller.pool.up("pc9")


@on_a_loop
async def test_when_the_peer_is_gone_calls_under_way_end_at_once_with_an_unknown_fate() -> None:
    begun = asyncio.Event()

    async def never(request: Request) -> Reply:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError("never set")

    async with two_hosts(never) as (callee, caller):
        call = outcome(caller, ask(timeout=20))
        await begun.wait()
        callee.deafen()
        begun_waiting = time.monotonic()
        began, message = unreachable(await call)
        assert time.monotonic() - begun_waiting < 10
        assert began == "unknown"
        assert message.endswith("whether the call began is unknown")
        assert caller.pool.links[HERE].waiters == {}


@on_a_loop
async def test_when_the_peer_is_gone_calls_that_had_not_left_have_not_begun() -> None:
    async with two_hosts() as (_, caller):
        link = caller.pool.links[HERE]
        calls = [outcome(caller, ask(number)) for number in range(3)]
        big = outcome(caller, ask(bytes(200_000)))
        assert len(link.waiters) == 4
        link.lose("for the test")  # in the very turn in which they were made, before it ends
        assert [unreachable(await call)[0] for call in [*calls, big]] == ["no"] * 4


@on_a_loop
async def test_a_link_that_is_lost_comes_back_when_the_peer_listens_again_on_its_port() -> None:
    async with two_hosts() as (callee, caller):
        endpoint = callee.endpoint
        assert await caller.call(HERE, 1) == 1
        callee.deafen()
        await eventually(lambda: caller.pool.links[HERE].state == "lost")
        assert not caller.pool.up(HERE)
        await eventually(lambda: listens(callee, endpoint))
        await eventually(lambda: caller.pool.up(HERE), limit=2)
        assert await caller.call(HERE, 2) == 2
        assert [(up, bool(reason)) for _, up, reason in caller.links][:2] == [(True, False), (False, True)]
        assert caller.links[-1] == (HERE, True, "")


def listens(it: Host, endpoint: str) -> bool:
    """Listen once libzmq has really let go of a port; tells whether it has."""
    try:
        return bool(it.listen(endpoint))
    except StartError:
        return False


@on_a_loop
async def test_redialling_slows_down_to_twice_a_second_for_who_has_been_gone_for_some_seconds() -> None:
    async with host("pc2", listens=False) as caller:
        caller.pool.connect(Peer(HERE, f"tcp://127.0.0.1:{free_ports(1)[0]}", KEYS[HERE].public))
        link = caller.pool.links[HERE]
        await eventually(lambda: len(caller.links) >= 3)
        assert [link._longest_pause(gone) for gone in (0.0, 4.9, 5.0, 61.0)] == [0.1, 0.1, 0.5, 1.0]
        assert link._gone_since is not None
        link._gone_since -= module.JUST_GONE
        await eventually(lambda: link._delay == module.REDIAL_MOST, 10)
        assert not any(up for _, up, _ in caller.links)


@on_a_loop
async def test_a_new_address_is_dialled_at_once_and_calls_go_there() -> None:
    async with two_hosts() as (old, caller), host("mainpc") as new:
        link = caller.pool.links[HERE]
        assert caller.dial(new) is link
        await eventually(lambda: link.state == "up")
        assert await caller.call(HERE, "there") == "there"
        assert [up for _, up in new.sessions] == [True]
        await eventually(lambda: [up for _, up in old.sessions] == [True, False])


@on_a_loop
async def test_a_new_incarnation_is_dialled_at_once_but_a_link_that_is_up_stays() -> None:
    async with two_hosts() as (callee, caller):
        link = caller.dial(callee, incarnation=2)
        assert (link.state, len(caller.links)) == ("up", 1)
        endpoint = callee.endpoint
        callee.deafen()
        await eventually(lambda: len(caller.links) >= 4, limit=3)  # by now it waits longer and longer
        await eventually(lambda: listens(callee, endpoint))
        begun = time.monotonic()
        caller.dial(callee, incarnation=3)
        await eventually(lambda: link.state == "up")
        assert time.monotonic() - begun < 10


@on_a_loop
async def test_a_link_that_is_dropped_ends_its_calls_and_does_not_come_back() -> None:
    async with two_hosts() as (callee, caller):
        link = caller.pool.links[HERE]
        call = outcome(caller, ask())
        caller.pool.drop(HERE, "it has left the mesh")
        began, message = unreachable(await call)
        assert (began, "it has left the mesh" in message) == ("no", True)
        assert (link.state, link._timer, HERE in caller.pool.links) == ("closed", None, False)
        await eventually(lambda: not callee.listener.sessions)


@on_a_loop
async def test_reset_means_to_dial_anew() -> None:
    async with raw_router() as listener, host("pc2", listens=False) as caller:
        link = caller.pool.connect(listener.peer)
        routing_id = await listener.welcome()
        await eventually(lambda: link.state == "up")
        call = outcome(caller, ask())
        await eventually(lambda: listener.of_kind(wire.CALL))
        listener.tell(routing_id, wire.reset())
        assert unreachable(await call)[0] == "unknown"
        assert await listener.welcome() != routing_id


# --- leaving ----------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_peer_that_leaves_is_let_go_once_it_has_answered_everything() -> None:
    async with raw_router() as listener, host("pc2", listens=False) as caller:
        link = caller.pool.connect(listener.peer)
        routing_id = await listener.welcome()
        calls = [outcome(caller, ask(number)) for number in range(2)]
        await eventually(lambda: len(listener.of_kind(wire.CALL)) == 2)
        numbers = [envelope[1] for envelope in listener.of_kind(wire.CALL)]
        listener.tell(routing_id, wire.reply(numbers[0], Reply(encode("first"))), wire.leaving())
        assert (await calls[0]).value() == "first"
        assert link.state == "up"
        listener.tell(routing_id, wire.reply(numbers[1], Reply(encode("second"))))
        assert (await calls[1]).value() == "second"
        await eventually(lambda: caller.links[-1:] == [(HERE, False, "the peer is stopping")])
        assert caller.troubles == []


@on_a_loop
async def test_answers_given_right_before_a_host_stops_still_arrive() -> None:
    for _ in range(20):
        async with two_hosts() as (callee, caller):
            call = outcome(caller, ask("last"))
            left = callee.traffic.frames_out
            while callee.traffic.frames_out == left:
                await settle(1)
            callee.listener.accepting = False
            callee.listener.tell(wire.leaving())
            await eventually(lambda callee=callee: not callee.listener.waiting, limit=0.5)  # type: ignore[misc]
            callee.listener.close()
            assert (await call).value() == "last"
