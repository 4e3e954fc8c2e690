"""What callers lose with a new version: said for every kind of break, and never left out."""

from __future__ import annotations

import textwrap
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.agent.compatibility import breaks
from mesh.agent.schema import Operation, compile_operations
from mesh.errors import InvalidArgument

HEAD = """
from collections.abc import AsyncIterator
from enum import Enum
from pathlib import Path
from datetime import datetime
from typing import Annotated, Any, Literal, Optional
import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import NotRequired, TypedDict
from mesh import Agent, operation
"""


def operations(body: str, models: str = "") -> dict[str, Operation]:
    """Return the operations of an agent whose class has this body."""
    names = dict(module(models))
    run(f"class It(Agent):\n{textwrap.indent(textwrap.dedent(body), '    ')}", names)
    return compile_operations(names["It"])


@lru_cache
def module(models: str) -> dict[str, Any]:
    """Return what a module with these models knows."""
    names: dict[str, Any] = {"__name__": __name__}
    run(HEAD + textwrap.dedent(models), names)
    return names


def run(source: str, names: dict[str, Any]) -> None:
    exec(compile(source, "<agent>", "exec", dont_inherit=True), names)


def told(body: str, models: str = "") -> dict[str, dict[str, Any]]:
    return {name: one.describe() for name, one in operations(body, models).items()}


def one(arguments: str = "self", result: str = "None", how: str = "") -> str:
    """Return the body of an agent with one operation `do`."""
    return f"@operation{how}\nasync def do({arguments}) -> {result}: ..."


def lost(old: str, new: str, before: str = "", after: str | None = None) -> list[tuple[str, str]]:
    """Return kind and message of each break between two versions of `do`, with the models they need."""
    found = breaks(told(old, before), told(new, before if after is None else after))
    assert all(each.operation == "do" for each in found)
    return [(each.kind, each.message) for each in found]


def model(fields: str, name: str = "Fact") -> str:
    return f"class {name}(BaseModel):\n" + textwrap.indent(textwrap.dedent(fields), "    ")


KEPT: list[tuple[str, str]] = [
    (one(), one()),
    (one("self, a: int"), one("self, a: int, b: int = 3")),
    (one("self, a: int"), one("self, a: int = 3")),
    (one("self, a: int"), one("self, a: float")),
    (one("self, a: int"), one("self, a: int | None = None")),
    (one("self, a: int"), one("self, a: Any")),
    (one("self, a: Literal['x']"), one("self, a: Literal['x', 'y']")),
    (one("self, a: Literal['x']"), one("self, a: str")),
    (one("self, a: Literal[5]"), one("self, a: Annotated[int, Field(ge=5)]")),
    (one("self, a: Annotated[int, Field(ge=5)]"), one("self, a: Annotated[int, Field(ge=3)]")),
    (one("self, a: Path"), one("self, a: str")),
    (one("self, a: str"), one("self, a: Path")),
    (one("self, a: datetime"), one("self, a: str")),
    (one("self, a: list[int]"), one("self, a: list[float]")),
    (one("self, a: tuple[int, str]"), one("self, a: tuple[int, str]")),
    (one("self, a: dict[str, int]"), one("self, a: dict[str, float]")),
    (one(result="int | None"), one(result="int")),
    (one(result="float"), one(result="int")),
    (one(result="str"), one(result="Literal['x']")),
    (one(result="Any"), one(result="int")),
    (one(how="(idempotent=False)"), one(how="(idempotent=True)")),
    (one(how="(max_body=10)"), one(how="(max_body=11)")),
]


@pytest.mark.parametrize(("old", "new"), KEPT)
def test_what_takes_no_less_and_gives_no_more_breaks_nobody(old: str, new: str) -> None:
    assert lost(old, new) == []


