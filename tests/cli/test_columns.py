"""Boxes stand in columns from callers to called; circles are drawn too, and few lines cross."""

from __future__ import annotations

from mesh.cli.columns import Columns, _crossings, arrange


def boxes(found: Columns) -> list[list[str]]:
    """Return the names in each column, sorted."""
    return [sorted(slot[0] for slot in column if len(slot) == 1) for column in found.slots]


def test_the_longest_way_gives_the_column() -> None:
    found = arrange(["a", "b", "c", "d"], {("a", "b"), ("b", "c"), ("a", "c")})
    assert boxes(found) == [["a"], ["b"], ["c"]] and found.alone == ["d"]


def test_a_line_over_several_columns_has_a_passage_in_each_between() -> None:
    found = arrange(["a", "b", "c"], {("a", "b"), ("b", "c"), ("a", "c")})
    assert found.routes["a", "c"] == [("a",), ("a", "c", "1"), ("c",)]
    assert ("a", "c", "1") in found.slots[1]


def test_a_caller_nobody_calls_stands_next_to_whom_it_calls() -> None:
    found = arrange(["a", "b", "c", "late"], {("a", "b"), ("b", "c"), ("late", "c")})
    assert boxes(found) == [["a"], ["b", "late"], ["c"]]


def test_a_circle_has_columns_too() -> None:
    found = arrange(["a", "b", "c"], {("a", "b"), ("b", "c"), ("c", "a")})
    assert boxes(found) == [["a"], ["b"], ["c"]] and ("c", "a") not in found.routes


def test_who_calls_only_itself_has_no_relation_to_others() -> None:
    assert arrange(["a"], {("a", "a")}) == Columns([], {}, ["a"])


def test_lines_that_need_not_cross_do_not() -> None:
    found = arrange(sorted("abcxyz"), {("a", "z"), ("b", "y"), ("c", "x")})
    assert _crossings(found.slots, [(route[0], route[1]) for route in found.routes.values()]) == 0


def test_every_service_has_exactly_one_place_in_a_large_graph() -> None:
    names = [f"s{number}" for number in range(84)]
    edges = {(names[number], names[(number * 7 + step) % 84]) for number in range(84) for step in (1, 5)}
    found = arrange(names, edges)
    assert sorted([name for column in boxes(found) for name in column] + found.alone) == sorted(names)
