"""Events of one turn leave for each peer in one frame, in order, and only for those who want them."""

from __future__ import annotations

from typing import Any

from mesh import wire
from mesh.message import Event, decode, encode
from tests.eventually import eventually
from tests.transport.ends import RawDealer, host, on_a_loop, raw_dealer

HERE = "mainpc"


def happened(topic: str, value: Any = None) -> Event:
    return Event(topic, encode(value), f"kb@{HERE}", 1.0)


async def greeted(dealer: RawDealer, interest: tuple[str, ...]) -> None:
    assert (await dealer.greet("host", interest=interest))[0] == wire.WELCOME


def values(dealer: RawDealer) -> list[Any]:
    return [decode(envelope[-1]) for envelope in dealer.of_kind(wire.EVENT)]


@on_a_loop
async def test_what_is_published_in_one_turn_shares_a_frame() -> None:
    async with host(HERE) as callee, raw_dealer(callee) as pc2, raw_dealer(callee, "pc3") as pc3:
        for dealer in (pc2, pc3):
            await greeted(dealer, interest=("a.#",))
        before = callee.traffic.frames_out
        for number in range(100):
            callee.listener.publish(happened("a.b", number))
        await eventually(lambda: values(pc2) == values(pc3) == [*range(100)])
        assert callee.traffic.frames_out == before + 2


@on_a_loop
async def test_order_is_kept_across_topics_that_others_want_too() -> None:
    async with host(HERE) as callee, raw_dealer(callee) as pc2, raw_dealer(callee, "pc3") as pc3:
        await greeted(pc2, interest=("#",))
        await greeted(pc3, interest=("odd",))
        for number in range(50):
            callee.listener.publish(happened("odd" if number % 2 else "even", number))
        await eventually(lambda: len(values(pc3)) == 25 and len(values(pc2)) == 50)
        assert values(pc2) == [*range(50)]
        assert values(pc3) == [*range(1, 50, 2)]


@on_a_loop
async def test_more_than_a_frame_holds_leaves_in_several() -> None:
    async with host(HERE) as callee, raw_dealer(callee) as dealer:
        await greeted(dealer, interest=("#",))
        for number in range(600):
            callee.listener.publish(happened("many", number))
        for number in range(5):
            callee.listener.publish(happened("long", [number, bytes(30_000)]))
        callee.listener.publish(happened("big", bytes(wire.CHUNK)))
        await eventually(lambda: len(values(dealer)) == 605)
        assert values(dealer)[:600] == [*range(600)]
        assert max(len(frame.envelopes) for frame in dealer.frames) == wire.MAX_ENVELOPES


@on_a_loop
async def test_a_peer_that_comes_or_changes_its_mind_is_asked_for_anew() -> None:
    async with host(HERE) as callee, raw_dealer(callee) as pc2:
        await greeted(pc2, interest=("a",))
        callee.listener.publish(happened("a", 1))
        async with raw_dealer(callee, "pc3") as pc3:
            await greeted(pc3, interest=("a",))
            callee.listener.publish(happened("a", 2))
            await eventually(lambda: values(pc2) == [1, 2] and values(pc3) == [2])
        await eventually(lambda: len(callee.listener.sessions) == 1)
        await pc2.send(wire.interest(["b"]))
        await eventually(lambda: "b" in callee.session_of("pc2").interest)
        for topic, value in (("a", 3), ("b", 4)):
            callee.listener.publish(happened(topic, value))
        await eventually(lambda: values(pc2) == [1, 2, 4])


@on_a_loop
async def test_what_a_peer_that_is_gone_did_not_get_is_counted_as_dropped() -> None:
    async with host(HERE) as callee, raw_dealer(callee) as dealer:
        await greeted(dealer, interest=("#",))
        for number in range(7):
            callee.listener.publish(happened("a", number))
        session = callee.session_of("pc2")
        session.end("it was a test")
        await eventually(lambda: callee.traffic.events_dropped == 7)
