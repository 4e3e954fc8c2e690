"""Loops that stand still: much may pile up meanwhile, and the death of whoever sent it is nobody else's."""

from __future__ import annotations

import asyncio

import zmq

from mesh import wire
from mesh.message import Event, encode
from mesh.transport.link import Peer
from tests.eventually import eventually
from tests.transport.ends import KEYS, RawRouter, ask, on_a_loop, raw_dealer, raw_router
from tests.transport.programs import line, passed, program

HERE = "mainpc"


@on_a_loop
async def test_a_listener_that_stands_still_with_much_unread_survives_the_death_of_the_sender() -> None:
    keys = KEYS[HERE], KEYS["pc2"]
    with program("blocked_host", "listen", keys[0].public, keys[0].secret, keys[1].public) as child:
        endpoint = await asyncio.to_thread(line, child)
        peer = Peer(HERE, endpoint, keys[0].public)
        with program("frozen_caller", endpoint, keys[0].public, keys[1].public, keys[1].secret) as busy:
            async with raw_dealer(peer) as dealer:
                await dealer.greet()
                await dealer.send(wire.call(1, ask(2.2, timeout=20)))
                assert await asyncio.to_thread(line, child) == "standing still"
                await eventually(passed(1.0))  # by now far more waits than the listener takes in
                busy.kill()
                assert await asyncio.to_thread(line, child) == "going on"
                assert wire.read_reply(await dealer.next())[1].value() == 2.2
        assert child.poll() is None


def taken(listener: RawRouter, routing_id: bytes, envelope: bytes) -> bool:
    try:
        listener.tell(routing_id, envelope)
    except zmq.Again:
        return False
    return True


@on_a_loop
async def test_a_dialling_end_that_stands_still_with_much_unread_survives_the_death_of_the_listener() -> None:
    keys = KEYS[HERE], KEYS["pc2"]
    async with raw_router() as listener:
        arguments = listener.endpoint, keys[0].public, keys[1].public, keys[1].secret
        with program("blocked_host", "dial", *arguments) as child:
            routing_id = await listener.welcome()
            listener.tell(routing_id, wire.event(Event("stand.still", encode(2.0), "kb@mainpc", 0.0)))
            assert await asyncio.to_thread(line, child) == "standing still"
            happened = wire.event(Event("much.more", encode("x" * 100), "kb@mainpc", 0.0))
            for _ in range(2000):
                await eventually(lambda: taken(listener, routing_id, happened))
            listener.socket.close(linger=0)
            assert await asyncio.to_thread(line, child) == "going on"
            assert child.poll() is None
