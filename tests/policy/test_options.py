"""What one call may want otherwise than the rules say, and that it survives the way to the host that makes the call."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from mesh.message import encode
from mesh.policy.balance import STRATEGIES
from mesh.policy.options import CallOptions

keys = st.text(max_size=20) | st.integers(-2**63, 2**64 - 1) | st.floats(allow_nan=False) | st.binary(max_size=20)


def test_options_that_want_nothing_cost_no_byte() -> None:
    assert CallOptions().to_wire() == CallOptions(to_host="pc2#2").to_wire() == CallOptions(retry=True).to_wire() == b""
    assert CallOptions.from_wire(b"") == CallOptions()


@given(balance=st.sampled_from([None, "hash"]), key=st.none() | keys, retry=st.none() | st.integers(1, 100))
def test_what_was_wanted_arrives(balance: str | None, key: Any, retry: int | None) -> None:
    wanted = CallOptions(balance=balance, key=key, retry=retry)
    assert CallOptions.from_wire(wanted.to_wire()) == wanted


def test_a_key_alone_asks_for_the_hash() -> None:
    assert CallOptions(key="anna").strategy == "hash"
    assert CallOptions().strategy is None
    assert [CallOptions(balance=each).strategy for each in STRATEGIES] == list(STRATEGIES)


def test_no_retry_is_one_attempt_and_true_is_as_the_rule_says() -> None:
    assert [CallOptions(retry=each).attempts for each in (None, True, False, 1, 7)] == [None, None, 1, 1, 7]
    assert CallOptions.from_wire(CallOptions(retry=False).to_wire()).attempts == 1


@pytest.mark.parametrize(("wrong", "path", "words"), [
    ({"balance": "two_choice"}, "balance", "did you mean 'two_choices'"),
    ({"balance": "random", "key": "x"}, "key", "is for balance='hash'"),
    ({"key": ["a"]}, "key", "text, a number or bytes"),
    ({"key": "x" * 2000}, "key", "1024 bytes at most"),
    ({"retry": -1}, "retry", "1 to 100"), ({"retry": 101}, "retry", "1 to 100"), ({"retry": "no"}, "retry", "1 to 100"),
    ({"to_host": "pc2#x"}, "to_host", "pc2#2"),
])
def test_what_cannot_be_wanted_is_refused_where_it_is_said(wrong: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words) as caught:
        CallOptions(**wrong)
    assert caught.value.details["path"] == path


@pytest.mark.parametrize("sent", [b"\xc1", encode([1]), encode({"to_host": "pc2"}), encode({"balance": 7})])
def test_options_of_a_stranger_are_read_as_carefully(sent: bytes) -> None:
    with pytest.raises(InvalidArgument):
        CallOptions.from_wire(sent)
