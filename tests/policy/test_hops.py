"""A call never enters an operation that already waits for it, and chains of calls end."""

from __future__ import annotations

import pytest

from mesh.errors import CallCycle
from mesh.message import Reply, Request, encode, replied
from mesh.policy.hops import hops
from tests.policy.calls import ask, code, on_a_loop


async def answer(request: Request) -> Reply:
    """Answer with the path that came."""
    return Reply(encode(list(request.path)))


def path(length: int) -> tuple[str, ...]:
    return tuple(f"service{number}.do" for number in range(length))


@on_a_loop
async def test_a_circle_is_refused_with_its_whole_path() -> None:
    reply = await replied(hops(answer)(ask(target="kb.find", path=("nlu.parse", "kb.find", "memory.recall"))))
    assert isinstance(reply.error, CallCycle)
    assert reply.error.message == "a circle of calls: nlu.parse → kb.find → memory.recall → kb.find"
    assert reply.error.details == {"path": ["nlu.parse", "kb.find", "memory.recall", "kb.find"]}


@on_a_loop
async def test_an_operation_that_calls_itself_is_a_circle() -> None:
    assert code(await replied(hops(answer)(ask(target="kb.find", path=("kb.find",))))) == "call_cycle"


@on_a_loop
async def test_another_operation_of_a_waiting_service_is_fine() -> None:
    reply = await replied(hops(answer)(ask(target="kb.add", path=("kb.find", "nlu.parse"))))
    assert reply.value() == ["kb.find", "nlu.parse"]


@pytest.mark.parametrize(("length", "allowed"), [(0, True), (1, True), (15, True), (16, False), (17, False)])
@on_a_loop
async def test_sixteen_calls_deep_and_no_more(length: int, allowed: bool) -> None:
    reply = await replied(hops(answer)(ask(target="kb.find", path=path(length))))
    assert code(reply) == ("" if allowed else "call_cycle")
    if not allowed:
        assert reply.error is not None
        assert reply.error.message.startswith("more than 16 calls deep: service0.do → ")
        assert reply.error.details == {"path": [*path(length), "kb.find"]}
