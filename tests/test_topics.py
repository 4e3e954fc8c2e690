"""Patterns choose topics word by word; `*` is one word and a final `#` any rest."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh import topics
from mesh.errors import InvalidArgument
from mesh.topics import Choices, Interest, check_pattern, check_topic, matches

WORDS = st.sampled_from(["a", "b", "errors", "pc2"])
TOPICS = st.lists(WORDS, min_size=1, max_size=5).map(".".join)
PATTERNS = st.builds(
    lambda words, rest: ".".join([*words, *rest]) or "#",
    st.lists(WORDS | st.just("*"), max_size=4), st.sampled_from([[], ["#"]]),
)


@pytest.mark.parametrize(("pattern", "chosen", "left"), [
    ("memory.added", ["memory.added"], ["memory", "memory.added.now", "memory.removed"]),
    ("memory.*", ["memory.added", "memory.removed"], ["memory", "memory.added.now", "other.added"]),
    ("*.added", ["memory.added"], ["added", "memory.deeply.added"]),
    ("*", ["memory"], ["memory.added"]),
    ("errors.*.pc2.#", ["errors.error.pc2.nlu", "errors.error.pc2", "errors.error.pc2.a.b"],
     ["errors.pc2.nlu", "errors.error.pc3.nlu"]),
    ("errors.#", ["errors", "errors.error", "errors.error.pc2.nlu"], ["error", "errorsx", "other.errors"]),
    ("#", ["a", "a.b", "a.b.c"], []),
])
def test_a_pattern_chooses_its_topics_and_no_others(pattern: str, chosen: list[str], left: list[str]) -> None:
    check_pattern(pattern)
    assert [topic for topic in [*chosen, *left] if matches(pattern, topic)] == chosen


@pytest.mark.parametrize("topic", ["a", "memory.added", "errors.error.pc2.nlu", "a_1.b2", "x" * 256])
def test_dotted_lower_case_words_are_topics_and_their_own_patterns(topic: str) -> None:
    check_topic(topic)
    check_pattern(topic)
    assert matches(topic, topic)


@pytest.mark.parametrize("topic", [
    "", ".", "a.", ".a", "a..b", "A", "a b", "a-b", "ä", "a.*", "#", "a\n", "a.b\n", "x" * 257, "a\0",
])
def test_anything_else_is_no_topic(topic: str) -> None:
    with pytest.raises(InvalidArgument, match="is no topic; write dotted lower-case words") as caught:
        check_topic(topic)
    assert caught.value.details == {"path": "topic"}


@pytest.mark.parametrize("pattern", ["", ".", "a.", "a.#.b", "#.a", "a#", "a.b*", "**", "a..b", "A", "#\n", "x" * 257])
def test_wildcards_stand_for_words_and_the_rest_only(pattern: str) -> None:
    with pytest.raises(InvalidArgument, match="is no topic pattern; `\\*` stands for one segment") as caught:
        check_pattern(pattern)
    assert caught.value.details == {"path": "pattern"}


def by_definition(pattern: list[str], topic: list[str]) -> bool:
    """Say the same as `matches`, the slow and plain way."""
    if not pattern:
        return not topic
    if pattern[0] == "#":
        return True
    return bool(topic) and pattern[0] in ("*", topic[0]) and by_definition(pattern[1:], topic[1:])


@given(PATTERNS, TOPICS)
@settings(deadline=None)
def test_matching_is_as_defined(pattern: str, topic: str) -> None:
    assert matches(pattern, topic) is by_definition(pattern.split("."), topic.split("."))


@given(st.lists(PATTERNS, max_size=4), st.lists(TOPICS, max_size=20))
@settings(deadline=None)
def test_interest_is_the_interest_of_any_pattern_however_often_it_is_asked(
    patterns: list[str], asked: list[str]
) -> None:
    interest = Interest(patterns)
    for topic in asked + asked:
        assert (topic in interest) is any(matches(pattern, topic) for pattern in patterns)


def test_interest_keeps_each_pattern_once_and_knows_whether_there_is_any() -> None:
    assert Interest(["b", "a", "b"]).patterns == ("a", "b")
    assert Interest(["a"])
    assert not Interest()


def test_interest_remembers_a_bounded_number_of_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_REMEMBERED", 10)
    interest = Interest(["a.*"])
    for number in range(100):
        assert f"a.t{number}" in interest
        assert f"b.t{number}" not in interest
    assert len(interest._choices) <= 10


def test_choices_name_each_chooser_once_in_the_order_given() -> None:
    choices = Choices([(("a.*", "a.b"), "first"), (("b",), "second"), (("#",), "third")])
    assert [choices["a.b"], choices["b"], choices["c"]] == [("first", "third"), ("second", "third"), ("third",)]
    assert Choices[str]()["a"] == ()
