"""What leaves next, what is refused, what is lost and counted, and what can be taken back."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mesh import wire
from mesh.errors import Overloaded
from mesh.transport import outbox as module
from mesh.transport import transfers
from mesh.transport.outbox import EVENTS, Outbox

MIB = 1024 * 1024
CHUNK = wire.CHUNK
FIRST_PARTS = 4


def frames(outbox: Outbox, now: float = 0.0) -> list[list[bytes]]:
    """Take everything that may leave now."""
    taken = []
    while envelopes := joined(outbox, now):
        taken.append(envelopes)
    return taken


def joined(outbox: Outbox, now: float = 0.0) -> list[bytes]:
    """Take the next frame's envelopes, one in pieces as a whole."""
    return [each if isinstance(each, bytes) else b"".join(each) for each in outbox.take(now)]


def flat(outbox: Outbox) -> list[bytes]:
    return [envelope for frame in frames(outbox) for envelope in frame]


def parts(outbox: Outbox, now: float = 0.0) -> list[list[Any]]:
    """Take the parts that may leave now as (transfer, total, offset, part)."""
    return [msgpack.unpackb(envelope)[1:] for frame in frames(outbox, now) for envelope in frame]


# --- order and frames -------------------------------------------------------------------------------------------------


def test_an_empty_outbox_has_nothing_to_send() -> None:
    outbox = Outbox()
    assert (bool(outbox), joined(outbox)) == (False, [])


def test_control_goes_first_then_calls_then_events_then_parts() -> None:
    outbox = Outbox()
    outbox.put_call(1, "a", bytes(CHUNK + 1))
    outbox.put_event(b"event")
    outbox.put_call(2, "a", b"call")
    outbox.put_reply(3, "kb", b"reply")
    outbox.put_control(b"control")
    assert bool(outbox)
    taken = frames(outbox)
    assert taken[0] == [b"control", b"call", b"reply", b"event"]
    assert [len(frame) for frame in taken[1:]] == [1, 1], "each part is alone in its frame"


def test_services_take_turns_also_from_one_frame_to_the_next() -> None:
    outbox = Outbox()
    for number in range(6):
        outbox.put_call(number, "busy", b"busy%d" % number)
    outbox.put_call(10, "second", b"second")
    outbox.put_call(11, "third", b"third")
    assert flat(outbox)[:4] == [b"busy0", b"second", b"third", b"busy1"]


def test_a_service_with_large_bodies_does_not_keep_others_from_their_turn() -> None:
    outbox = Outbox()
    for service in ("a", "b", "c"):
        for number in range(3):
            outbox.put_call(ord(service) * 10 + number, service, service.encode() * 60_000)
    assert [frame[0][:1] for frame in frames(outbox)] == [b"a", b"b", b"c"] * 3


def test_a_frame_holds_64_kib_at_most() -> None:
    outbox = Outbox()
    for number in range(10):
        outbox.put_call(number, "a", bytes(30_000))
    for _ in range(10):
        outbox.put_event(bytes(30_000))
    sizes = [sum(map(len, frame)) for frame in frames(outbox)]
    assert max(sizes) == 60_000
    assert sum(sizes) == 600_000


def test_the_order_of_one_service_is_kept_when_an_envelope_does_not_fit_any_more() -> None:
    outbox = Outbox()
    outbox.put_call(1, "a", b"1" * 40_000)
    outbox.put_call(2, "a", b"2" * 40_000)
    outbox.put_call(3, "a", b"3")
    assert [[envelope[:1] for envelope in frame] for frame in frames(outbox)] == [[b"1"], [b"2", b"3"]]


def test_an_envelope_of_64_kib_leaves_alone() -> None:
    outbox = Outbox()
    outbox.put_call(1, "a", b"small")
    outbox.put_call(2, "b", bytes(CHUNK))
    outbox.put_event(bytes(CHUNK))
    assert [len(frame) for frame in frames(outbox)] == [1, 1, 1]


