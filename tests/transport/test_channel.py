"""Frames out of the outbox, frames in: their age, their faults, and big envelopes put together."""

from __future__ import annotations

import os
import tracemalloc

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh import wire
from mesh.errors import ProtocolError
from mesh.message import Reply, encode
from mesh.metrics import Traffic
from mesh.testing import FakeClock
from mesh.testing.clock import settle
from mesh.transport import channel as module
from mesh.transport.channel import EAGER, Channel, FrameAge
from mesh.transport.window import MOST
from mesh.wire import Envelope
from tests.transport.ends import on_a_loop

CHUNK = wire.CHUNK
MIB = 1024 * 1024


class End(Channel):
    """A channel whose other end is the test."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.time = clock or FakeClock()
        super().__init__("pc2", self.time, Traffic())
        self.sent: list[bytes] = []
        self.room = 1_000_000
        self.ready = True
        self.handled: list[tuple[Envelope, float]] = []
        self.faults: list[tuple[str, bool]] = []
        self.missed: list[int] = []

    @property
    def traffic(self) -> Traffic:
        return self._traffic

    def transmit(self, frame: bytes) -> bool:
        if len(self.sent) >= self.room:
            return False
        self.sent.append(frame)
        return True

    def may_flush(self) -> bool:
        return self.ready

    def handle(self, envelope: Envelope, shift: float) -> None:
        if envelope[0] == wire.RESET:
            raise ProtocolError("not expected here")
        self.handled.append((envelope, shift))

    def undecodable(self, error: ProtocolError, repeated: bool) -> None:
        self.faults.append((str(error), repeated))

    def events_lost(self, count: int) -> None:
        self.missed.append(count)

    def take(self, *envelopes: bytes, stamp: int = 0, lost: int = 0) -> int:
        return self.receive(wire.frame(stamp, lost, envelopes))

    def told(self) -> list[Envelope]:
        """Return every envelope that left."""
        return [envelope for frame in self.sent for envelope in wire.decode_frame(frame).envelopes]


# --- age --------------------------------------------------------------------------------------------------------------


def test_the_fastest_frame_is_new_and_the_others_are_as_old_as_they_are_slower() -> None:
    age = FrameAge()
    assert age.of(5.0, 1000.0) == 0.0
    assert age.of(6.0, 1001.5) == pytest.approx(0.5)
    assert age.of(7.0, 1001.8) == 0.0  # a faster one: the measure from now on
    assert age.of(8.0, 1003.0) == pytest.approx(0.2)


def test_a_frame_that_waited_for_a_frozen_program_shows_its_full_age() -> None:
    age = FrameAge()
    for second in range(10):
        age.of(100.0 + second, 5000.0 + second)
    assert age.of(110.0, 5017.0) == pytest.approx(7.0)


def test_what_was_fast_more_than_a_minute_ago_is_no_measure_any_more() -> None:
    age = FrameAge()
    age.of(0.0, 1000.0)
    for second in range(1, 80):
        now = age.of(float(second), 1000.0 + second + 0.3)
    assert now == pytest.approx(0.0)
    assert age.of(80.0, 1080.5) == pytest.approx(0.2)


def test_clocks_that_drift_apart_make_no_frame_old() -> None:
    age = FrameAge()
    ages = [age.of(second * 1.0, 1000.0 + second * 1.0001) for second in range(1000)]
    assert max(ages) <= 60 * 0.0001 + 1e-6


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 3)), min_size=1, max_size=60))
@settings(deadline=None)
def test_an_age_is_what_a_frame_took_beyond_the_fastest_of_the_last_minute(moves: list[tuple[float, float]]) -> None:
    age, now = FrameAge(), 1000.0
    seen: list[tuple[float, float]] = []
    for wait, took in moves:
        now += wait
        seen.append((now, took))
        found = age.of(now - took, now)
        least_of_50 = min(delay for moment, delay in seen if moment > now - 50)
        least_of_60 = min(delay for moment, delay in seen if moment >= now - 60)
        assert took - least_of_50 - 1e-6 <= found <= took - least_of_60 + 1e-6


@on_a_loop
async def test_deadlines_are_read_on_the_clock_of_the_receiver_less_the_age() -> None:
    end = End(FakeClock(now=500.0))
    end.take(wire.cancel(1), stamp=7_000)
    assert end.handled[-1][1] == pytest.approx(493.0)
    await end.time.advance(3.0)
    end.take(wire.cancel(2), stamp=8_000)  # it took two seconds longer
    assert end.handled[-1][1] == pytest.approx(493.0), "the two seconds are the frame's, not the call's"


def test_the_stamp_of_the_greeting_is_the_first_measure() -> None:
    end = End(FakeClock(now=500.0))
    end.note_stamp(7_000)
    end.take(wire.cancel(1), stamp=2_000)
    assert end.handled[-1][1] == pytest.approx(493.0)


# --- out --------------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_what_is_made_in_one_turn_leaves_in_one_frame_with_its_stamp() -> None:
    end = End(FakeClock(now=12.5))
    for number in range(5):
        end.outbox.put_reply(number, "kb", wire.reply(number, Reply(encode(number))))
        end.dirty()
    assert end.sent == []
    await settle(1)
    frame = wire.decode_frame(end.sent[0])
    assert (len(end.sent), frame.stamp, frame.lost, len(frame.envelopes)) == (1, 12_500, 0, 5)
    assert (end.traffic.frames_out, end.traffic.envelopes_out) == (1, 5)


@on_a_loop
async def test_what_is_made_alone_leaves_alone() -> None:
    end = End()
    for number in range(5):
        end.outbox.put_control(wire.cancel(number))
        end.dirty()
        await settle(2)
    assert (end.traffic.frames_out, end.traffic.envelopes_out) == (5, 5)


def test_nothing_leaves_before_the_connection_is_ready() -> None:
    end = End()
    end.ready = False
    end.outbox.put_control(wire.cancel(1))
    end.flush()
    assert end.sent == []
    end.ready = True
    end.flush()
    assert len(end.told()) == 1


@on_a_loop
async def test_a_frame_that_was_not_taken_is_sent_again_as_it_was() -> None:
    end = End(FakeClock(now=1.0))
    end.room = 0
    end.outbox.put_control(wire.cancel(1))
    end.flush()
    assert end.blocked
    await end.time.advance(5)
    end.outbox.put_control(wire.cancel(2))
    end.flush()
    assert (end.blocked, end.traffic.frames_out) == (True, 0)
    end.room = 10
    end.flush()
    assert not end.blocked
    assert [wire.decode_frame(frame).stamp for frame in end.sent] == [1000, 6000], "its age is the time it waited"
    assert [envelope[1] for envelope in end.told()] == [1, 2]


@on_a_loop
async def test_lost_events_are_told_in_the_next_frame() -> None:
    end = End()
    for _ in range(10_003):
        end.outbox.put_event(wire.cancel(1))
    end.dirty()
    await settle(1)
    assert {wire.decode_frame(frame).lost for frame in end.sent} == {3}


@on_a_loop
async def test_a_full_frame_does_not_wait_for_the_end_of_the_turn() -> None:
    end = End()
    for _ in range(EAGER + 1):
        end.send_event(wire.cancel(1))
    assert [len(wire.decode_frame(frame).envelopes) for frame in end.sent] == [EAGER]
    await settle(1)
    assert [len(wire.decode_frame(frame).envelopes) for frame in end.sent] == [EAGER, 1]


# --- in ---------------------------------------------------------------------------------------------------------------


def test_frames_and_envelopes_are_counted() -> None:
    end = End()
    assert end.take(wire.cancel(1), wire.cancel(2)) == 2
    assert end.take() == 0
    assert (end.traffic.frames_in, end.traffic.envelopes_in, end.traffic.undecodable) == (2, 2, 0)


@on_a_loop
async def test_bytes_are_counted_each_way_and_only_when_they_have_left() -> None:
    end = End()
    frame = wire.frame(0, 0, [wire.cancel(1)])
    end.receive(frame)
    end.receive(b"\xc1")
    assert end.traffic.bytes_in == len(frame) + 1
    end.room = 0
    end.outbox.put_control(wire.cancel(1))
    end.flush()
    assert (end.traffic.bytes_out, end.traffic.frames_out) == (0, 0)
    end.room = 1
    end.flush()
    assert (end.traffic.bytes_out, end.traffic.frames_out) == (len(end.sent[0]), 1)


def test_events_that_a_connection_leaves_behind_are_counted() -> None:
    end = End()
    end.ready = False
    for _ in range(3):
        end.outbox.put_event(b"x")
    end.outbox.lost_events = 4
    end.forget()
    assert end.traffic.events_dropped == 7
    end.forget()
    assert end.traffic.events_dropped == 7


def test_a_growing_count_of_lost_events_is_passed_on_and_a_shrinking_one_is_not() -> None:
    end = End()
    for lost in (0, 5, 5, 9, 2, 9, 12):
        end.take(lost=lost)
    assert end.missed == [5, 4, 3]
    assert end.traffic.events_lost == 12


def test_a_frame_that_does_not_decode_is_dropped_whole_and_counted() -> None:
    end = End()
    assert end.receive(b"\xc1") == 1
    assert end.receive(wire.frame(0, 0, [wire.cancel(1), b"\x01"])) == 1
    assert (end.handled, end.traffic.undecodable) == ([], 2)
    assert [repeated for _, repeated in end.faults] == [False, False]


def test_an_envelope_that_makes_no_sense_is_dropped_alone_and_counted() -> None:
    end = End()
    end.take(wire.cancel(1), wire.reset(), wire.cancel(2))
    assert [envelope[1] for envelope, _ in end.handled] == [1, 2]
    assert (end.traffic.undecodable, end.faults) == (1, [("not expected here", False)])


@on_a_loop
async def test_the_third_fault_within_ten_seconds_is_told_as_such() -> None:
    end = End()
    for wait in (0, 6, 6, 3, 30, 1, 1):
        await end.time.advance(wait)
        end.receive(b"\xc1")
    assert [repeated for _, repeated in end.faults] == [False, False, False, True, False, False, True]


@on_a_loop
async def test_where_news_are_waited_for_an_old_frame_and_those_after_it_wait_a_moment() -> None:
    end = End(FakeClock(now=500.0))
    end.waits_for_news = True
    end.take(wire.cancel(1), stamp=10_000)
    await end.time.advance(3.0)
    assert end.take(wire.cancel(2), wire.cancel(3), stamp=11_000) == 2
    end.take(wire.cancel(4), stamp=13_000)
    assert [envelope[1] for envelope, _ in end.handled] == [1]
    await end.time.advance(module.GRACE)
    assert [envelope[1] for envelope, _ in end.handled] == [1, 2, 3, 4]
    end.take(wire.cancel(5), stamp=13_040)
    assert end.handled[-1][0][1] == 5, "one that is in time waits for nothing"


@on_a_loop
async def test_an_old_frame_of_a_connection_that_turns_out_lost_is_dropped() -> None:
    end = End(FakeClock(now=500.0))
    end.waits_for_news = True
    end.take(stamp=10_000)
    await end.time.advance(3.0)
    end.take(wire.cancel(1), stamp=11_000)
    end.forget()
    await end.time.advance(1.0)
    assert end.handled == []


@on_a_loop
async def test_elsewhere_an_old_frame_is_taken_as_it_comes() -> None:
    end = End(FakeClock(now=500.0))
    end.take(stamp=10_000)
    await end.time.advance(3.0)
    end.take(wire.cancel(1), stamp=11_000)
    assert len(end.handled) == 1


# --- big envelopes ----------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_big_envelope_comes_out_as_it_went_in() -> None:
    sender, receiver = End(), End()
    envelope = wire.reply(7, Reply(os.urandom(1_000_000), None, "pc2"))
    sender.outbox.put_reply(7, "kb", envelope)
    sender.flush()
    while sender.sent or receiver.sent:
        for frame in sender.sent:
            receiver.receive(frame)
        sender.sent.clear()
        await settle(1)
        for frame in receiver.sent:
            sender.receive(frame)
        receiver.sent.clear()
        await settle(1)
    assert [each for each, _ in receiver.handled] == [msgpack.unpackb(bytes(envelope))]
    assert (sender.outbox.bulk_bytes, len(receiver._arrivals), receiver._arrivals.size) == (0, 0, 0)
    assert sender.traffic.frames_out <= 16 and receiver.traffic.frames_out < sender.traffic.frames_out


@pytest.mark.parametrize(("count", "size"), [(1, 16 * MIB), (8, 2 * MIB), (64, MIB // 4)])
@on_a_loop
async def test_big_bodies_take_their_own_size_at_the_far_end_and_next_to_nothing_here(count: int, size: int) -> None:
    sender, receiver = End(), End()
    bodies = [os.urandom(size) for _ in range(count)]
    tracemalloc.start()
    try:
        for number, body in enumerate(bodies):
            sender.outbox.put_reply(number, "kb", wire.reply(number, Reply(body, None, "pc2")))
        assert tracemalloc.get_traced_memory()[1] < MIB // 4, "what waits is not copied"
        sender.flush()
        while sender.sent or receiver.sent:
            for end, other in ((sender, receiver), (receiver, sender)):
                while end.sent:
                    other.receive(end.sent.pop(0))
                await settle(1)
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB * 9 / 8 + MOST + MIB, "BytesIO has an eighth to spare"
    finally:
        tracemalloc.stop()
    assert sorted(each[-1] for each, _ in receiver.handled) == sorted(bodies)
    assert (sender.outbox.bulk_bytes, receiver._arrivals.size) == (0, 0)


@on_a_loop
async def test_parts_of_one_turn_are_acknowledged_with_what_has_arrived() -> None:
    end = End()
    data = bytes(wire.reply(1, Reply(bytes(100_000))))
    for turn in ((0, 40_000), (80_000,)):
        for offset in turn:
            end.take(wire.chunk(3, len(data), offset, data[offset:offset + 40_000]))
        await settle(1)
    assert end.told() == [[wire.ACK, 3, 80_000, b""], [wire.ACK, 3, len(data), b""]]
    assert len(end.handled) == 1


BEGIN = b"".join(wire.item(1, 2, bytes(100_000)).between(0, 100))  # type: ignore[union-attr]
TOTAL = len(wire.item(1, 2, bytes(100_000)))


@pytest.mark.parametrize(("first", "second"), [
    ((TOTAL, 5, BEGIN), None), ((TOTAL, 0, b""), None), ((10, 0, BEGIN), None), ((wire.MAX_BODY * 2, 0, b"x"), None),
    ((TOTAL, 0, BEGIN), (TOTAL, 101, b"x")), ((TOTAL, 0, BEGIN), (TOTAL, 99, b"x")),
    ((TOTAL, 0, BEGIN), (TOTAL, 0, BEGIN)), ((TOTAL, 0, BEGIN), (TOTAL, 100, bytes(TOTAL))),
    ((TOTAL, 0, BEGIN), (TOTAL + 1, 100, b"x")),
])
@on_a_loop
async def test_a_part_that_does_not_follow_ends_its_transfer(
    first: tuple[int, int, bytes], second: tuple[int, int, bytes] | None
) -> None:
    end = End()
    for part in (first, second):
        if part is not None:
            end.take(wire.chunk(3, *part))
    assert len(end.faults) == 1
    assert "does not follow what has arrived" in end.faults[0][0]
    assert (len(end._arrivals), end._arrivals.size, end.handled) == (0, 0, [])


@on_a_loop
async def test_parts_that_make_no_envelope_are_a_fault() -> None:
    end = End()
    for data in (b"\xc1" * 9, wire.hello(wire.Hello("home", "host", "pc2", 1)), b"\xc0"):
        end.take(wire.chunk(3, len(data), 0, data))
    assert (len(end.faults), end.handled, len(end._arrivals)) == (3, [], 0)


@on_a_loop
async def test_a_transfer_that_is_given_up_is_forgotten() -> None:
    end = End()
    end.take(wire.chunk(3, TOTAL, 0, BEGIN), wire.chunk(4, TOTAL, 0, BEGIN))
    end.take(wire.chunk(3, 0, 0, b""), wire.chunk(99, 0, 0, b""))
    assert (len(end._arrivals), end._arrivals.size, end.faults) == (1, 100, [])


@on_a_loop
async def test_a_connection_that_is_lost_is_forgotten_bytes() -> None:
    end = End()
    end.take(wire.chunk(3, TOTAL, 0, BEGIN), stamp=5, lost=7)
    end.room = 0
    end.outbox.put_control(wire.cancel(1))
    end.flush()
    end.forget()
    assert (end.blocked, bool(end.outbox), len(end._arrivals), end._arrivals.size) == (False, False, 0, 0)
    end.take(lost=2)
    assert end.missed == [7, 2], "the next connection counts from zero"
