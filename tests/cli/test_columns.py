"""Boxes stand in columns from callers to called; circles are drawn too, and few lines cross."""

from __future__ import annotations

from mesh.cli.columns import _crossings, arrange


def test_the_longest_way_gives_the_column() -> None:
    columns, alone = arrange(["a", "b", "c", "d"], {("a", "b"), ("b", "c"), ("a", "c")})
    assert columns == [["a"], ["b"], ["c"]] and alone == ["d"]


def test_a_caller_nobody_calls_stands_next_to_whom_it_calls() -> None:
    columns, _ = arrange(["a", "b", "c", "late"], {("a", "b"), ("b", "c"), ("late", "c")})
    assert columns == [["a"], ["b", "late"], ["c"]] or columns == [["a"], ["late", "b"], ["c"]]


def test_a_circle_has_columns_too() -> None:
    columns, alone = arrange(["a", "b", "c"], {("a", "b"), ("b", "c"), ("c", "a")})
    assert sorted(name for column in columns for name in column) == ["a", "b", "c"] and alone == []
    assert len(columns) == 3


def test_who_calls_only_itself_has_no_relation_to_others() -> None:
    assert arrange(["a"], {("a", "a")}) == ([], ["a"])


def test_lines_that_need_not_cross_do_not() -> None:
    edges = {("a", "z"), ("b", "y"), ("c", "x")}
    columns, _ = arrange(sorted("abcxyz"), edges)
    assert _crossings(columns, edges) == 0


def test_every_service_has_exactly_one_place_in_a_large_graph() -> None:
    names = [f"s{number}" for number in range(84)]
    edges = {(names[number], names[(number * 7 + step) % 84]) for number in range(84) for step in (1, 5)}
    columns, alone = arrange(names, edges)
    assert sorted([name for column in columns for name in column] + alone) == sorted(names)
