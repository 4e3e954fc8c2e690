"""Operations are compiled from their signatures: what may be declared, what may be given, what may come back."""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, AsyncIterator, Iterator  # noqa: F401 - for the classes made of text
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mesh.agent import Agent, DataAgent, MLAgent, compile_operations, operation
from mesh.errors import InvalidArgument, InvalidResult, LoadError
from mesh.message import decode, encode


class Mood(enum.Enum):
    CALM = "calm"
    GLAD = "glad"


class Fact(BaseModel):
    model_config = ConfigDict(extra="forbid")

    subject: str
    score: float = 1.0


class FactList(BaseModel):
    facts: list[Fact]


class Sample(Agent):
    @operation(idempotent=True)
    async def search_facts(self, query: str, limit: int = 10) -> FactList:
        """Return the facts that match."""
        return FactList(facts=[])

    @operation
    async def rate(self, score: float, sure: bool = False) -> float:
        return score

    @operation(max_body=1000)
    def add(self, facts: list[Fact], moods: set[Mood] | None = None) -> None: ...

    @operation
    async def remember(
        self, when: datetime, where: Path, mood: Mood, picture: bytes, ends: tuple[int, str], tags: frozenset[str]
    ) -> dict[str, Any]:
        return {}

    @operation
    async def count(self, words: dict[str, int], by_id: dict[int, float], either: int | str) -> list[int]:
        return []

    @operation
    async def bounded(self, size: Annotated[int, Field(ge=1, le=5)], mode: Literal["a", "b"] = "a") -> int:
        return size

    @operation
    async def hear(self, sound: NDArray[np.float32], other: np.ndarray | None = None) -> NDArray[np.float32]:
        return sound

    @operation
    async def login(self, password: str) -> bool:
        return True

    @operation
    async def nothing(self) -> None: ...


OPERATIONS = compile_operations(Sample)


def refused(name: str, values: Any) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        OPERATIONS[name].bind(values)
    return caught.value


def declare(body: str) -> type:
    """Return an agent class with the methods of `body`."""
    names: dict[str, Any] = {}
    source = "class Broken(Agent):\n" + "\n".join(f"    {line}" for line in body.strip().splitlines())
    exec(source, {**globals()}, names)
    return names["Broken"]  # type: ignore[no-any-return]


def load_error(body: str) -> str:
    with pytest.raises(LoadError) as caught:
        compile_operations(declare(body))
    return caught.value.message


# what is known of an operation


def test_an_operation_tells_how_it_may_be_called() -> None:
    search, add = OPERATIONS["search_facts"], OPERATIONS["add"]
    assert (search.name, search.idempotent, search.max_body, search.sync) == ("search_facts", True, 16 << 20, False)
    assert search.doc == "Return the facts that match."
    assert (add.idempotent, add.max_body, add.sync) == (False, 1000, True)
    assert list(OPERATIONS)[:3] == ["search_facts", "rate", "add"]


def test_the_schemas_show_types_defaults_and_what_is_required() -> None:
    schema = OPERATIONS["search_facts"].arguments_schema
    assert schema["required"] == ["query"]
    assert schema["properties"]["limit"]["default"] == 10
    assert schema["properties"]["limit"]["type"] == "integer"
    assert schema["additionalProperties"] is False
    assert "facts" in OPERATIONS["search_facts"].result_schema["properties"]


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_every_description_travels(name: str) -> None:
    described = OPERATIONS[name].describe()
    assert decode(encode(described)) == described
    assert described["signature"].startswith(f"{name}(")


# what may be given


def test_given_arguments_are_bound_and_absent_ones_keep_their_default() -> None:
    assert OPERATIONS["search_facts"].bind({"query": "sister"}) == {"query": "sister"}
    assert OPERATIONS["search_facts"].bind({"query": "sister", "limit": 3}) == {"query": "sister", "limit": 3}
    assert OPERATIONS["nothing"].bind({}) == {}


def test_what_msgpack_has_no_type_for_is_read_from_what_it_travels_as() -> None:
    moment = datetime(2024, 6, 3, 12, 30, tzinfo=UTC)
    given = {"when": moment, "where": Path("a/b"), "mood": Mood.GLAD, "picture": b"\x00\xff", "ends": (1, "x"),
             "tags": frozenset({"one"})}
    assert OPERATIONS["remember"].bind(decode(encode(given))) == given


def test_models_are_built_from_maps() -> None:
    bound = OPERATIONS["add"].bind({"facts": [{"subject": "moon"}], "moods": ["calm"]})
    assert bound == {"facts": [Fact(subject="moon")], "moods": {Mood.CALM}}


