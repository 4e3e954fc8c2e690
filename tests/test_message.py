"""What may travel arrives as it was sent, what may not is named, and bytes of strangers can do no harm."""

from __future__ import annotations

import math
import sys
import time
import tracemalloc
from datetime import UTC, date, datetime, timedelta
from datetime import time as moment
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgpack
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from mesh.errors import InvalidArgument, ProtocolError, Unavailable
from mesh.message import MAX_DEPTH, Event, Reply, Request, decode, encode
from mesh.tracing import Trace

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
    | st.binary(max_size=200)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=30,
)


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Shape(Enum):
    ROUND = ("round", 1)


class Label(str):
    """Text of a class of its own that shows itself as something else."""

    __slots__ = ()

    def __str__(self) -> str:
        return "shown"


class Marked:
    """Something a text class may also be."""


class MarkedLabel(str, Marked):
    pass


class Count(int):
    pass


class Share(float):
    pass


class Blob(bytes):
    pass


class Fact(BaseModel):
    text: str
    when: datetime
    where: Path
    raw: bytes
    tags: set[str]


# --- what may travel --------------------------------------------------------------------------------------------------


@given(VALUES)
@settings(deadline=None, max_examples=150)
def test_plain_values_arrive_as_they_were_sent(value: Any) -> None:
    assert decode(encode(value)) == value


@given(st.lists(VALUES, max_size=3))
@settings(deadline=None)
def test_what_was_encoded_shares_nothing_with_the_original(value: list[Any]) -> None:
    packed = encode(value)
    value.append("changed later")
    assert decode(packed) == value[:-1]


@pytest.mark.parametrize(("value", "arrives"), [
    ((1, 2), [1, 2]),
    ({3}, [3]),
    (frozenset({"a"}), ["a"]),
    (MappingProxyType({"a": (1,)}), {"a": [1]}),
    (datetime(2024, 6, 3, 12, tzinfo=UTC), "2024-06-03T12:00:00+00:00"),
    (date(2024, 6, 3), "2024-06-03"),
    (moment(7, 30), "07:30:00"),
    (timedelta(minutes=1.5), 90.0),
    (Path("a") / "b", "a/b"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Colour.RED, "red"),
    (Level.HIGH, 3),
    (Shape.ROUND, ["round", 1]),
    (bytearray(b"ab"), b"ab"),
    (memoryview(b"abcd")[::2], b"ac"),
    (numpy.float64(0.5), 0.5),
    (numpy.float32(0.5), 0.5),
    (numpy.int32(7), 7),
    (numpy.bool_(True), True),
    (numpy.str_("text"), "text"),
    (numpy.bytes_(b"raw"), b"raw"),
    (numpy.array(3), 3),
    ({"inside": [Colour.RED]}, {"inside": ["red"]}),
])
def test_values_of_richer_types_travel_as_plain_ones(value: object, arrives: object) -> None:
    arrived = decode(encode({"it": value}))["it"]
    assert arrived == arrives
    assert type(arrived) is type(arrives)


@pytest.mark.parametrize(("value", "arrives"), [
    (Label("text"), "text"), (MarkedLabel("text"), "text"), (Count(5), 5), (Share(0.5), 0.5), (Blob(b"x"), b"x"),
])
def test_subclasses_of_plain_types_travel_as_what_they_are(value: object, arrives: object) -> None:
    arrived = decode(encode([value]))[0]
    assert arrived == arrives
    assert type(arrived) is type(arrives)


def test_a_model_travels_as_its_fields_and_bytes_stay_bytes() -> None:
    fact = Fact(text="x", when=datetime(2024, 6, 3, tzinfo=UTC), where=Path("a/b"), raw=b"\xff\x00", tags={"t"})
    assert decode(encode(fact)) == {
        "text": "x", "when": "2024-06-03T00:00:00+00:00", "where": "a/b", "raw": b"\xff\x00", "tags": ["t"],
    }
    assert Fact.model_validate(decode(encode(fact))) == fact


@pytest.mark.parametrize("array", [
    numpy.arange(12, dtype="f4").reshape(3, 4),
    numpy.arange(12).reshape(3, 4).T,
    numpy.zeros((0, 5)),
    numpy.array([], dtype="i8"),
    numpy.array(["ab", "c"]),
    numpy.array([True, False]),
    numpy.array([1 + 2j]),
    numpy.array(["2024-06-03"], dtype="M8[D]"),
    numpy.arange(6, dtype=">u2")[::2],
])
def test_arrays_keep_type_shape_and_values(array: numpy.ndarray[Any, Any]) -> None:
    arrived = decode(encode({"it": array}))["it"]
    assert (arrived.dtype, arrived.shape) == (array.dtype, array.shape)
    assert (arrived == array).all()


LARGE = numpy.arange(40_000).reshape(200, 200)


