"""The bytes of every kind are pinned; what a stranger sends is a frame or a `ProtocolError`, and costs little."""

from __future__ import annotations

import json
import math
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mesh import errors, wire
from mesh.errors import WIRE_ERRORS, MeshError, MessageTooLarge, ProtocolError, RemoteFailure, Unavailable
from mesh.message import Event, Reply, Request, decode, encode
from mesh.tracing import Trace

GOLDEN = Path(__file__).parent / "golden"
TRACE = Trace(bytes(range(16)), bytes(range(16, 24)), True, bytes(range(24, 32)))
HELLO = wire.Hello("home", "host", "pc2", 1717400000000, ("memory.*", "errors.#"), "0.1.0")
CALL = Request("knowledge_base", "search_facts", encode({"query": "birthday"}), 35.5, TRACE, "nlu@pc2",
               ("gateway.ask", "nlu.parse"), "mainpc")

ENVELOPES: dict[str, bytes] = {
    "hello": wire.hello(HELLO),
    "welcome": wire.welcome(wire.Hello("home", "host", "mainpc", 7)),
    "refused": wire.refused(errors.PermissionDenied("two supervisors may not share a host name")),
    "reset": wire.reset(),
    "leaving": wire.leaving(),
    "call": bytes(wire.call(7, CALL)),
    "reply": bytes(wire.reply(7, Reply(encode(["June 3", None, 0.5, True, b"\xff", -1]), host="mainpc"))),
    "error": bytes(wire.reply(7, Reply(error=Unavailable("it starts", retry_after=1.5), host="mainpc"))),
    "cancel": wire.cancel(7),
    "event": wire.event(Event("memory.added", encode({"id": 2**40}), "memory@pc2", 1717400000.25, TRACE)),
    "chunk": wire.chunk(3, 200_000, 131_072, b"part"),
    "ack": wire.ack(3, 131_076),
    "interest": wire.interest(["memory.*", "errors.#"]),
    "heartbeat": wire.heartbeat(9, 12, bytes(range(16))),
    "echo": wire.echo(9),
    "open": bytes(wire.call(7, CALL._replace(credit=256))),
    "opened": wire.opened(7, "mainpc"),
    "item": bytes(wire.item(7, 300, encode({"text": "once"}))),
    "credit": wire.credit(7, 64),
    "items": wire.items(7, 300, [encode({"text": "once"}), encode(None)]),
    "end": wire.end(7, 301, Unavailable("it stops", retry_after=1.5)),
}


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def shown(value: Any) -> Any:
    """Return a value as the golden files hold it: bytes as `{"bin": hex}`."""
    if isinstance(value, bytes):
        return {"bin": value.hex()}
    if isinstance(value, (list, tuple)):
        return [shown(item) for item in value]
    return {key: shown(item) for key, item in value.items()} if isinstance(value, dict) else value


def meant(value: Any) -> Any:
    """Return the value that a golden file shows."""
    if isinstance(value, dict):
        if set(value) == {"bin"}:
            return bytes.fromhex(value["bin"])
        return {key: meant(item) for key, item in value.items()}
    return [meant(item) for item in value] if isinstance(value, list) else value


# --- golden files -----------------------------------------------------------------------------------------------------


def test_every_kind_has_its_golden_file() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.json")) == sorted([*ENVELOPES, "frame", "group"])
    assert sorted(ENVELOPES) == sorted(kind.name.lower() for kind in wire.Kind)


@pytest.mark.parametrize("name", ENVELOPES)
def test_an_envelope_is_made_of_exactly_these_bytes(name: str) -> None:
    assert ENVELOPES[name].hex() == golden(name)["bytes"]


@pytest.mark.parametrize("name", ENVELOPES)
def test_these_bytes_are_read_as_exactly_these_fields(name: str) -> None:
    pinned = golden(name)
    frame = wire.decode_frame(wire.frame(0, 0, [bytes.fromhex(pinned["bytes"])]))
    assert frame.envelopes == [meant(pinned["fields"])]
    assert frame.envelopes[0][0] == wire.Kind[name.upper()]
    if "body" in pinned:
        assert decode(frame.envelopes[0][-1]) == meant(pinned["body"])