def test_a_frame_holds_256_envelopes_at_most() -> None:
    outbox = Outbox()
    for number in range(300):
        outbox.put_call(number, "a", b"x")
        outbox.put_control(b"c")
    for _ in range(300):
        outbox.put_event(b"e")
    taken = frames(outbox)
    assert [len(frame) for frame in taken] == [256, 256, 256, 132]
    assert b"".join(envelope for frame in taken for envelope in frame) == b"c" * 300 + b"x" * 300 + b"e" * 300


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_calls_over_16_mib_are_refused_until_some_have_left() -> None:
    outbox = Outbox()
    for number in range(256):
        outbox.put_call(number, "a", bytes(CHUNK))
    with pytest.raises(Overloaded, match="16 MiB of calls already wait for this peer") as caught:
        outbox.put_call(300, "a", b"x")
    assert caught.value.details["retry_after"] > 0
    assert not outbox.holds(300)
    outbox.take(0.0)
    outbox.put_call(300, "a", b"x")
    assert outbox.call_bytes == 255 * CHUNK + 1


def test_replies_always_find_room() -> None:
    outbox = Outbox()
    for number in range(300):
        outbox.put_reply(number, "kb", bytes(CHUNK))
    assert outbox.call_bytes == 300 * CHUNK
    assert len(flat(outbox)) == 300


def test_big_calls_are_counted_apart_and_one_is_always_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BULK_BYTES", 1 * MIB)
    outbox = Outbox()
    outbox.put_call(1, "a", bytes(2 * MIB))
    with pytest.raises(Overloaded, match="2 MiB of big bodies already wait") as caught:
        outbox.put_call(2, "a", bytes(CHUNK + 1))
    assert caught.value.details["retry_after"] > 0
    outbox.put_call(3, "a", b"small ones go on")
    outbox.put_reply(4, "kb", bytes(2 * MIB))
    assert (outbox.bulk_bytes, outbox.call_bytes) == (4 * MIB, 16)


def test_the_oldest_events_over_10_000_are_lost_and_counted() -> None:
    outbox = Outbox()
    for number in range(EVENTS + 25):
        outbox.put_event(b"%d" % number)
    assert outbox.lost_events == 25
    left = flat(outbox)
    assert (len(left), left[0], left[-1]) == (EVENTS, b"25", b"%d" % (EVENTS + 24))


def test_the_oldest_events_over_4_mib_are_lost_and_counted() -> None:
    outbox = Outbox()
    for number in range(100):
        outbox.put_event(bytes([number]) * CHUNK)
    assert outbox.lost_events == 36
    assert flat(outbox)[0][0] == 36
    outbox.put_event(b"room again")
    assert flat(outbox) == [b"room again"]


def test_a_big_event_is_lost_when_bulk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BULK_BYTES", 1 * MIB)
    outbox = Outbox()
    outbox.put_event(bytes(2 * MIB))
    assert outbox.lost_events == 0
    outbox.put_event(bytes(2 * MIB))
    assert (outbox.lost_events, outbox.bulk_bytes) == (1, 2 * MIB)


# --- taking back ------------------------------------------------------------------------------------------------------


def test_a_call_that_has_not_left_can_be_taken_back() -> None:
    outbox = Outbox()
    outbox.put_call(1, "a", b"first")
    outbox.put_call(2, "a", b"second")
    assert outbox.holds(1)
    assert outbox.withdraw(1)
    assert not outbox.holds(1)
    assert not outbox.withdraw(1)
    assert (outbox.call_bytes, flat(outbox)) == (6, [b"second"])
    assert not outbox.withdraw(2), "it has left"


def test_calls_that_are_taken_back_leave_no_trace() -> None:
    outbox = Outbox()
    for number in range(10_000):
        outbox.put_call(number, f"s{number % 7}", bytes(1000))
        assert outbox.withdraw(number)
    assert (bool(outbox), outbox.call_bytes, outbox._calls, outbox._lane_of) == (False, 0, {}, {})


def test_a_big_call_of_which_nothing_has_left_can_be_taken_back() -> None:
    outbox = Outbox()
    outbox.put_call(1, "a", bytes(2 * MIB))
    assert outbox.holds(1)
    assert outbox.withdraw(1)
    assert (bool(outbox), outbox.bulk_bytes, outbox.holds(1)) == (False, 0, False)


