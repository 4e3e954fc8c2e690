"""Numbers only grow, whatever is forgotten, and the last one is told again for a while."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.transport.sequences import Sequences


def everything(_: str) -> bool:
    return True


def test_each_topic_counts_on_its_own() -> None:
    sequences = Sequences()
    assert [sequences.next(topic, 0.0) for topic in ("a", "b", "a", "a")] == [1, 1, 2, 3]


@given(st.lists(st.sampled_from("abcdefgh")), st.integers(1, 5))
def test_a_number_never_comes_twice_and_memory_is_bounded(topics: list[str], limit: int) -> None:
    sequences = Sequences(topics=limit)
    given_out: dict[str, int] = {}
    for moment, topic in enumerate(topics):
        number = sequences.next(topic, float(moment))
        assert number > given_out.get(topic, 0)
        given_out[topic] = number
        assert len(sequences) <= limit


def test_the_topic_unused_for_longest_makes_room() -> None:
    sequences = Sequences(topics=2)
    for moment, topic in enumerate(["a", "a", "b", "a", "c"]):  # b goes
        sequences.next(topic, float(moment))
    assert sequences.next("a", 5.0) == 4
    assert sequences.next("b", 6.0) == 2, "b was at 1 when it was forgotten"


def test_a_topic_is_repeated_once_it_was_silent_between_two_askings_and_for_a_minute() -> None:
    sequences = Sequences()
    sequences.next("a", 10.0)
    assert sequences.repeats(10.5, everything) == []
    assert sequences.repeats(11.5, everything) == [("a", 1)]
    sequences.next("a", 12.0)
    assert sequences.repeats(12.5, everything) == []
    assert sequences.repeats(13.5, everything) == [("a", 2)]
    assert sequences.repeats(72.0, everything) == [("a", 2)]
    assert sequences.repeats(72.1, everything) == []


def test_only_wanted_topics_are_repeated() -> None:
    sequences = Sequences()
    for topic in ("a", "b"):
        sequences.next(topic, 0.0)
    sequences.repeats(1.0, everything)
    assert sequences.repeats(2.0, lambda topic: topic == "b") == [("b", 1)]


def test_many_topics_take_turns() -> None:
    sequences = Sequences()
    for number in range(600):
        sequences.next(f"t{number}", 0.0)
    sequences.repeats(1.0, everything)
    rounds = [sequences.repeats(2.0 + turn, everything) for turn in range(3)]
    assert [len(one) for one in rounds] == [256, 256, 256]
    assert {topic for one in rounds for topic, _ in one} == {f"t{number}" for number in range(600)}