def test_an_int_passes_for_a_float_and_nothing_else_is_converted() -> None:
    bound = OPERATIONS["rate"].bind({"score": 3})
    assert bound == {"score": 3.0}
    assert type(bound["score"]) is float


@pytest.mark.parametrize(("name", "values", "path"), [
    ("search_facts", {"query": 5}, "query"),
    ("search_facts", {"query": b"text"}, "query"),
    ("search_facts", {"query": "x", "limit": "5"}, "limit"),
    ("search_facts", {"query": "x", "limit": 5.0}, "limit"),
    ("search_facts", {"query": "x", "limit": True}, "limit"),
    ("search_facts", {"query": "x", "limit": None}, "limit"),
    ("rate", {"score": "1.5"}, "score"),
    ("rate", {"score": True}, "score"),
    ("rate", {"score": 1, "sure": 1}, "sure"),
    ("count", {"words": {"a": "1"}, "by_id": {}, "either": 1}, "words.a"),
])
def test_scalars_are_not_converted_in_silence(name: str, values: dict[str, Any], path: str) -> None:
    assert refused(name, values).details["path"] == path


def test_keys_of_maps_travel_as_text_and_a_union_keeps_the_type_given() -> None:
    bound = OPERATIONS["count"].bind({"words": {"a": 1}, "by_id": {"7": 1}, "either": "5"})
    assert bound == {"words": {"a": 1}, "by_id": {7: 1.0}, "either": "5"}


def test_a_wrong_type_names_argument_expectation_and_finding() -> None:
    message = refused("search_facts", {"query": "x", "limit": "ten"}).message
    assert message == ("search_facts: argument 'limit': expected int, found 'ten' (str): input should be a valid "
                       "integer; call search_facts(query: str, limit: int = 10)")


def test_a_missing_argument_is_named_with_its_type() -> None:
    error = refused("search_facts", {})
    assert "argument 'query' is missing, expected str" in error.message
    assert error.details["path"] == "query"


def test_an_unknown_argument_names_the_nearest_right_one() -> None:
    error = refused("search_facts", {"query": "x", "limt": 3})
    assert "there is no argument 'limt', did you mean 'limit'?" in error.message
    assert error.details["path"] == "limt"


def test_several_mistakes_are_told_at_once() -> None:
    message = refused("search_facts", {"qery": "x", "limit": "3"}).message
    assert "'query' is missing" in message
    assert "did you mean 'query'" in message
    assert "argument 'limit'" in message


def test_a_mistake_deep_inside_is_named_by_its_path() -> None:
    error = refused("add", {"facts": [{"subject": "moon"}, {"subject": "sun", "score": "high"}]})
    assert error.details["path"] == "facts[1].score"
    assert "'high' (str)" in error.message
    assert refused("add", {"facts": [{}]}).details["path"] == "facts[0].subject"
    assert refused("add", {"facts": [{"subject": "a", "colour": 1}]}).details["path"] == "facts[0].colour"


def test_the_members_of_a_union_are_not_part_of_the_path() -> None:
    error = refused("count", {"words": {}, "by_id": {}, "either": 1.5})
    assert error.details["path"] == "either"
    assert "expected int | str, found 1.5 (float)" in error.message


def test_bounds_and_choices_are_told() -> None:
    assert "less than or equal to 5" in refused("bounded", {"size": 9}).message
    assert "'a' or 'b'" in refused("bounded", {"size": 1, "mode": "c"}).message


def test_a_secret_is_not_shown() -> None:
    assert "hunter2" not in refused("login", {"password": ["hunter2"]}).message
    assert "secret" not in refused("login", {"password": 1, "tokn": "secret"}).message.replace("'tokn'", "")


@pytest.mark.parametrize("body", [None, 5, ["query"], "query"])
def test_arguments_that_are_no_map_are_refused(body: Any) -> None:
    error = refused("search_facts", body)
    assert "expected a map of arguments" in error.message
    assert error.details["path"] == "arguments"


def test_arrays_are_checked_by_kind() -> None:
    sound = np.zeros(4, dtype=np.float32)
    assert OPERATIONS["hear"].bind(decode(encode({"sound": sound})))["sound"].tolist() == sound.tolist()
    assert "array of float32, not of int64" in refused("hear", {"sound": np.zeros(4, dtype=np.int64)}).message
    assert "numpy array" in refused("hear", {"sound": [0.0]}).message


# what may come back


