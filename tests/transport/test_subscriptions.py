"""What readers want is known prefix by prefix, no reader can want too much, and no two are taken for one."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mesh.transport.subscriptions import PREFIXES, Subscriptions


def test_a_topic_is_wanted_while_any_reader_wants_a_prefix_of_it() -> None:
    subscriptions = Subscriptions()
    assert not subscriptions.wanted(b"errors.error.pc2.nlu\0")
    subscriptions.add(7, b"errors.error.")
    subscriptions.add(8, b"errors.")
    assert subscriptions.readers == 2
    assert subscriptions.wanted(b"errors.error.pc2.nlu\0")
    assert not subscriptions.wanted(b"memory.added\0")
    subscriptions.remove(8, b"errors.")
    assert subscriptions.wanted(b"errors.error.pc2.nlu\0")
    assert not subscriptions.wanted(b"errors.warning.pc2.nlu\0")
    subscriptions.left(7)
    subscriptions.taken_back(b"errors.error.")
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
    subscriptions.remove(7, b"0")
    assert subscriptions.add(7, b"another") is None
    assert subscriptions.add(7, b"another") is None, "it has that one already"
    assert subscriptions.add(8, b"another reader") is None
    assert subscriptions.add(7, b"one more") == (
        "more than 64 subscriptions; subscribe to a shorter prefix and choose in the reader")


def test_a_prefix_has_a_length_limit() -> None:
    subscriptions = Subscriptions()
    assert subscriptions.add(7, b"x" * 256) is None
    assert subscriptions.add(7, b"x" * 257) == "a subscription of 257 bytes, the limit is 256"


def test_a_reader_that_was_sent_away_is_told_once_and_all_it_asked_for_is_taken_back() -> None:
    subscriptions = Subscriptions()
    assert subscriptions.add(7, b"x" * 257)
    assert subscriptions.add(7, b"x" * 258) is None, "it is told once"
    subscriptions.add(7, b"late")
    subscriptions.left(7)
    for prefix in (b"x" * 257, b"x" * 258, b"late"):
        subscriptions.taken_back(prefix)
    assert subscriptions.readers == 0 and not subscriptions.wanted(b"late\0")
    assert subscriptions.add(7, b"of the next reader") is None
    assert subscriptions.wanted(b"of the next reader\0")


def test_who_comes_on_a_descriptor_before_all_is_taken_back_of_the_one_before_loses_nothing() -> None:
    subscriptions = Subscriptions()
    for number in range(65):
        subscriptions.add(7, b"%d" % number)
    subscriptions.left(7)
    for number in range(63):
        assert subscriptions.add(7, b"m%d" % number) is None
    for number in range(65):
        subscriptions.taken_back(b"%d" % number)
    subscriptions.read_empty()
    assert subscriptions.wanted(b"m62\0") and not subscriptions.wanted(b"5\0") and subscriptions.readers == 1
    assert subscriptions.add(7, b"m63") is None and subscriptions.add(7, b"m64"), "the limit is its own again"
    subscriptions.left(7)
    for number in range(65):
        subscriptions.taken_back(b"m%d" % number)
    assert subscriptions.readers == 0 and not subscriptions.wanted(b"m62\0")


def test_what_is_remembered_of_topics_is_bounded() -> None:
    subscriptions = Subscriptions()
    subscriptions.add(7, b"t")
    for number in range(25_000):
        assert subscriptions.wanted(b"t%d\0" % number)
    assert len(subscriptions._known) <= 10_000


# --- descriptors that are used again ----------------------------------------------------------------------------------


def test_what_lies_in_the_queue_of_a_reader_that_is_gone_does_not_count_for_the_next() -> None:
    subscriptions = Subscriptions()
    subscriptions.left(7)  # known before anything it sent was read
    subscriptions.add(7, b"a")
    subscriptions.taken_back(b"a")
    subscriptions.add(7, b"b")
    assert not subscriptions.wanted(b"a\0")
    assert subscriptions.wanted(b"b\0")


def test_a_reader_that_wanted_nothing_leaves_no_trace() -> None:
    subscriptions = Subscriptions()
    subscriptions.left(7)
    subscriptions.read_empty()
    subscriptions.add(7, b"a")
    subscriptions.add(8, b"a")
    subscriptions.left(8)
    subscriptions.taken_back(b"a")
    assert subscriptions._wants == {7: {b"a"}}


Message = tuple[str, int, bytes]
Connection = tuple[int, list[tuple[bool, bytes]], bytes]
PREFIX = st.sampled_from([b"a", b"b", b"ab", b"c"])
CONNECTION = st.tuples(
    st.sampled_from([7, 8, 9]), st.lists(st.tuples(st.booleans(), PREFIX), max_size=6), PREFIX
)


def told_by_libzmq(connections: list[Connection]) -> tuple[list[tuple[int, int]], list[Message], dict[int, set[bytes]]]:
    """Return who went (and before which place of the queue), the queue, and what is wanted in the end.

    Each connection is a descriptor, what was added (True) or removed, and a last prefix it wants to its end, which
    comes when its descriptor is used again.
    """
    went: list[tuple[int, int]] = []
    queue: list[Message] = []
    wants: dict[int, set[bytes]] = {}
    for reader, messages, last in connections:
        if reader in wants:
            went.append((len(queue), reader))
            queue.extend(("taken back", reader, prefix) for prefix in sorted(wants.pop(reader)))
        wants[reader] = set()
        for adds, prefix in [*messages, (True, last)]:
            queue.append(("add" if adds else "remove", reader, prefix))
            (wants[reader].add if adds else wants[reader].discard)(prefix)
    return went, queue, wants


@given(st.lists(CONNECTION, max_size=8), st.randoms(use_true_random=False))
def test_however_late_the_queue_is_read_each_reader_has_what_it_asked_for(
    connections: list[Connection], chance: random.Random
) -> None:
    went, queue, wants = told_by_libzmq(connections)
    subscriptions = Subscriptions()
    for place, (what, reader, prefix) in enumerate(queue):
        while went and went[0][0] <= place + chance.choice((0, 0, 5, 20)):
            subscriptions.left(went.pop(0)[1])
        if what == "add":
            subscriptions.add(reader, prefix)
        elif what == "remove":
            subscriptions.remove(reader, prefix)
        else:
            subscriptions.taken_back(prefix)
    subscriptions.read_empty()
    assert subscriptions._wants == wants
    assert subscriptions._prefixes == Counter(prefix for prefixes in wants.values() for prefix in prefixes)
    assert subscriptions._gone == []
