"""What readers want is known prefix by prefix, no reader can want too much, and no two are taken for one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.transport.subscriptions import PREFIXES, Subscriptions


def with_readers(*readers: int) -> Subscriptions:
    subscriptions = Subscriptions()
    for reader in readers:
        subscriptions.came(reader)
    return subscriptions


def test_a_topic_is_wanted_while_any_reader_wants_a_prefix_of_it() -> None:
    subscriptions = with_readers(7, 8)
    assert not subscriptions.wanted(b"errors.error.pc2.nlu\0")
    subscriptions.add(7, b"errors.error.")
    subscriptions.add(8, b"errors.")
    assert subscriptions.wanted(b"errors.error.pc2.nlu\0")
    assert not subscriptions.wanted(b"memory.added\0")
    subscriptions.remove(8, b"errors.")
    assert subscriptions.wanted(b"errors.error.pc2.nlu\0")
    assert not subscriptions.wanted(b"errors.warning.pc2.nlu\0")
    subscriptions.left(7)
    assert not subscriptions.wanted(b"errors.error.pc2.nlu\0")
    assert subscriptions.readers == 0


def test_a_prefix_with_the_zero_byte_means_exactly_that_topic() -> None:
    subscriptions = with_readers(7)
    subscriptions.add(7, b"errors.error.pc\0")
    assert subscriptions.wanted(b"errors.error.pc\0")
    assert not subscriptions.wanted(b"errors.error.pc2\0")


def test_the_empty_prefix_means_everything() -> None:
    subscriptions = with_readers(7)
    subscriptions.add(7, b"")
    assert subscriptions.wanted(b"anything\0")


def test_asking_twice_counts_once_and_taking_back_what_was_not_asked_counts_nothing() -> None:
    subscriptions = with_readers(7, 8)
    subscriptions.add(7, b"a")
    subscriptions.add(7, b"a")
    subscriptions.remove(8, b"a")
    subscriptions.remove(7, b"b")
    assert subscriptions.wanted(b"a\0")
    subscriptions.remove(7, b"a")
    assert not subscriptions.wanted(b"a\0")


def test_a_reader_has_so_many_prefixes_and_may_change_them() -> None:
    subscriptions = with_readers(7, 8)
    for number in range(PREFIXES):
        assert subscriptions.add(7, b"%d" % number) is None
    assert subscriptions.add(7, b"0") is None, "it has that one already"
    assert subscriptions.add(7, b"one more") == (
        "more than 64 subscriptions; subscribe to a shorter prefix and choose in the reader")
    assert subscriptions.add(8, b"another reader") is None
    subscriptions.remove(7, b"0")
    assert subscriptions.add(7, b"one more") is None


def test_a_prefix_has_a_length_limit() -> None:
    subscriptions = with_readers(7)
    assert subscriptions.add(7, b"x" * 256) is None
    assert subscriptions.add(7, b"x" * 257) == "a subscription of 257 bytes, the limit is 256"


def test_what_is_remembered_of_topics_is_bounded() -> None:
    subscriptions = with_readers(7)
    subscriptions.add(7, b"t")
    for number in range(25_000):
        assert subscriptions.wanted(b"t%d\0" % number)
    assert len(subscriptions._known) <= 10_000


# --- descriptors that are used again ----------------------------------------------------------------------------------


def test_what_a_reader_sent_who_is_gone_counts_for_nobody() -> None:
    subscriptions = with_readers(7)
    subscriptions.add(7, b"a")
    subscriptions.left(7)
    subscriptions.add(7, b"late")
    assert not subscriptions.wanted(b"late\0")
    subscriptions.came(7)
    subscriptions.add(7, b"later")
    assert not subscriptions.wanted(b"later\0"), "the queue has not shown the end of the former reader"
    subscriptions.taken_back(b"a")
    subscriptions.add(7, b"mine")
    assert subscriptions.wanted(b"mine\0")


def test_an_empty_queue_ends_a_former_reader_only_when_the_new_one_is_there() -> None:
    subscriptions = with_readers(7)
    subscriptions.add(7, b"a")
    subscriptions.left(7)
    subscriptions.read_empty()
    subscriptions.came(7)
    subscriptions.add(7, b"late")
    assert not subscriptions.wanted(b"late\0")
    subscriptions.read_empty()
    subscriptions.add(7, b"mine")
    assert subscriptions.wanted(b"mine\0")


Step = tuple[str, int, bytes]
PREFIX = st.sampled_from([b"a", b"b", b"ab", b"c"])
CONNECTION = st.tuples(st.sampled_from([7, 8]), st.lists(st.tuples(st.booleans(), PREFIX), max_size=6), st.booleans())


def told_by_libzmq(
    connections: list[tuple[int, list[tuple[bool, bytes]], bool]]
) -> tuple[list[tuple[int, Step]], list[Step], dict[int, set[bytes]]]:
    """Return the news (with the place in the queue it precedes), the queue, and what is wanted in the end.

    Connections follow one another; one that is not to end does so before its descriptor is used again.
    """
    news: list[tuple[int, Step]] = []
    queue: list[Step] = []
    wants: dict[int, set[bytes]] = {}

    def end(reader: int) -> None:
        news.append((len(queue), ("left", reader, b"")))
        queue.extend(("taken_back", reader, prefix) for prefix in sorted(wants.pop(reader)))

    for reader, messages, ends in connections:
        if reader in wants:
            end(reader)
        news.append((len(queue), ("came", reader, b"")))
        wants[reader] = set()
        for adds, prefix in messages:
            queue.append(("add" if adds else "remove", reader, prefix))
            (wants[reader].add if adds else wants[reader].discard)(prefix)
        if ends:
            end(reader)
    return news, queue, wants


@given(st.lists(CONNECTION, max_size=8), st.lists(st.integers(0, 12), min_size=80, max_size=80))
def test_however_late_the_queue_is_read_each_reader_has_what_it_asked_for(
    connections: list[tuple[int, list[tuple[bool, bytes]], bool]], ahead: list[int]
) -> None:
    news, queue, wants = told_by_libzmq(connections)
    wanted = {7: {b"", b"a"}, 8: set()}  # only to name the type
    wanted.clear()
    subscriptions = Subscriptions()

    def tell(step: Step) -> None:
        what, reader, prefix = step
        if what in ("came", "left"):
            getattr(subscriptions, what)(reader)
        elif what == "taken_back":
            subscriptions.taken_back(prefix)
        else:
            getattr(subscriptions, what)(reader, prefix)

    for place, step in enumerate(queue):
        while news and news[0][0] <= place + ahead[place]:
            tell(news.pop(0)[1])
        tell(step)
    for _, step in news:
        tell(step)
    subscriptions.read_empty()
    assert {reader: prefixes for reader, prefixes in subscriptions._wants.items() if prefixes} == {
        reader: prefixes for reader, prefixes in wants.items() if prefixes}
    assert set(subscriptions._prefixes) == set().union(*wants.values())