def test_a_result_travels_as_plain_values() -> None:
    body = OPERATIONS["search_facts"].encode_result(FactList(facts=[Fact(subject="moon", score=0.5)]))
    assert decode(body) == {"facts": [{"subject": "moon", "score": 0.5}]}
    assert decode(OPERATIONS["nothing"].encode_result(None)) is None
    assert decode(OPERATIONS["rate"].encode_result(np.float64(0.25))) == 0.25


@pytest.mark.parametrize(("name", "value", "told"), [
    ("rate", "high", "rate returned 'high' (str), expected float"),
    ("rate", None, "rate returned None, expected float"),
    ("nothing", 5, "nothing returned 5 (int), expected None"),
    ("count", [1, "2"], "count returned list[int] whose '[1]' is '2' (str)"),
    ("search_facts", {"facts": [{"subject": 5}]}, "search_facts returned FactList whose 'facts[0].subject' is 5 (int)"),
    ("search_facts", {"facts": [{}]}, "search_facts returned FactList without its field 'facts[0].subject'"),
    ("remember", {"x": object()}, "remember returned what may not travel: result.x holds builtins.object"),
])
def test_a_result_of_another_type_is_refused_by_name_and_field(name: str, value: Any, told: str) -> None:
    with pytest.raises(InvalidResult) as caught:
        OPERATIONS[name].encode_result(value)
    assert caught.value.message.startswith(told)


# what is yielded


class Writer(Agent):
    @operation
    async def write(self, prompt: str) -> AsyncIterator[Fact]:
        """Write facts one by one."""
        yield Fact(subject=prompt)

    @operation
    async def count(self) -> AsyncGenerator[int, None]:
        yield 1


def test_an_operation_that_yields_is_described_by_its_items() -> None:
    written, counted = compile_operations(Writer).values()
    told = written.describe()
    assert (told["stream"], told["returns"], told["result"]["title"]) == (True, "Fact", "Fact")
    assert (counted.streams, counted.sync, counted.describe()["returns"]) == (True, False, "int")
    assert not OPERATIONS["search_facts"].describe()["stream"]
    assert decode(written.encode_result(Fact(subject="moon", score=0.5))) == {"subject": "moon", "score": 0.5}
    with pytest.raises(InvalidResult, match=r"count yielded 'x' \(str\), expected int"):
        counted.encode_result("x")


# what may be declared


@pytest.mark.parametrize(("body", "problem"), [
    ("@operation\nasync def ask(self, query) -> None: ...", "parameter 'query' has no annotation"),
    ("@operation\nasync def ask(self, query: str): ...", "the result has no annotation"),
    ("@operation\nasync def ask(self, *queries: str) -> None: ...", "'queries' takes any number of arguments"),
    ("@operation\nasync def ask(self, **more: str) -> None: ...", "'more' takes any argument"),
    ("@operation\nasync def ask(self, query: str, /) -> None: ...", "'query' is positional-only"),
    ("@operation\nasync def ask(self) -> Any:\n    yield 1", "it yields"),
    ("@operation\ndef ask(self) -> Any:\n    yield 1", "it yields"),
    ("@operation\ndef ask(self) -> Iterator[int]:\n    yield 1", "no asynchronous operation"),
    ("@operation\nasync def ask(self) -> AsyncIterator:\n    yield 1", "it yields, and the result is AsyncIterator"),
    ("@operation\nasync def ask(self) -> list[int]:\n    yield 1", "it yields, and the result is list[int]"),
    ("@operation\nasync def ask(self) -> AsyncIterator[int]: ...", "is AsyncIterator[int], which is not one value"),
    ("@operation\nasync def ask(self) -> AsyncIterator[5]:\n    yield 1", "the result is declared as 5"),
    ("@operation\nasync def ask(self, query: 'Nowhere') -> None: ...", "names 'Nowhere', which the module does not"),
    ("@operation\nasync def ask(self, query: 5) -> None: ...", "parameter 'query' is declared as 5"),
    ("@operation\nasync def ask(self, lock: type(enum)) -> None: ...", "parameter 'lock' is declared as module"),
    ("@operation\nasync def ask(self) -> type(enum): ...", "the result is declared as module, which may not travel"),
    ("@operation\nasync def ask(self, limit: int = None) -> None: ...", "the default of parameter 'limit' is None"),
    ("@operation\nasync def _ask(self) -> None: ...", "'_ask' is no name for an operation"),
    ("@operation\nasync def Ask(self) -> None: ...", "'Ask' is no name for an operation"),
    ("@operation\nasync def request(self) -> None: ...", "'request' is taken: every agent has it"),
    ("@operation\nasync def stream(self) -> None: ...", "'stream' is taken: every agent has it"),
    ("@operation\nasync def save_state(self) -> None: ...", "'save_state' is taken by Agent.save_state"),
    ("@operation\nasync def config(self) -> None: ...", "'config' is taken by Agent.config"),
    ("@staticmethod\n@operation\nasync def ask(self) -> None: ...", "a staticmethod has no agent to run on"),
])
def test_what_cannot_be_called_is_refused_at_load(body: str, problem: str) -> None:
    message = load_error(body)
    assert problem in message
    assert "Broken." in message
    assert "declared:" in message
    assert "expected:" in message