BROKEN: list[tuple[str, str, str, str]] = [
    (one("self, a: int"), one("self, a: int, b: int"), "argument", "argument 'b' is new and has no default"),
    (one("self, a: int = 3"), one("self, a: int"), "argument", "argument 'a' has no default any more"),
    (one("self, a: int"), one("self"), "argument", "argument 'a' is not taken any more"),
    (one("self, a: int"), one("self, a: str"), "argument", "argument 'a' is str now, and was int"),
    (one("self, a: float"), one("self, a: int"), "argument", "argument 'a' is int now, and was float"),
    (one("self, a: int | None"), one("self, a: int"), "argument", "argument 'a' is int now, and was None"),
    (one("self, a: bytes"), one("self, a: str"), "argument", "argument 'a' is str now, and was bytes"),
    (one("self, a: dict[str, int]"), one("self, a: np.ndarray"), "argument",
     "argument 'a' is ndarray now, and was dict"),
    (one("self, a: str"), one("self, a: datetime"), "argument", "argument 'a' has format date-time now, and had no "
                                                                "format"),
    (one("self, a: Literal['x', 'y']"), one("self, a: Literal['x']"), "argument",
     "argument 'a' may not be 'y' any more"),
    (one("self, a: str"), one("self, a: Literal['x']"), "argument", "argument 'a' is 'x' now, and was str"),
    (one("self, a: Literal[2]"), one("self, a: Annotated[int, Field(ge=5)]"), "argument",
     "argument 'a' may not be 2 any more"),
    (one("self, a: int"), one("self, a: Annotated[int, Field(ge=5)]"), "argument",
     "argument 'a' has minimum 5 now, and had no minimum"),
    (one("self, a: Annotated[str, Field(max_length=9)]"), one("self, a: Annotated[str, Field(max_length=8)]"),
     "argument", "argument 'a' has maxLength 8 now, and had maxLength 9"),
    (one("self, a: list[int]"), one("self, a: list[str]"), "argument", "argument 'a.*' is str now, and was int"),
    (one("self, a: list[int]"), one("self, a: tuple[int, int]"), "argument",
     "argument 'a' has minItems 2 now, and had no minItems"),
    (one("self, a: tuple[int, str]"), one("self, a: tuple[int, int]"), "argument",
     "argument 'a.1' is int now, and was str"),
    (one("self, a: dict[str, float]"), one("self, a: dict[str, int]"), "argument",
     "argument 'a.*' is int now, and was float"),
    (one(result="int"), one(result="str"), "result", "the result is str now, and was int"),
    (one(result="int"), one(result="int | None"), "result", "the result is None now, and was int"),
    (one(result="Literal['x']"), one(result="Literal['x', 'y']"), "result", "the result may be 'y' now"),
    (one(result="list[int]"), one(result="list[float]"), "result", "field '*' of the result is float now, and was int"),
    (one(how="(idempotent=True)"), one(), "idempotent",
     "is not idempotent any more: callers do not try it again when its fate is unknown"),
    (one(how="(max_body=11)"), one(how="(max_body=10)"), "max_body",
     "takes 10 bytes of arguments at most, and took 11"),
]


@pytest.mark.parametrize(("old", "new", "kind", "message"), BROKEN)
def test_what_callers_lose_is_named(old: str, new: str, kind: str, message: str) -> None:
    found = lost(old, new)
    assert (kind, message) in found and {each for each, _ in found} == {kind}


def test_an_operation_that_is_gone_is_named_and_a_new_one_breaks_nobody() -> None:
    before, after = told(one()), told(one().replace("do(", "act("))
    assert [each.row() for each in breaks(before, after)] == [
        {"operation": "do", "kind": "removed", "message": "is not there any more"}]
    assert breaks(before, {**before, **after}) == []


def test_a_value_that_became_a_stream_is_a_break_whatever_its_type() -> None:
    stream = "@operation\nasync def do(self) -> AsyncIterator[int]:\n    yield 1"
    assert lost(one(result="int"), stream) == [
        ("stream", "gives its items one after the other now, and gave one value")]
    assert lost(stream, one(result="int")) == [
        ("stream", "gives one value now, and gave its items one after the other")]


def test_fields_of_a_result_may_come_and_may_not_go() -> None:
    returns = one(result="Fact")
    small, large = model("text: str"), model("text: str\nscore: float = 0.5")
    assert lost(returns, returns, small, large) == []
    assert lost(returns, returns, large, small) == [("result", "field 'score' of the result is not there any more")]
    perhaps = "class Fact(TypedDict):\n    text: NotRequired[str]"
    assert lost(returns, returns, "class Fact(TypedDict):\n    text: str", perhaps) == [
        ("result", "field 'text' of the result may be missing now")]
    assert lost(returns, returns, small, model("text: str = ''")) == []


def test_fields_of_an_argument_are_compared_as_deep_as_they_go() -> None:
    takes = one("self, facts: list[Fact]")
    before, after = model("text: str"), model("text: str\nscore: float")
    assert lost(takes, takes, before, after) == [("argument", "argument 'facts.*.score' is new and has no default")]
    assert lost(takes, takes, before, model("text: str\nscore: float = 1.0")) == []
    strict = model("model_config = ConfigDict(extra='forbid')\ntext: str")
    assert lost(takes, takes, after, strict) == [("argument", "argument 'facts.*.score' is not taken any more")]


