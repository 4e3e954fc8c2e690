"""Two calls have the same key exactly if they ask the same of the same code."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.cache.key import LONGEST, key_of, prefix_of
from mesh.message import encode

PREFIX = prefix_of("kb.find", "v1")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=6,
)


def key(arguments: Any, *, place: str | None = None, prefix: bytes = PREFIX, **named: Any) -> bytes | None:
    return key_of(prefix, place, encode(arguments), **named)


@given(arguments=st.dictionaries(st.text(), VALUES, max_size=6), order=st.randoms())
def test_the_order_of_the_arguments_does_not_matter(arguments: dict[str, Any], order: Any) -> None:
    names = list(arguments)
    order.shuffle(names)
    assert key(arguments) == key({name: arguments[name] for name in names}) is not None


@given(one=st.dictionaries(st.text(), VALUES, max_size=4), other=st.dictionaries(st.text(), VALUES, max_size=4))
def test_other_arguments_have_another_key(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (key(one) == key(other)) == (_exact(one) == _exact(other))


def _exact(arguments: dict[str, Any]) -> bytes:
    return bytes(msgpack.packb(sorted(arguments.items())))


@pytest.mark.parametrize(("one", "other"), [
    ({"prefix": prefix_of("kb.find", "v1")}, {"prefix": prefix_of("kb.find", "v2")}),
    ({"prefix": prefix_of("kb.find", "v1")}, {"prefix": prefix_of("kb.add", "v1")}),
    ({"place": None}, {"place": "pc2"}),
    ({"place": "pc2"}, {"place": "pc2#2"}),
])
def test_another_operation_version_or_place_has_another_key(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key({"q": 1}, **one) != key({"q": 1}, **other)


@pytest.mark.parametrize("value", [0, 1, 1.0, True, "1", b"1", None, [], {}, [1], {"a": 1}])
def test_what_is_equal_for_python_alone_is_not_the_same_question(value: Any) -> None:
    others = [0, 1, 1.0, True, "1", b"1", None, [], {}, [1], {"a": 1}]
    same = [other for other in others if key({"q": other}) == key({"q": value})]
    assert [(type(one), one) for one in same] == [(type(value), value)]


def test_with_named_arguments_only_these_count() -> None:
    assert key({"q": 1, "who": "a"}, names=("q",)) == key({"who": "b", "q": 1}, names=("q",))
    assert key({"q": 1}, names=("q",)) != key({"q": 2}, names=("q",))
    assert key({"who": "a"}, names=("q",)) != key({"q": None}, names=("q",))


def test_a_long_key_is_kept_short_and_still_its_own() -> None:
    long = [key({"q": "x" * 10_000 + end}) for end in "ab"]
    assert long[0] != long[1]
    assert all(one is not None and len(one) <= LONGEST for one in long)


@pytest.mark.parametrize("body", [
    b"", b"\xc1", b"\x81\xa1a", encode([1]), encode(None), b"\x81\x01\x02", b"\x81\xa1\xff\x01",
])
def test_what_is_no_map_of_arguments_has_no_key(body: bytes) -> None:
    assert key_of(PREFIX, None, body) is None