@pytest.mark.parametrize("name", ENVELOPES)
def test_any_msgpack_library_makes_the_same_of_the_fields(name: str) -> None:
    pinned = golden(name)
    assert msgpack.packb(meant(pinned["fields"])).hex() == pinned["bytes"]


def test_a_frame_is_made_of_exactly_these_bytes() -> None:
    pinned = golden("frame")
    data = wire.frame(123_456_789, 2, [ENVELOPES["cancel"], ENVELOPES["echo"]])
    assert data.hex() == pinned["bytes"]
    frame = wire.decode_frame(data)
    assert [frame.stamp, frame.lost, *frame.envelopes] == meant(pinned["fields"])


@pytest.mark.parametrize("count", [0, 1, 13, 14, 255, 256])
def test_a_frame_of_any_size_is_one_array(count: int) -> None:
    data = wire.frame(1, 0, [wire.cancel(number) for number in range(count)])
    assert data == msgpack.packb([1, 0, *([9, number, b""] for number in range(count))])
    assert len(wire.decode_frame(data).envelopes) == count


# --- round trips ------------------------------------------------------------------------------------------------------

NAMES = st.text(st.characters(codec="utf-8"), max_size=50)
TRACES = st.builds(Trace, st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.booleans(),
                   st.binary(min_size=8, max_size=8))
NUMBERS = st.integers(0, 2**62 - 1)
BODIES = st.binary(max_size=300)


def through(envelope: wire.Packed) -> wire.Envelope:
    return wire.decode_frame(wire.frame(1, 0, [bytes(envelope)])).envelopes[0]


@given(NUMBERS, st.builds(Request, NAMES, NAMES, BODIES, st.integers(0, 2**40).map(float), TRACES, NAMES,
                          st.lists(NAMES, max_size=16).map(tuple), st.none() | NAMES, credit=st.just(0)))
@settings(deadline=None)
def test_a_request_arrives_as_it_was_sent(number: int, request: Request) -> None:
    try:
        envelope = wire.call(number, request)
    except MessageTooLarge as error:
        assert error.details["size"] > error.details["limit"] == 2048
        return
    assert wire.read_call(through(envelope), 0.0, "pc2") == (number, request._replace(via="pc2"))
    _, later = wire.read_call(through(envelope), 7.5, "")
    assert later.deadline == request.deadline + 7.5


@given(NUMBERS, st.integers(1, 2**40))
@settings(deadline=None)
def test_an_opening_arrives_as_it_was_sent_with_a_bounded_credit(number: int, credit: int) -> None:
    opening = through(wire.call(number, CALL._replace(credit=credit)))
    assert opening[0] == wire.OPEN
    assert wire.read_open(opening, 0.0, "pc2") == (
        number, CALL._replace(via="pc2", credit=min(credit, wire.MAX_CREDIT))
    )


def test_an_opening_without_credit_is_refused() -> None:
    opening = through(wire.call(1, CALL._replace(credit=1)))
    opening[10] = 0
    with pytest.raises(ProtocolError, match="a credit of at least one item"):
        wire.read_open(opening, 0.0, "")


def test_the_end_of_a_stream_arrives_with_its_error_or_without() -> None:
    assert wire.read_end(through(wire.end(3, 12, None))) == (3, 12, None)
    number, count, error = wire.read_end(through(wire.end(3, 12, Unavailable("gone", retry_after=1, extra=2))))
    assert (number, count, type(error)) == (3, 12, Unavailable)
    assert error is not None
    assert (error.message, error.details) == ("gone", {"retry_after": 1})
    assert type(wire.read_end(through(wire.end(3, 0, errors.StoreError("full"))))[2]) is RemoteFailure


@given(NUMBERS, BODIES, NAMES, st.integers(1, 100), st.sampled_from(["", "value", "kb.find"]))
@settings(deadline=None)
def test_a_reply_arrives_as_it_was_sent(
    number: int, body: bytes, host: str, attempts: int, fallback: str
) -> None:
    answer = Reply(body, None, host, None, attempts, fallback)
    assert wire.read_reply(through(wire.reply(number, answer))) == (number, answer)