@pytest.mark.parametrize("value", [
    b"x" * 70_000, bytearray(b"y" * 70_000), memoryview(b"zw" * 70_000)[::2], LARGE, LARGE.T, LARGE.astype(">f4"),
    numpy.array(["abc"] * 20_000), LARGE.astype("M8[s]"), LARGE > 7,
])
def test_what_is_big_travels_like_what_is_small_wherever_it_is(value: Any) -> None:
    def same(one: Any) -> bool:
        if isinstance(value, numpy.ndarray):
            return bool((one.dtype, one.shape) == (value.dtype, value.shape) and (one == value).all())
        return bool(one == bytes(value))

    assert same(decode(encode(value)))
    body = {"first": 1, "big": value, "list": [None, value, {"in": [value]}], **{f"k{n}": n for n in range(20)}}
    around = decode(encode(body))
    assert list(around) == list(body) and around["first"] == 1 and around["k19"] == 19
    assert same(around["big"]) and same(around["list"][1]) and same(around["list"][2]["in"][0])
    many = decode(encode([value] * 20 + list(range(70_000))))
    assert same(many[19]) and many[20:] == list(range(70_000))


def test_what_cannot_be_encoded_is_named_beside_what_is_big_too() -> None:
    for body in ({"big": bytes(70_000), "a": [1, {"b": 2**70}]}, {"a": [1, {"b": 2**70}], "big": bytes(70_000)}):
        with pytest.raises(InvalidArgument) as refused:
            encode(body, name="arguments")
        assert refused.value.details["path"] == "arguments.a[1].b"


@pytest.mark.parametrize("value", [bytes(8_000_000), bytearray(8_000_000), numpy.zeros((1000, 1000))])
def test_what_is_big_is_copied_once_into_a_body_and_once_out_of_it(value: Any) -> None:
    tracemalloc.start()
    try:
        body = encode({"value": value})
        assert tracemalloc.get_traced_memory()[1] < 8_300_000
        tracemalloc.reset_peak()
        decode(body)
        assert tracemalloc.get_traced_memory()[1] < 2 * 8_300_000
    finally:
        tracemalloc.stop()


def test_who_gets_an_array_can_change_neither_it_nor_the_one_that_was_sent() -> None:
    sent = numpy.zeros(20_000)
    body = encode({"it": sent})
    sent[0] = 1
    arrived = decode(body)["it"]
    assert not arrived.flags.writeable and arrived[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        arrived[0] = 2
    own = arrived.copy()
    own[0] = 3
    assert decode(body)["it"][0] == 0


def test_an_array_where_numpy_is_missing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    body = encode({"it": numpy.zeros(3)})
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ProtocolError, match="numpy is not installed here; pip install numpy"):
        decode(body)


def test_not_a_number_and_infinity_travel() -> None:
    first, second = decode(encode([math.nan, -math.inf]))
    assert math.isnan(first)
    assert second == -math.inf


# --- what may not -----------------------------------------------------------------------------------------------------


class Stranger:
    pass