def test_a_refusal_reads_like_the_class_it_is_about() -> None:
    class Broken(Agent):
        @operation
        async def ask(self, query, limit: int = 3) -> None: ...  # type: ignore[no-untyped-def]

    with pytest.raises(LoadError) as caught:
        compile_operations(Broken)
    lines = caught.value.message.splitlines()
    assert lines[0] == "Broken.ask: parameter 'query' has no annotation"
    assert lines[1] == "  declared: async def ask(self, query, limit: int = 3) -> None"
    assert lines[2] == "  expected: a type for every parameter, such as query: str"
    assert lines[3].startswith(f"  in: {__file__}:")
    assert caught.value.details["findings"][0]["file"] == __file__


def test_all_misfits_of_a_class_are_told_at_once() -> None:
    message = load_error("@operation\nasync def one(self, a) -> None: ...\n@operation\nasync def two(self): ...")
    assert "Broken.one" in message
    assert "Broken.two" in message


def test_helpers_of_other_base_classes_leave_their_names_free() -> None:
    class Free(Agent):
        @operation
        async def load(self) -> None: ...

        @operation
        async def get(self, start: int, self_test: bool = False) -> None: ...

        @operation
        async def start(self, service: str, host: str, timeout_s: float = 1.0) -> None: ...

    assert list(compile_operations(Free)) == ["load", "get", "start"]


def test_what_is_no_agent_may_offer_operations_of_any_name() -> None:
    class Control:
        @operation
        async def publish(self, topic: str) -> None: ...

    assert list(compile_operations(Control)) == ["publish"]


@pytest.mark.parametrize(("base", "name"), [(MLAgent, "load"), (MLAgent, "chat"), (DataAgent, "database")])
def test_helpers_of_the_own_base_class_are_taken(base: type[Agent], name: str) -> None:
    async def helper(self: Any) -> None: ...

    helper.__qualname__ = f"Broken.{name}"
    broken = type("Broken", (base,), {name: operation(helper)})
    with pytest.raises(LoadError, match=rf"'{name}' is taken by {base.__name__}\.{name}"):
        compile_operations(broken)


def test_operations_are_inherited_and_can_be_replaced_or_taken_away() -> None:
    class Child(Sample):
        rate = None  # type: ignore[assignment]

        @operation
        async def nothing(self, extra: int = 0) -> None: ...

    operations = compile_operations(Child)
    assert "rate" not in operations
    assert "search_facts" in operations
    assert operations["nothing"].bind({"extra": 1}) == {"extra": 1}


def test_an_operation_replaced_without_its_decorator_is_refused() -> None:
    class Child(Sample):
        async def nothing(self) -> None: ...

    with pytest.raises(LoadError, match="replaces the operation of Sample silently"):
        compile_operations(Child)


def test_an_operation_named_like_a_builtin_type_does_not_spoil_annotations() -> None:
    class Store(Agent):
        @operation
        async def list(self) -> list[str]:
            return []

        class Item(BaseModel):
            name: str

        @operation
        async def put(self, item: Item, names: list[str]) -> Item:  # type: ignore[valid-type]
            return item

    operations = compile_operations(Store)
    bound = operations["put"].bind({"item": {"name": "a"}, "names": ["b"]})
    assert bound == {"item": Store.Item(name="a"), "names": ["b"]}


def test_recursive_models_and_odd_argument_names_are_fine() -> None:
    class Store(Agent):
        @operation
        async def put(self, schema: Tree, model_id: str, copy: Tree, json: int = 1, values: str = "") -> Tree:
            return schema

    tree = {"name": "a", "below": [{"name": "b", "below": []}]}
    bound = compile_operations(Store)["put"].bind({"schema": tree, "copy": tree, "model_id": "m"})
    assert bound["schema"].below[0].name == "b"


class Tree(BaseModel):
    name: str
    below: list[Tree] = []