def test_an_error_says_how_many_attempts_it_took_and_whose_it_was_first() -> None:
    error = errors.Overloaded("full", retry_after=0.1, began="yes", through="memory.add", extra=1)
    reply = wire.read_reply(through(wire.reply(3, Reply(error=error, attempts=4))))[1]
    assert reply.attempts == 4 and reply.error is not None
    assert reply.error.details == {"retry_after": 0.1, "began": "yes", "through": "memory.add"}


@given(st.builds(Event, NAMES, BODIES, NAMES, st.floats(-1e14, 1e14), st.none() | TRACES))
@settings(deadline=None)
def test_an_event_arrives_as_it_was_sent(event: Event) -> None:
    assert wire.read_event(through(wire.event(event))) == event


@given(st.builds(wire.Hello, NAMES, st.sampled_from(sorted(wire.PEER_KINDS)), NAMES, NUMBERS,
                 st.lists(NAMES, max_size=10).map(tuple), NAMES))
@settings(deadline=None)
def test_a_greeting_arrives_as_it_was_sent(who: wire.Hello) -> None:
    assert wire.read_greeting(through(wire.hello(who))) == who
    assert wire.read_greeting(through(wire.welcome(who))) == who
    assert wire.read_interest(through(wire.interest(who.interest))) == who.interest


@pytest.mark.parametrize("code", WIRE_ERRORS)
def test_an_error_is_rebuilt_with_what_its_code_carries(code: str) -> None:
    kind = WIRE_ERRORS[code]
    details = {name: f"the {name}" for name in kind.carries}
    number, reply = wire.read_reply(through(wire.reply(5, Reply(error=kind("why", **details, extra=1), host="pc2"))))
    assert (number, reply.host) == (5, "pc2")
    assert type(reply.error) is kind
    assert (reply.error.message, reply.error.details) == ("why", details)


def error_through(error: MeshError) -> MeshError:
    reply = wire.read_reply(through(wire.reply(1, Reply(error=error))))[1]
    assert reply.error is not None
    again = wire.rebuilt(error)
    assert (type(again), str(again), again.details) == (type(reply.error), str(reply.error), reply.error.details)
    return reply.error


def test_an_error_of_this_process_alone_arrives_as_a_remote_failure_of_its_type() -> None:
    arrived = error_through(errors.StoreError("disk full", path="/x"))
    assert type(arrived) is RemoteFailure
    assert (arrived.message, arrived.details) == ("disk full", {"type": "StoreError"})


def test_a_subclass_arrives_as_the_class_of_its_code() -> None:
    class Away(Unavailable):
        pass

    assert type(error_through(Away("gone", retry_after=2))) is Unavailable


def test_an_error_of_a_code_from_the_future_is_a_remote_failure_of_that_type() -> None:
    body = encode({"message": "later", "type": "x", "error_id": "pc2-000001", "self": 1, "message2": 2})
    _, reply = wire.read_reply(through(msgpack.packb([8, 1, "pc2", "from_the_future", 1, body])))
    assert type(reply.error) is RemoteFailure
    assert reply.error.details == {"type": "from_the_future", "error_id": "pc2-000001"}


def test_a_detail_that_may_not_travel_does_not_swallow_the_error() -> None:
    arrived = error_through(Unavailable("\ud800 gone", retry_after=object()))
    assert type(arrived) is Unavailable
    assert (arrived.message, arrived.details) == ("? gone", {})


def test_an_error_may_be_raised_with_anything_as_its_message() -> None:
    assert error_through(Unavailable(ValueError("inner"))).message == "inner"  # type: ignore[arg-type]


def test_a_long_message_is_cut() -> None:
    assert len(error_through(Unavailable("x" * 100_000)).message) == 8000


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x01", encode(["a"]), b"\x81\x01\x01"])
def test_an_error_whose_body_is_none_still_ends_its_call(body: bytes) -> None:
    number, reply = wire.read_reply(through(msgpack.packb([8, 3, "pc2", "unavailable", 1, body])))
    assert number == 3
    assert type(reply.error) is ProtocolError


def test_an_error_without_a_message_shows_its_code() -> None:
    _, reply = wire.read_reply(through(msgpack.packb([8, 3, "pc2", "unavailable", 1, encode({})])))
    assert str(reply.error) == "unavailable"


