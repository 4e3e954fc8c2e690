"""What readers want is known prefix by prefix, and no reader can want too much."""

from __future__ import annotations

from mesh.transport.subscriptions import PREFIXES, Subscriptions


def test_a_topic_is_wanted_while_any_reader_wants_a_prefix_of_it() -> None:
    subscriptions = Subscriptions()
    assert not subscriptions.wanted(b"errors.error.pc2.nlu\0")
    subscriptions.add(7, b"errors.error.")
    subscriptions.add(8, b"errors.")
    assert subscriptions.wanted(b"errors.error.pc2.nlu\0")
    assert not subscriptions.wanted(b"memory.added\0")
    subscriptions.remove(8, b"errors.")
    assert subscriptions.wanted(b"errors.error.pc2.nlu\0")
    assert not subscriptions.wanted(b"errors.warning.pc2.nlu\0")
    subscriptions.forget(7)
    assert not subscriptions.wanted(b"errors.error.pc2.nlu\0")
    assert subscriptions.readers == 0


def test_a_prefix_with_the_zero_byte_means_exactly_that_topic() -> None:
    subscriptions = Subscriptions()
    subscriptions.add(7, b"errors.error.pc\0")
    assert subscriptions.wanted(b"errors.error.pc\0")
    assert not subscriptions.wanted(b"errors.error.pc2\0")


def test_the_empty_prefix_means_everything() -> None:
    subscriptions = Subscriptions()
    subscriptions.add(7, b"")
    assert subscriptions.wanted(b"anything\0")


def test_asking_twice_counts_once_and_taking_back_what_was_not_asked_counts_nothing() -> None:
    subscriptions = Subscriptions()
    subscriptions.add(7, b"a")
    subscriptions.add(7, b"a")
    subscriptions.remove(8, b"a")
    subscriptions.remove(7, b"b")
    assert subscriptions.wanted(b"a\0")
    subscriptions.remove(7, b"a")
    assert not subscriptions.wanted(b"a\0")


def test_a_reader_has_so_many_prefixes_and_may_change_them() -> None:
    subscriptions = Subscriptions()
    for number in range(PREFIXES):
        assert subscriptions.add(7, b"%d" % number) is None
    assert subscriptions.add(7, b"0") is None, "it has that one already"
    assert subscriptions.add(7, b"one more") == (
        "more than 64 subscriptions; subscribe to a shorter prefix and choose in the reader")
    assert subscriptions.add(8, b"another reader") is None
    subscriptions.remove(7, b"0")
    assert subscriptions.add(7, b"one more") is None


def test_a_prefix_has_a_length_limit() -> None:
    subscriptions = Subscriptions()
    assert subscriptions.add(7, b"x" * 256) is None
    assert subscriptions.add(7, b"x" * 257) == "a subscription of 257 bytes, the limit is 256"


def test_what_is_remembered_of_topics_is_bounded() -> None:
    subscriptions = Subscriptions()
    subscriptions.add(7, b"t")
    for number in range(25_000):
        assert subscriptions.wanted(b"t%d\0" % number)
    assert len(subscriptions._known) <= 10_000