def test_a_big_call_that_has_left_in_part_is_given_up_and_the_peer_told() -> None:
    outbox = Outbox()
    outbox.put_call(1, "a", bytes(2 * MIB))
    transfer = parts(outbox)[0][0]
    assert not outbox.holds(1)
    assert not outbox.withdraw(1)
    assert [msgpack.unpackb(envelope) for envelope in flat(outbox)] == [[11, transfer, 0, 0, b""]]
    assert (bool(outbox), outbox.bulk_bytes) == (False, 0)
    outbox.put_call(2, "a", bytes(2 * MIB))
    assert len(parts(outbox)) == FIRST_PARTS


# --- big envelopes ----------------------------------------------------------------------------------------------------


def test_a_big_envelope_leaves_in_parts_that_make_it_up_again() -> None:
    outbox = Outbox()
    envelope = bytes(range(256)) * 4096
    outbox.put_reply(1, "kb", envelope)
    arrived = b""
    while sent := parts(outbox):
        for _, total, offset, part in sent:
            assert (total, offset) == (len(envelope), len(arrived))
            arrived += part
        outbox.acknowledge(sent[-1][0], len(arrived), 0.0)
    assert arrived == envelope
    assert outbox.bulk_bytes == 0


def test_without_acknowledgement_four_parts_leave_and_no_more() -> None:
    outbox = Outbox()
    outbox.put_call(1, "a", bytes(10 * CHUNK))
    assert len(parts(outbox)) == FIRST_PARTS
    assert (bool(outbox), parts(outbox)) == (False, [])
    outbox.put_call(2, "a", b"small")
    assert flat(outbox) == [b"small"]
    outbox.acknowledge(1, CHUNK, 0.0)
    assert [offset for _, _, offset, _ in parts(outbox)] == [4 * CHUNK]


def test_big_envelopes_take_turns_and_share_the_window() -> None:
    outbox = Outbox()
    for number in (1, 2, 3):
        outbox.put_call(number, "a", bytes(10 * CHUNK))
    assert [name for name, *_ in parts(outbox)] == [1, 2, 3, 1]


def test_acknowledgements_go_in_one_word_for_each_transfer() -> None:
    outbox = Outbox()
    for received in (10, 20, 30):
        outbox.put_ack(1, received)
    outbox.put_ack(2, 5)
    outbox.put_call(1, "a", b"call")
    assert bool(outbox)
    (frame,) = frames(outbox)
    assert sorted(frame[:2]) == sorted([wire.ack(1, 30), wire.ack(2, 5)])
    assert frame[2:] == [b"call"]


def test_acknowledgements_of_strangers_change_nothing() -> None:
    outbox = Outbox()
    outbox.put_call(1, "a", bytes(10 * CHUNK))
    parts(outbox)
    outbox.acknowledge(99, CHUNK, 0.0)
    outbox.acknowledge(1, 12345, 0.0)
    assert parts(outbox) == []


def test_no_more_is_begun_than_the_other_end_will_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "BEGUN_BYTES", 10 * CHUNK)
    outbox = Outbox()
    for number in (1, 2, 3):
        outbox.put_reply(number, "kb", bytes(6 * CHUNK))
    begun: list[int] = []
    arrived = dict.fromkeys((1, 2, 3), 0)
    while sent := parts(outbox):
        for name, _, offset, part in sent:
            if not offset:
                begun.append(name)
                assert sum(arrived[one] < 6 * CHUNK for one in begun) == 1, "the one before has come"
            arrived[name] = offset + len(part)
            outbox.acknowledge(name, arrived[name], 0.0)
    assert begun == [1, 2, 3]
    assert (outbox.bulk_bytes, outbox._transfers._begun) == (0, 0)


# --- everything at once -----------------------------------------------------------------------------------------------