@pytest.mark.parametrize(("value", "path", "found"), [
    (Stranger(), "arguments", "test_message.Stranger"),
    ({"a": [1, Stranger()]}, "arguments.a[1]", "test_message.Stranger"),
    ({"a": {"b": 1j}}, "arguments.a.b", "builtins.complex"),
    ({"a": lambda: 1}, "arguments.a", "builtins.function"),
    ({"a": iter(())}, "arguments.a", "builtins.tuple_iterator"),
    ({1: "a"}, "arguments", "a map key 1 of type int"),
    ({"a": {b"k": 1}}, "arguments.a", "a map key b'k' of type bytes"),
    ({"a": {None: 1}}, "arguments.a", "a map key None of type NoneType"),
    ({"a": [0, 2**64]}, "arguments.a[1]", "out of range"),
    ({"a": {"b": -(2**63) - 1}}, "arguments.a.b", "out of range"),
    (2**70, "arguments", "out of range"),
    ({"a": ["fine", "\ud800"]}, "arguments.a[1]", "surrogates not allowed"),
    ({"a": {"\ud800": 1}}, "arguments.a", "surrogates not allowed"),
    ({"a": numpy.array([object()])}, "arguments.a", "an array of object"),
    ({"a": numpy.zeros(2, dtype=[("x", "i4")])}, "arguments.a", "an array of"),
    ({"a": numpy.complex128(1j)}, "arguments.a", "numpy.complex128"),
    ({"a": numpy.longdouble(1)}, "arguments.a", "numpy.longdouble"),
    ({"a": numpy.datetime64("2024-06-03")}, "arguments.a", "numpy.datetime64"),
    ({"a": numpy.random.default_rng(1)}, "arguments.a", "numpy.random._generator.Generator"),
])
def test_what_may_not_travel_is_refused_by_its_path(value: object, path: str, found: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        encode(value, name="arguments")
    assert caught.value.details == {"path": path}
    assert caught.value.message.startswith(f"{path} holds ")
    assert found in caught.value.message


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_as_many_items_travel_as_are_read_and_one_more_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.message.MAX_ITEMS", 100)
    assert len(decode(encode([None] * 100))) == 100
    for many in ([None] * 101, dict.fromkeys(map(str, range(101)))):
        with pytest.raises(InvalidArgument, match="value holds 101 items; no more than 100"):
            encode(many)


def test_thirty_two_levels_travel_and_one_more_does_not() -> None:
    assert decode(encode(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    with pytest.raises(InvalidArgument, match="more than 32 levels"):
        encode(nested(MAX_DEPTH + 1))
    with pytest.raises(ProtocolError, match="nested deeper than 32 levels"):
        decode(msgpack.packb(nested(MAX_DEPTH + 1)))


def test_a_value_that_holds_itself_is_refused() -> None:
    circle: list[Any] = []
    circle += [circle, circle]
    with pytest.raises(InvalidArgument, match="more than 32 levels"):
        encode({"a": circle})


# --- bytes of strangers -----------------------------------------------------------------------------------------------


def settled(body: bytes) -> Any:
    """Decode; anything but a value or a `ProtocolError` fails the test."""
    try:
        return decode(body)
    except ProtocolError as error:
        return error


@given(st.binary(max_size=400))
@settings(deadline=None, max_examples=1000)
def test_any_bytes_give_a_value_or_a_protocol_error(body: bytes) -> None:
    settled(body)


@given(VALUES, st.integers(0, 10_000), st.integers(0, 255))
@settings(deadline=None, max_examples=250)
def test_damaged_bodies_give_a_value_or_a_protocol_error(value: Any, place: int, byte: int) -> None:
    body = bytearray(encode({"a": value, "n": numpy.arange(3)}))
    body[place % len(body)] = byte
    settled(bytes(body))
    settled(bytes(body[: place % len(body)]))


ARRAY_HEADS = [
    ["<f8"], ["<f8", [1], 1], [b"<f8", [2]], ["O", [1]], ["|O8", [1]], ["<f8", [-1]], ["<f8", ["2"]], ["<f8", None],
    ["<f8", [2**40, 2**40]], ["(1000,1000)f8", [1]], ["f8,f8", [1]], [[["a", "<f8"]], [1]], ["<f8", [0]], ["|V0", [1]],
    [{"names": ["a"], "formats": ["O"]}, [1]], ["<U999999999", [1]], ["<f3", [1]], ["<M8[zz]", [1]], 7, None,
]


@pytest.mark.parametrize("head", ARRAY_HEADS)
def test_an_array_that_is_none_is_refused(head: object) -> None:
    body = msgpack.packb(msgpack.ExtType(1, msgpack.packb(head) + bytes(16)))
    assert isinstance(settled(body), ProtocolError)


@pytest.mark.parametrize("body", [
    b"", b"\xc1", b"\xc0\xc0", b"\xa1", b"\xa1\xff", b"\x81\x01\x01", b"\x81\xc4\x01k\x01", b"\x81\xc0\x01",
    msgpack.packb(msgpack.ExtType(5, b"x")), b"\xc7\x00\x01", b"\xd4\x01\x00",
])
def test_what_is_no_body_is_refused(body: bytes) -> None:
    assert isinstance(settled(body), ProtocolError)


def test_the_timestamp_of_msgpack_arrives_as_seconds() -> None:
    assert decode(msgpack.packb(msgpack.Timestamp(5, 500_000_000))) == 5.5


BOMBS = {
    "nesting": b"\x91" * 100_000,
    "maps in maps": b"\x81\xa1a" * 1000,
    "huge arrays in huge arrays": b"\xdd\xff\xff\xff\xff" * 1000,
    "large arrays in large arrays": b"\xdd\x00\x0f\x42\x40" * 1000,
    "large maps in large maps": b"\xdf\x00\x0f\x42\x40\xa1a" * 1000,
    "a text of 4 GB": b"\xdb\xff\xff\xff\xff",
    "bytes of 4 GB": b"\xc6\xff\xff\xff\xff",
    "an extension of 4 GB": b"\xc9\xff\xff\xff\xff\x01",
    "an array of 4 G items": b"\xdd\xff\xff\xff\xff",
    "an array head of huge arrays": msgpack.packb(
        msgpack.ExtType(1, b"\xdd\x00\xff\xff\xff" * 200 + bytes(10_000))
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_neither_time_nor_memory(name: str) -> None:
    tracemalloc.start()
    begun = time.process_time()
    try:
        assert isinstance(settled(BOMBS[name]), ProtocolError)
        assert time.process_time() - begun < 0.25
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


# --- messages ---------------------------------------------------------------------------------------------------------


def test_a_message_cannot_be_changed() -> None:
    request = Request("kb", "find", b"\xc0", 1.0, Trace.new(), "nlu@pc2")
    for message, name in ((request, "deadline"), (Reply(b"\xc0"), "body"), (Event("a", b"\xc0", "x@y", 0.0), "topic")):
        with pytest.raises(AttributeError):
            setattr(message, name, None)
    assert request.target == "kb.find"


def test_a_reply_gives_its_value_or_raises_its_error() -> None:
    assert Reply(encode([1])).value() == [1]
    with pytest.raises(Unavailable, match="later"):
        Reply(error=Unavailable("later", retry_after=1.0)).value()
    with pytest.raises(ProtocolError, match="does not decode"):
        Reply(b"\xc1").value()
    assert Event("a", encode({"b": 1}), "x@y", 0.0).value() == {"b": 1}
