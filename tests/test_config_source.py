"""A YAML file becomes the values that YAML says, and knows the line of each key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mesh.config.source import KeyPath, Source, scalar

TEXT = """\
# a comment

first: 1
list:
- one
- {two: 2,
   three: 3}
deep:
  er:

    key: value
"""

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.dates()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


@given(st.dictionaries(st.text(), values, max_size=6))
def test_it_has_the_values_a_yaml_loader_reads(data: dict[str, Any]) -> None:
    text = yaml.safe_dump(data, allow_unicode=True)
    source = Source("x.yaml", text)
    assert source.findings == []
    assert source.values == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("first",), 3),
        (("list",), 4),
        (("list", 0), 5),
        (("list", 1), 6),
        (("list", 1, "three"), 7),
        (("deep", "er", "key"), 11),
        (("deep", "er", "missing"), 9),
        (("list", 7), 4),
        (("missing",), 3),
        ((), 3),
    ],
)
def test_a_path_has_the_line_of_its_key_or_of_the_nearest_key_around_it(path: KeyPath, line: int) -> None:
    assert Source("x.yaml", TEXT).line(path) == line


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "null\n"])
def test_nothing_is_no_values_and_no_finding(text: str) -> None:
    source = Source("x.yaml", text)
    assert (source.values, source.findings, source.readable) == ({}, [], True)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert Source.read(tmp_path / "x.yaml", "x.yaml").values == {"a": 1}


def test_a_file_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    source = Source.read(tmp_path / "x.yaml", "x.yaml")
    assert [str(finding) for finding in source.findings] == ["x.yaml: cannot be read: No such file or directory"]
    assert not source.readable


def test_a_text_without_unicode_meaning_is_a_finding() -> None:
    [finding] = Source("x.yaml", "a: 1\nb: \ud800\n").findings
    assert (finding.code, finding.line) == ("syntax", 2)


@given(st.text())
def test_one_value_is_what_yaml_reads_without_quotes(text: str) -> None:
    try:
        value = scalar(text)
    except ValueError:
        return
    assert not isinstance(value, list | dict)
