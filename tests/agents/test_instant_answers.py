"""Time, date and sums, and what is said when there is no result."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from agents_mainpc.instant_answers import calculate, date_answer, sum_answer, time_answer
from hypothesis import given
from hypothesis import strategies as some

NOON = datetime(2031, 3, 4, 12, 5, tzinfo=UTC)


@pytest.mark.parametrize(("expression", "value"), [
    ("2 + 2", 4), ("17 times 23", 391), ("(4 + 5) * 6", 54), ("12.5 percent of 640", 80), ("1,000 minus 1", 999),
    ("the square root of 144", 12), ("2 to the power of 10", 1024), ("twenty five plus seventeen", 42),
    ("one hundred minus one", 99), ("subtract 8 from 30", 22), ("half of 86", 43), ("3 x 4", 12), ("-3 + 5", 2),
    ("what is 5 plus 7?", 12), ("10 percent ng 500", 50), ("5 squared", 25), ("add 230 and 45 for me", 275),
])
def test_sums_in_digits_and_words_have_their_value(expression: str, value: float) -> None:
    assert calculate(expression) == pytest.approx(value)


@given(some.integers(-10**6, 10**6), some.sampled_from(["+", "-", "*"]), some.integers(-10**6, 10**6))
def test_any_sum_of_two_numbers_is_right(left: int, sign: str, right: int) -> None:
    expected = {"+": left + right, "-": left - right, "*": left * right}[sign]
    assert calculate(f"({left}) {sign} ({right})") == expected


@pytest.mark.parametrize(("expression", "reason"), [
    ("1 / 0", "divides by zero"), ("9 ** 9 ** 9", "too large"), ("__import__('os')", "not a sum"),
    ("open('x')", "not a sum"), ("the sum of love", "not a sum"), ("sqrt of -4", "no real number"),
    ("(-8) ** 0.5", "no real number"), ("1e308 * 10", "too large"), ("1+" * 200 + "1", "longer than"),
    ("2 if 1 else 3", "not a sum"),
])
def test_what_has_no_result_is_refused_with_the_reason(expression: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        calculate(expression)
    assert sum_answer(expression).startswith("I cannot work that out")


@given(some.text(max_size=60))
def test_no_text_does_more_than_fail_to_be_a_sum(text: str) -> None:
    assert isinstance(sum_answer(text), str)


def test_the_answer_repeats_the_sum_and_keeps_integers_exact() -> None:
    assert sum_answer("What is 12345678 * 1000?") == "12345678 * 1000 = 12345678000"
    assert sum_answer("10 / 4") == "10 / 4 = 2.5"


def test_the_time_is_told_here_and_where_its_zone_is_known() -> None:
    assert time_answer(NOON) == "It is 12:05."
    assert time_answer(NOON, "Tokyo") == "It is 21:05 in Tokyo."
    assert time_answer(NOON, "New York") == "It is 07:05 in New York."
    assert "do not know the time zone of Narnia" in time_answer(NOON, "Narnia")


def test_the_date_is_told_for_today_and_the_days_around_it() -> None:
    assert date_answer(NOON) == "Today is Tuesday, 4 March 2031."
    assert date_answer(NOON, "tomorrow") == "Tomorrow is Wednesday, 5 March 2031."
    assert date_answer(NOON, "kahapon") == "Kahapon was Monday, 3 March 2031."
