"""A peer reads like an object whose methods are the operations of another service."""

from __future__ import annotations

import asyncio
import copy
from pathlib import Path

import pytest

from mesh.agent import Caller, CallOptions
from tests.agent.surroundings import surroundings


def test_a_method_of_a_peer_is_a_request(tmp_path: Path) -> None:
    context = surroundings(tmp_path, answers={"memory_client.add_memory": 7})
    peer = Caller(context, CallOptions()).peer("memory_client")
    assert asyncio.run(peer.add_memory(content="x", timeout=2.0)) == 7
    assert context.requests == [("memory_client.add_memory", {"content": "x"}, 2.0, CallOptions())]


def test_an_argument_without_a_name_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    context = surroundings(tmp_path)
    peer = Caller(context, CallOptions()).peer("memory_client")
    with pytest.raises(TypeError, match=r"memory_client.add_memory takes keyword arguments only, found 2 without a "
                                        r"name; write add_memory\(name=value\)"):
        asyncio.run(peer.add_memory("x", 5))
    assert context.requests == []


def test_a_method_of_a_peer_can_be_streamed(tmp_path: Path) -> None:
    context = surroundings(tmp_path, answers={"llm.generate": "word"})
    caller = Caller(context, CallOptions(to_host="pc2"))

    async def read() -> list[str]:
        items = [item async for item in caller.peer("llm").generate.stream(prompt="x", timeout=2.0)]
        return items + [item async for item in caller.stream("llm.generate")]

    assert asyncio.run(read()) == ["word", "word"]
    assert context.requests == [("llm.generate", {"prompt": "x"}, 2.0, CallOptions(to_host="pc2")),
                                ("llm.generate", {}, None, CallOptions(to_host="pc2"))]
    with pytest.raises(TypeError, match=r"llm.generate takes keyword arguments only, found 1 without a name"):
        caller.peer("llm").generate.stream("x")


def test_a_peer_has_no_private_operations(tmp_path: Path) -> None:
    peer = Caller(surroundings(tmp_path), CallOptions()).peer("memory_client")
    with pytest.raises(AttributeError):
        _ = peer._secret
    assert repr(copy.copy(peer)) == "Peer('memory_client')"


def test_a_caller_is_frozen(tmp_path: Path) -> None:
    caller = Caller(surroundings(tmp_path), CallOptions())
    with pytest.raises(AttributeError):
        caller.options = CallOptions(to_host="pc2")  # type: ignore[misc]