def test_a_result_over_the_limit_becomes_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_BODY", 100)
    error = wire.read_reply(through(wire.reply(1, Reply(bytes(101)))))[1].error
    assert type(error) is MessageTooLarge
    assert error.details == {"size": 101, "limit": 100}


def test_a_header_over_the_limit_is_refused_before_it_is_sent() -> None:
    with pytest.raises(MessageTooLarge, match="names and call paths are too long") as caught:
        wire.call(1, CALL._replace(path=("x" * 500,) * 5))
    assert caught.value.details["limit"] == 2048


@pytest.mark.parametrize("patterns", [["a"] * 4097, ["x" * 200] * 200])
def test_interest_too_long_for_a_frame_becomes_interest_in_everything(patterns: list[str]) -> None:
    assert wire.read_interest(through(wire.interest(patterns))) == ("#",)
    who = wire.Hello("home", "host", "pc2", 1, tuple(patterns))
    assert wire.read_greeting(through(wire.hello(who))).interest == ("#",)


# --- what a stranger sends --------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5)
    | st.binary(max_size=40) | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=20,
)


def settled(read: Callable[[bytes], Any], data: bytes) -> Any:
    """Read; anything but a value or a `ProtocolError` fails the test."""
    try:
        return read(data)
    except ProtocolError as error:
        return error


def read_all(data: bytes) -> None:
    """Read a frame and everything in it, as both ends together would."""
    for envelope in wire.decode_frame(data).envelopes:
        kind = envelope[0]
        if kind in (wire.HELLO, wire.WELCOME):
            wire.read_greeting(envelope)
        elif kind == wire.REFUSED:
            wire.read_refused(envelope)
        elif kind == wire.CALL:
            wire.read_call(envelope, 0.0, "")
        elif kind in (wire.REPLY, wire.ERROR):
            wire.read_reply(envelope)
        elif kind == wire.OPEN:
            wire.read_open(envelope, 0.0, "")
        elif kind == wire.END:
            wire.read_end(envelope)
        elif kind == wire.EVENT:
            wire.read_event(envelope)
        elif kind == wire.INTEREST:
            wire.read_interest(envelope)


def from_parts(data: bytes) -> list[Any]:
    """Return the envelope that came in parts, put together."""
    envelope, begin = wire.begun_envelope(data, len(data))
    return [*envelope[:-1], data[begin:]]


@given(st.binary(max_size=300))
@example(b"\x92\xcf" + b"\xff" * 8 + b"\x00")
@settings(deadline=None, max_examples=1000)
def test_any_bytes_give_a_frame_or_a_protocol_error(data: bytes) -> None:
    settled(read_all, data)
    settled(from_parts, data)


@given(st.integers(0, 10_000), st.integers(0, 255), st.booleans(), st.sampled_from(sorted(ENVELOPES)))
@settings(deadline=None, max_examples=500)
def test_damaged_frames_give_a_frame_or_a_protocol_error(place: int, byte: int, cut: bool, name: str) -> None:
    data = bytearray(wire.frame(5, 0, [ENVELOPES["call"], ENVELOPES[name]]))
    place %= len(data)
    data[place] = byte
    settled(read_all, bytes(data[:place] if cut else data))
    settled(from_parts, bytes(data[3:]))


@given(st.lists(VALUES, max_size=5), st.integers(-1, 22), st.lists(VALUES, max_size=10))
@settings(deadline=None, max_examples=150)
def test_any_values_give_a_frame_or_a_protocol_error(around: list[Any], kind: int, fields: list[Any]) -> None:
    settled(read_all, msgpack.packb([1, 0, [kind, *fields], *around]))
    settled(read_all, msgpack.packb(around))
    settled(from_parts, msgpack.packb([kind, *fields]))


@given(st.sampled_from([wire.HELLO, wire.WELCOME, wire.REFUSED, wire.INTEREST]), VALUES, st.dictionaries(
    st.sampled_from(["mesh", "kind", "host", "incarnation", "interest", "software", "message"]), VALUES))
@settings(deadline=None)
def test_any_greeting_gives_its_fields_or_a_protocol_error(kind: int, value: Any, fields: dict[str, Any]) -> None:
    for body in (msgpack.packb(value), msgpack.packb(fields), b""):
        head = [kind] if kind == wire.INTEREST else [kind, wire.VERSION]
        settled(read_all, wire.frame(1, 0, [msgpack.packb([*head, body])]))


