"""Words on the command line become what the operation's schema asks for."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from mesh.cli.arguments import json_of, object_of, pairs_of, typed
from mesh.errors import UsageError


class Place(BaseModel):
    name: str


def schema_of(annotation: Any) -> dict[str, Any]:
    schema = TypeAdapter(annotation).json_schema()
    return {"properties": {"value": {key: item for key, item in schema.items() if key != "$defs"}},
            "$defs": {**schema.get("$defs", {}), "Place": Place.model_json_schema()}}


@pytest.mark.parametrize(("annotation", "text", "expected"), [
    (str, "5", "5"),
    (str, "null", "null"),
    (str, '{"a": 1}', '{"a": 1}'),
    (str | None, "null", "null"),
    (int, "5", 5),
    (float, "0.5", 0.5),
    (bool, "true", True),
    (int | None, "null", None),
    (int | str, "5", 5),
    (int | str, "five", "five"),
    (int | str, "[5]", "[5]"),
    (list[str], '["a", "b"]', ["a", "b"]),
    (dict[str, int], '{"a": 1}', {"a": 1}),
    (Place, '{"name": "here"}', {"name": "here"}),
    (Any, "5", 5),
    (Any, "plain words", "plain words"),
    (int, "five", "five"),
])
def test_a_value_is_read_as_the_schema_wants_it(annotation: Any, text: str, expected: Any) -> None:
    assert typed({"value": text}, schema_of(annotation)) == {"value": expected}


def test_without_a_schema_a_value_is_json_if_it_reads_as_json() -> None:
    assert typed({"a": "5", "b": "five", "c": "[1]"}, None) == {"a": 5, "b": "five", "c": [1]}


def test_a_name_the_schema_does_not_have_is_passed_on_for_the_callee_to_refuse() -> None:
    assert typed({"valeu": "5"}, schema_of(str)) == {"valeu": 5}


def test_a_word_is_split_at_its_first_equals_sign() -> None:
    assert pairs_of(["a=b=c", "empty="]) == {"a": "b=c", "empty": ""}


@pytest.mark.parametrize(("words", "told"), [
    (["hello"], "'hello' is no argument; write key=value"),
    (["=5"], "'=5' is no argument"),
    (["a=1", "a=2"], "a is given twice"),
])
def test_words_that_are_no_arguments_are_refused_with_the_way_to_write_them(words: list[str], told: str) -> None:
    with pytest.raises(UsageError) as refused:
        pairs_of(words)
    assert told in refused.value.message


def test_data_must_be_an_object_for_a_call_and_any_json_for_an_event() -> None:
    assert object_of('{"a": 1}') == {"a": 1} and object_of(None) == {}
    assert json_of("[1, 2]") == [1, 2]
    with pytest.raises(UsageError, match="--data holds array"):
        object_of("[1, 2]")
    with pytest.raises(UsageError, match="--data is no JSON"):
        json_of("{a: 1}")