def test_a_type_that_holds_itself_is_compared_once() -> None:
    takes, gives = one("self, tree: Node"), one(result="Node")
    before = model("name: str\nchildren: list['Node']", "Node")
    after = model("name: int\nchildren: list['Node']", "Node")
    assert lost(takes, takes, before) == lost(gives, gives, before) == []
    assert lost(takes, takes, before, after) == [("argument", "argument 'tree.name' is int now, and was str")]
    assert lost(gives, gives, before, after) == [
        ("result", "field 'name' of the result is int now, and was str")]


def test_of_several_types_it_may_be_the_one_that_is_alike_is_compared() -> None:
    takes = one("self, a: Fact | None")
    assert lost(takes, takes, model("text: str"), model("text: str\nscore: float")) == [
        ("argument", "argument 'a.score' is new and has no default")]


def test_a_field_named_as_another_type_is_told_with_both() -> None:
    returns = one(result="Fact")
    assert lost(returns, returns, model("text: str | int"), model("text: list[int]")) == [
        ("result", "field 'text' of the result is list[int] now, and was str | int")]


# -- never left out: whatever passes, the other version takes

TYPES: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-5, 5), "float": st.floats(-5, 5) | st.integers(-5, 5), "str": st.text(max_size=4),
    "bool": st.booleans(), "bytes": st.binary(max_size=4), "Any": st.none() | st.integers() | st.text(max_size=4),
    "None": st.none(), "Literal['a', 'b']": st.sampled_from(["a", "b"]), "Literal['a', 2]": st.sampled_from(["a", 2]),
    "Annotated[int, Field(ge=0)]": st.integers(0, 5), "Annotated[int, Field(gt=0, le=3)]": st.integers(1, 3),
    "Annotated[str, Field(min_length=2)]": st.text(min_size=2, max_size=4),
    "Small": st.fixed_dictionaries({"x": st.integers()}, optional={"y": st.text(max_size=2)}),
    "Large": st.fixed_dictionaries({"x": st.integers(), "z": st.booleans()}),
    "Strict": st.fixed_dictionaries({"x": st.integers()}),
    "Loose": st.fixed_dictionaries({}, optional={"x": st.integers() | st.none()}),
    "Tree": st.deferred(lambda: TREES),
}
TREES: st.SearchStrategy[Any] = st.recursive(
    st.fixed_dictionaries({"x": st.integers()}),
    lambda inner: st.fixed_dictionaries({"x": st.integers(), "children": st.lists(inner, max_size=2)}), max_leaves=3)
MODELS = "\n".join((
    model("x: int\ny: str = ''", "Small"), model("x: int\nz: bool", "Large"), model("x: int | None = None", "Loose"),
    model("model_config = ConfigDict(extra='forbid')\nx: int", "Strict"),
    model("x: int\nchildren: list['Tree'] = Field(default_factory=list)", "Tree"),
))


@st.composite
def typed(draw: st.DrawFn) -> tuple[str, st.SearchStrategy[Any]]:
    """Draw a type and what makes values of it."""
    name = draw(st.sampled_from(sorted(TYPES)))
    shape = draw(st.sampled_from(["{}", "{}", "list[{}]", "dict[str, {}]", "tuple[{}, int]", "Optional[{}]"]))
    values = TYPES[name]
    return shape.format(name), {
        "{}": values, "list[{}]": st.lists(values, max_size=2), "tuple[{}, int]": st.tuples(values, st.integers()).map(
            list), "dict[str, {}]": st.dictionaries(st.text(max_size=2), values, max_size=2),
        "Optional[{}]": values | st.none(),
    }[shape]


@given(typed(), typed(), st.booleans(), st.booleans(), st.data())
def test_arguments_that_are_not_taken_any_more_are_never_passed_over(
    old: tuple[str, st.SearchStrategy[Any]], new: tuple[str, st.SearchStrategy[Any]], had: bool, has: bool,
    data: st.DataObject,
) -> None:
    before = operations(one(f"self, a: Optional[{old[0]}] = None" if had else f"self, a: {old[0]}"), MODELS)
    after = operations(one(f"self, a: Optional[{new[0]}] = None" if has else f"self, a: {new[0]}"), MODELS)
    values = data.draw(st.fixed_dictionaries({}, optional={"a": old[1]}) if had
                       else st.fixed_dictionaries({"a": old[1]}))
    before["do"].bind(values)
    try:
        after["do"].bind(values)
    except InvalidArgument:
        assert breaks({"do": before["do"].describe()}, {"do": after["do"].describe()})


@given(typed())
def test_a_version_breaks_nobody_who_called_itself(kind: tuple[str, st.SearchStrategy[Any]]) -> None:
    same = told(one(f"self, a: {kind[0]}", result=kind[0]), MODELS)
    assert breaks(same, same) == []