WRONG: dict[int, list[Any]] = {
    wire._NUMBER: [None, "1", 1.0, True, -1, 2**62, 2**64 - 1, [1]],
    wire._TEXT: [None, 1, b"x", ["x"]],
    wire._BIN: [None, "x", 1],
    wire._BODY: [None, "x", 1, []],
    wire._BODIES: [None, b"x", [], [1], [b"x", "x"], [b"x", None]],
    wire._NAME_OR_NIL: [1, b"x", False],
    wire._PATH: [None, "x", ["x", 1], [b"x"], ["x"] * 18, {}],
    wire._TRACE: [None, "x" * 33, bytes(32), bytes(34)],
    wire._TRACE_OR_NIL: ["x" * 33, bytes(32), False],
    wire._REAL: [None, "1", True, math.nan, math.inf, 1e15, -(10**15)],
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_each_field_must_be_of_its_type(name: str) -> None:
    right = msgpack.unpackb(ENVELOPES[name])
    for place, field in enumerate(wire._FIELDS[right[0]], start=1):
        for value in WRONG[field]:
            wrong = [*right[:place], value, *right[place + 1:]]
            with pytest.raises(ProtocolError, match=rf"kind {name.upper()} does not have the fields of its kind"):
                wire.decode_frame(msgpack.packb([1, 0, wrong]))
    for wrong in (right[:-1], [*right, 0]):
        with pytest.raises(ProtocolError, match="does not have the fields"):
            wire.decode_frame(msgpack.packb([1, 0, wrong]))


@pytest.mark.parametrize("items", [
    [], [1], [1, "0"], ["1", 0], [1.0, 0], [True, 0], [-1, 0], [0, -1], [2**62, 0], [0, 2**62], {"a": 1}, 7, None, "x",
    [1, 0, 5], [1, 0, []], [1, 0, ["6"]], [1, 0, [None]], [1, 0, [True, b""]], [1, 0, [0, b""]], [1, 0, [22, b""]],
    [1, 0, [-6, b""]], [1, 0, [2**63, b""]], [1, 0, *[[9, 1, b""]] * 257], [1, 0, [9, 1, b""], 3],
])
def test_what_is_no_frame_is_refused(items: Any) -> None:
    assert isinstance(settled(wire.decode_frame, msgpack.packb(items)), ProtocolError)


@pytest.mark.parametrize("envelope", [
    [7, 1, "x" * 2049, 1, None, b""], [7, 1, "x", 1, None, bytes(65_537)], [10, "a", "b", 1.0, None, bytes(65_537)],
])
def test_what_is_too_long_for_a_frame_is_refused(envelope: list[Any]) -> None:
    with pytest.raises(ProtocolError, match=r"exceeds max_|travels in parts"):
        wire.decode_frame(msgpack.packb([1, 0, envelope]))


def test_an_envelope_over_64_kib_is_no_part_of_a_frame_unless_it_is_a_part() -> None:
    data = bytes(wire.CHUNK + 1)
    assert wire.decode_frame(wire.frame(1, 0, [wire.chunk(1, 10**6, 0, data)])).envelopes[0][-1] == data
    for envelope in ([wire.ITEM, 1, 2, data], [wire.ITEMS, 1, 2, [b"", data]], [wire.HEARTBEAT, 1, 2, data, b""]):
        with pytest.raises(ProtocolError, match="travels in parts"):
            wire.decode_frame(wire.frame(1, 0, [msgpack.packb(envelope)]))
    with pytest.raises(ProtocolError, match="exceeds max_"):
        wire.decode_frame(wire.frame(1, 0, [wire.chunk(1, 10**6, 0, bytes(wire.MAX_PART + 1))]))


def test_an_envelope_in_pieces_is_the_same_frame() -> None:
    big = wire.item(7, 3, bytes(range(256)) * 1000)
    assert isinstance(big, wire.BigEnvelope)
    data = bytes(big)
    assert msgpack.unpackb(data) == [wire.ITEM, 7, 3, bytes(range(256)) * 1000]
    for begin, end in ((0, 5), (0, 70_000), (3, 70_000), (70_000, len(big))):
        assert b"".join(big.between(begin, end)) == data[begin:end]
        pieces = wire.part(9, big, begin, end)
        frame = wire.decode_frame(wire.frame(5, 1, [pieces]))
        assert frame == wire.Frame(5, 1, [[wire.CHUNK_OF, 9, len(big), begin, data[begin:end]]])


def test_only_what_has_a_body_of_somebodys_travels_in_chunks() -> None:
    for name, envelope in ENVELOPES.items():
        if name in ("call", "reply", "error", "event", "open", "item", "end"):
            assert from_parts(envelope) == msgpack.unpackb(envelope)
        else:
            # ITEMS has no body that could come later, so it is not even taken for the begin of an envelope
            with pytest.raises(ProtocolError, match="begin no envelope" if name == "items" else "may not travel in"):
                from_parts(envelope)
    big = wire.reply(1, Reply(bytes(1_000_000)))
    assert isinstance(big, wire.BigEnvelope)
    assert len(from_parts(bytes(big))[-1]) == 1_000_000


def test_another_version_is_named_in_the_refusal() -> None:
    envelope = [1, 99, encode({"mesh": "home", "kind": "host", "host": "pc2", "incarnation": 1})]
    with pytest.raises(ProtocolError, match=f"speaks protocol version 99, this side speaks {wire.VERSION}"):
        wire.read_greeting(envelope)


@pytest.mark.parametrize("changed", [
    {"mesh": None}, {"mesh": 1}, {"host": b"pc2"}, {"incarnation": "1"}, {"incarnation": True}, {"kind": "stranger"},
    {"interest": "a"}, {"interest": [1]}, {"interest": ["x" * 257]}, {"interest": ["a"] * 4097}, {"interest": None},
])
def test_a_greeting_that_says_too_little_or_too_much_is_refused(changed: dict[str, Any]) -> None:
    fields = {"mesh": "home", "kind": "host", "host": "pc2", "incarnation": 1, **changed}
    with pytest.raises(ProtocolError):
        wire.read_greeting([1, wire.VERSION, encode(fields)])


def test_a_greeting_may_leave_out_interest_and_software_and_say_more() -> None:
    fields = {"mesh": "home", "kind": "host", "host": "pc2", "incarnation": 1, "colour": "red"}
    assert wire.read_greeting([1, wire.VERSION, encode(fields)]) == wire.Hello("home", "host", "pc2", 1)


def test_a_refusal_is_read_as_its_error() -> None:
    error = wire.read_refused(through(wire.refused(errors.PermissionDenied("not you", rule="identity"))))
    assert (type(error), str(error)) == (errors.PermissionDenied, "not you")
    assert str(wire.read_refused([3, 1, encode({"code": "x"})])) == "no reason given"
    with pytest.raises(ProtocolError):
        wire.read_refused([3, 1, encode(7)])


HEAD = b"\x93\x01\x00"
BOMBS = {
    "nesting": HEAD + b"\x91" * 100_000,
    "nesting just below the limit of the decoder": HEAD + b"\x91" * 900 + b"\xc0",
    "huge arrays": HEAD + b"\xdd\xff\xff\xff\xff" * 1000,
    "arrays as large as may be, in each other": HEAD + b"\xdc\x01\x02" * 1000,
    "a map": HEAD + b"\xdf\xff\xff\xff\xff",
    "a text of 4 GB": HEAD + b"\xdb\xff\xff\xff\xff",
    "bytes of 4 GB": HEAD + b"\xc6\xff\xff\xff\xff",
    "an extension": HEAD + b"\xc7\x01\x01x",
    "an extension of nothing": HEAD + b"\xc7\x00\x01",
    "a timestamp": HEAD + b"\xd6\xff\x00\x00\x00\x01",
    "a megabyte of nothing": HEAD + bytes(1_000_000),
    "a frame full of empty arrays": b"\xdc\x01\x02\x01\x00" + b"\x90" * 256,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_neither_time_nor_memory(name: str) -> None:
    tracemalloc.start()
    begun = time.process_time()
    try:
        assert isinstance(settled(wire.decode_frame, BOMBS[name]), ProtocolError)
        assert isinstance(settled(from_parts, BOMBS[name][3:]), ProtocolError)
        assert time.process_time() - begun < 0.25
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