class Bookkeeping(RuleBasedStateMachine):
    """Any order of filling, sending, acknowledging and taking back keeps the books right."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox()
        self.number = 0
        self.waiting: dict[int, tuple[str, int]] = {}
        self.big: dict[int, int] = {}
        self.unacknowledged: list[tuple[int, int]] = []
        self.arrived: dict[int, int] = {}
        self.last: dict[str, int] = {}

    @rule(service=st.sampled_from("abc"), size=st.integers(5, 40_000))
    def call(self, service: str, size: int) -> None:
        self.number += 1
        self.outbox.put_call(self.number, service, self.number.to_bytes(4, "big") + service.encode() * (size - 4))
        self.waiting[self.number] = service, size

    @rule(size=st.integers(CHUNK + 1, 6 * CHUNK))
    def big_call(self, size: int) -> None:
        self.number += 1
        self.outbox.put_call(self.number, "a", bytes(size))
        self.big[self.number] = size

    @rule(choice=st.integers(0, 100))
    def take_back(self, choice: int) -> None:
        if self.waiting:
            number = sorted(self.waiting)[choice % len(self.waiting)]
            assert self.outbox.holds(number)
            assert self.outbox.withdraw(number)
            del self.waiting[number]

    @rule()
    def send(self) -> None:
        envelopes = joined(self.outbox)
        assert len(envelopes) <= 256
        assert len(envelopes) == 1 or sum(map(len, envelopes)) <= CHUNK
        for envelope in envelopes:
            if envelope[:1] == b"\x95":
                _, name, total, offset, part = msgpack.unpackb(envelope)
                assert offset == self.arrived.get(name, 0)
                self.arrived[name] = offset + len(part)
                assert self.arrived[name] <= total
                self.unacknowledged.append((name, self.arrived[name]))
            else:
                number = int.from_bytes(envelope[:4], "big")
                service, _ = self.waiting.pop(number)
                assert self.last.get(service, 0) < number, "the order of a service is kept"
                self.last[service] = number

    @rule()
    def acknowledge(self) -> None:
        if self.unacknowledged:
            name, end = self.unacknowledged.pop(0)
            self.outbox.acknowledge(name, end, 0.0)

    @invariant()
    def books_are_right(self) -> None:
        assert self.outbox.call_bytes == sum(size for _, size in self.waiting.values())
        window = self.outbox._transfers.window
        assert 0 <= window._under_way <= window.room
        assert 0 <= self.outbox._transfers._begun <= self.outbox.bulk_bytes

    def teardown(self) -> None:
        while self.unacknowledged or self.outbox:
            self.send()
            self.acknowledge()
        assert (self.waiting, self.outbox.call_bytes, self.outbox.bulk_bytes) == ({}, 0, 0)


TestBookkeeping = Bookkeeping.TestCase
TestBookkeeping.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


# --- items ------------------------------------------------------------------------------------------------------------


def test_items_of_streams_take_turns_and_keep_their_order() -> None:
    outbox = Outbox()
    for number in range(20):
        outbox.put_item(1, b"a%d" % number)
        outbox.put_item(2, b"b%d" % number)
    sent = flat(outbox)
    assert [one for one in sent if one[:1] == b"a"] == [b"a%d" % number for number in range(20)]
    assert [one for one in sent if one[:1] == b"b"] == [b"b%d" % number for number in range(20)]
    assert {one[:1] for one in sent[:2 * module.ITEMS_IN_TURN]} == {b"a", b"b"}
    assert (bool(outbox), outbox._item_bytes, outbox._items) == (False, 0, {})


def test_calls_leave_before_items_and_neither_shuts_the_other_out() -> None:
    outbox = Outbox()
    for number in range(1000):
        outbox.put_item(1, bytes(500))
        outbox.put_call(number, "a", b"c" * 500)
    frame = joined(outbox)
    calls = [one for one in frame if one[:1] == b"c"]
    assert frame[:len(calls)] == calls
    assert module.ITEM_ROOM - 500 <= 500 * (len(frame) - len(calls)) <= module.ITEM_ROOM + 500
    assert 500 * len(calls) >= CHUNK - module.ITEM_ROOM - 500
    lone = Outbox()
    for _ in range(1000):
        lone.put_item(1, bytes(500))
    assert 500 * len(joined(lone)) >= CHUNK - 500, "alone they have the whole frame"


def test_an_item_that_does_not_fit_any_more_is_the_first_of_the_next_frame() -> None:
    outbox = Outbox()
    outbox.put_item(1, bytes(40_000))
    outbox.put_item(1, b"x" * 40_000)
    outbox.put_item(2, b"y")
    assert [len(frame) for frame in frames(outbox)] == [1, 2]


def test_a_big_item_gets_its_frame_however_many_calls_wait() -> None:
    outbox = Outbox()
    outbox.put_item(1, b"x" * 60_000)
    for number in range(1000):
        outbox.put_call(number, "a", bytes(500))
    taken = [joined(outbox) for _ in range(3)]
    assert any(one[:1] == b"x" for frame in taken[:2] for one in frame)
    assert max(sum(map(len, frame)) for frame in taken) <= CHUNK


def test_a_big_call_gets_its_frame_however_many_items_and_control_envelopes_wait() -> None:
    outbox = Outbox()
    outbox.put_call(1, "a", b"x" * 60_000)
    for _ in range(1000):
        outbox.put_control(b"c")
        outbox.put_item(1, bytes(500))
    sent = [one for _ in range(6) for one in joined(outbox)]
    assert any(one[:1] == b"x" for one in sent)


def test_the_items_of_a_stream_nobody_reads_any_more_are_dropped() -> None:
    outbox = Outbox()
    outbox.put_item(1, bytes(1000))
    outbox.put_item(2, b"stays")
    outbox.drop_items(1)
    outbox.drop_items(7)
    assert (flat(outbox), outbox._item_bytes) == ([b"stays"], 0)


def test_an_outbox_says_when_streams_should_wait() -> None:
    outbox = Outbox()
    for _ in range(module.ITEM_BYTES // 60_000 + 1):
        assert not outbox.crowded
        outbox.put_item(1, bytes(60_000))
    assert outbox.crowded
    outbox.drop_items(1)
    assert not outbox.crowded
    outbox.put_item(1, bytes(17 * MIB))
    assert outbox.crowded, "big items count as well"


def test_an_outbox_says_how_much_waits() -> None:
    outbox = Outbox()
    assert (outbox.waiting_bytes, outbox.waiting_events) == (0, 0)
    outbox.put_call(1, "a", b"x" * 10)
    outbox.put_reply(2, "a", b"x" * 20)
    outbox.put_item(3, b"x" * 30)
    outbox.put_event(b"x" * 40)
    outbox.put_reply(4, "a", b"x" * 100_000)
    assert (outbox.waiting_bytes, outbox.waiting_events) == (100_100, 1)
    outbox.take(0.0)
    assert (outbox.waiting_bytes, outbox.waiting_events) == (100_000, 0)


# --- joined events ----------------------------------------------------------------------------------------------------


def test_joined_events_count_one_by_one_in_the_frame_and_among_those_that_wait() -> None:
    outbox = Outbox()
    outbox.put_event(b"abc", 3)
    outbox.put_event(b"d")
    assert (outbox.waiting_events, outbox.waiting_bytes) == (4, 4)
    assert (outbox.take(0.0), outbox.joined) == ([b"abc", b"d"], 2)
    outbox.put_control(b"alone")
    assert (outbox.take(0.0), outbox.joined, outbox.waiting_events) == ([b"alone"], 0, 0)


def test_a_frame_holds_256_envelopes_however_they_are_joined() -> None:
    outbox = Outbox()
    outbox.put_control(b"first")
    outbox.put_event(b"x" * 256, 256)
    outbox.put_event(b"y")
    assert [(outbox.take(0.0), outbox.joined) for _ in range(3)] == [
        ([b"first"], 0), ([b"x" * 256], 255), ([b"y"], 0),
    ]


def test_joined_events_are_lost_together_and_counted_one_by_one() -> None:
    outbox = Outbox()
    for _ in range(EVENTS // 100 + 2):
        outbox.put_event(b"x" * 100, 100)
    assert (outbox.lost_events, outbox.waiting_events) == (200, EVENTS)
