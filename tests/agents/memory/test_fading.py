"""How memories fade, rise and fall: pure rules with the time given."""

from __future__ import annotations

import pytest
from agents_pc2.memory.fading import DAY, fade, reinforce, shorten, summarise
from agents_shared.messages import Memory

NOW = 1_000 * DAY


def memory(**more: object) -> Memory:
    return Memory.model_validate({"memory_id": "m", "content": "x", "last_accessed_at": NOW, **more})


@pytest.mark.parametrize(("tier", "left"), [("short", 0.9), ("medium", 0.95), ("long", 0.99)])
def test_a_day_costs_its_tier_the_daily_rate(tier: str, left: float) -> None:
    faded = fade(memory(memory_tier=tier), NOW - DAY, NOW)
    assert faded.importance == pytest.approx(left)


def test_hourly_sweeps_cost_no_more_than_a_daily_one() -> None:
    importance = 1.0
    for hour in range(24):
        importance = fade(memory(importance=importance), NOW + hour * 3600, NOW + (hour + 1) * 3600).importance
    assert importance == pytest.approx(fade(memory(), NOW, NOW + DAY).importance)


def test_a_clock_set_back_costs_nothing() -> None:
    assert fade(memory(), NOW + DAY, NOW).importance == 1.0


def test_use_raises_a_tier_and_neglect_lowers_it() -> None:
    assert fade(memory(access_count=3), NOW, NOW).tier == "medium"
    assert fade(memory(memory_tier="medium", access_count=10), NOW, NOW).tier == "long"
    forgotten = memory(memory_tier="long", importance=0.5, last_accessed_at=NOW - 91 * DAY)
    assert fade(forgotten, NOW, NOW).tier == "medium"


@pytest.mark.parametrize("kept", [{"memory_type": "knowledge_fact", "importance": 0.1}, {"importance": 0.7}])
def test_facts_and_important_memories_are_kept_whole(kept: dict[str, object]) -> None:
    assert not fade(memory(**kept), NOW - 100 * DAY, NOW).condense


def test_what_has_become_faint_is_condensed() -> None:
    assert fade(memory(importance=0.3), NOW, NOW).condense
    assert not fade(memory(importance=0.3, memory_tier="medium"), NOW, NOW).condense


def test_reinforcement_stays_between_zero_and_one() -> None:
    assert reinforce(0.5, 1.2) == pytest.approx(0.6)
    assert reinforce(0.9, 5) == 1.0


def test_a_summary_keeps_whole_sentences_in_their_order() -> None:
    texts = [
        "The river boat left at nine.", "Nobody had breakfast.", "The river boat was full of people.",
        "At noon the river boat came to the old town.",
    ]  # fmt: skip
    summary = summarise(texts, 90)
    assert len(summary) <= 90
    kept = [text for text in texts if text in summary]
    assert " ".join(kept) == summary
    assert "river boat" in summary


def test_a_short_text_stays_and_a_long_sentence_is_cut() -> None:
    assert shorten("Short.") == "Short."
    assert len(shorten("word " * 100)) <= 200
