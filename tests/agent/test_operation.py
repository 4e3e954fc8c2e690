"""Decorators leave the function as it is, attach a record, and refuse what cannot be right where it is written."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.agent import every, operation, subscribe
from mesh.agent.operation import OPERATION, SUBSCRIPTIONS, TIMER, OperationSpec, SubscriptionSpec, TimerSpec
from mesh.errors import LoadError


class Sample:
    @operation
    async def plain(self) -> int:
        return 1

    @operation(idempotent=True, max_body=100)
    async def tuned(self) -> int:
        return 2

    @subscribe("memory.*")
    @subscribe("cache.#")
    async def hear(self, payload: Any) -> None: ...

    @every(seconds=0.5)
    async def tick(self) -> None: ...


def record(function: Any, name: str) -> Any:
    return getattr(function, name)


def test_an_operation_carries_its_record_with_and_without_options() -> None:
    assert record(Sample.plain, OPERATION) == OperationSpec(idempotent=False, max_body=16 * 1024 * 1024)
    assert record(Sample.tuned, OPERATION) == OperationSpec(idempotent=True, max_body=100)


def test_patterns_add_up_in_the_order_they_are_written() -> None:
    assert record(Sample.hear, SUBSCRIPTIONS) == (SubscriptionSpec("memory.*"), SubscriptionSpec("cache.#"))


def test_a_timer_carries_its_seconds() -> None:
    assert record(Sample.tick, TIMER) == TimerSpec(0.5)


def test_records_are_frozen() -> None:
    with pytest.raises(AttributeError):
        record(Sample.plain, OPERATION).idempotent = True


@pytest.mark.parametrize("pattern", ["", "a..b", "A.b", "a.#.b", "a.b*", "a b"])
def test_a_pattern_of_bad_syntax_is_refused_with_the_right_form(pattern: str) -> None:
    with pytest.raises(LoadError) as caught:
        class Agent:
            @subscribe(pattern)
            async def hear(self, payload: Any) -> None: ...
    assert repr(pattern) in caught.value.message
    assert '@subscribe("interaction.completed")' in caught.value.message
    assert "Agent.hear" in caught.value.message


def test_subscribe_without_a_pattern_is_refused() -> None:
    bare: Any = subscribe
    with pytest.raises(LoadError, match="the topic pattern is missing"):
        bare(Sample.hear)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "5", True])
def test_a_timer_needs_a_time_above_zero(seconds: Any) -> None:
    with pytest.raises(LoadError, match=r"a number of seconds above 0, such as @every\(seconds=300\)"):
        class Agent:
            @every(seconds=seconds)
            async def tick(self) -> None: ...


@pytest.mark.parametrize("options", [{"max_body": 0}, {"max_body": 1.5}, {"max_body": 1 << 40}, {"idempotent": "yes"}])
def test_operation_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(LoadError, match=next(iter(options))):
        class Agent:
            @operation(**options)
            async def ask(self) -> None: ...


def test_a_function_outside_a_class_is_refused() -> None:
    async def ask(self: Any) -> None: ...

    with pytest.raises(LoadError, match="a function outside a class"):
        operation(ask)


def test_a_function_without_self_is_refused_with_its_place() -> None:
    with pytest.raises(LoadError, match="whose first parameter is not self") as caught:
        class Agent:
            @every(seconds=1)
            async def tick() -> None: ...  # type: ignore[misc]
    assert "test_operation.py:" in caught.value.message


@pytest.mark.parametrize("kind", [staticmethod, classmethod, property])
def test_what_is_no_plain_method_is_refused(kind: Any) -> None:
    with pytest.raises(LoadError, match=f"@operation on a {kind.__name__}"):
        class Agent:
            @operation
            @kind  # type: ignore[untyped-decorator]
            def ask(self) -> None: ...
