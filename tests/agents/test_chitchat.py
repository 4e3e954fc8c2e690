"""Small talk by rules, and by a real HTTP server that speaks the OpenAI chat protocol."""

from __future__ import annotations

from typing import Any

import pytest
from agents_mainpc.chitchat import Chitchat, read_rules

from mesh import InvalidArgument
from mesh.testing import InMemoryMesh, in_mesh
from tests.openai_server import Fault, OpenAIServer


async def say(mesh: InMemoryMesh, text: str, user: str = "ann") -> dict[str, Any]:
    talk: dict[str, Any] = await mesh.request("chitchat.chitchat", text=text, user_id=user)
    return talk


@in_mesh
async def test_the_rules_answer_turn_words_round_and_do_not_repeat_themselves(mesh: InMemoryMesh) -> None:
    await mesh.add("chitchat", Chitchat)
    first, second = await say(mesh, "I am so lonely today."), await say(mesh, "I am so lonely today.")
    assert first["engine"] == "builtin"
    assert "lonely" in first["response"] and first["response"] != second["response"]
    assert "your red boat" in (await say(mesh, "I keep thinking of my red boat"))["response"]
    assert "you" in (await say(mesh, "I hate that my boss laughs at me"))["response"]
    assert (await say(mesh, "Kumusta po"))["response"].startswith("Kumusta")


@in_mesh
async def test_the_rules_pretend_nothing(mesh: InMemoryMesh) -> None:
    await mesh.add("chitchat", Chitchat)
    for question in ("Are you a human?", "How are you?", "do you love me?", "what's your favourite food?"):
        assert "program" in (await say(mesh, question))["response"]


def test_every_rule_has_replies_its_groups_can_fill() -> None:
    rules = read_rules()
    for pattern, replies in rules._rules:
        for reply in replies:
            assert reply.format(*["word"] * pattern.groups)


@in_mesh
async def test_empty_text_is_refused(mesh: InMemoryMesh) -> None:
    await mesh.add("chitchat", Chitchat)
    with pytest.raises(InvalidArgument, match="text is empty"):
        await say(mesh, "")


@in_mesh
async def test_a_server_gets_the_last_ten_turns_of_that_user_only(mesh: InMemoryMesh) -> None:
    with OpenAIServer(models=("small",)) as server:
        engine = {"base_url": server.base_url, "model": "small"}
        cell = await mesh.add("chitchat", Chitchat, settings={"engine": engine})
        assert cell.state == "ready", cell.lifecycle.reason
        await say(mesh, "from bob", user="bob")
        for number in range(7):
            talk = await say(mesh, f"line {number}")
        assert talk == {"response": "you said: line 6", "engine": "small"}
        told = [each["content"] for each in server.asked[-1].body["messages"]]
        assert len(told) == 1 + 10 + 1
        kept = [text for number in range(1, 6) for text in (f"line {number}", f"you said: line {number}")]
        assert told[1:] == [*kept, "line 6"]
        await mesh.request("chitchat.clear_history", user_id="ann")
        await say(mesh, "again")
        assert [each["role"] for each in server.asked[-1].body["messages"]] == ["system", "user"]
        await mesh.cell("chitchat").stop("the server goes")


@in_mesh
async def test_a_server_that_fails_is_reported_and_the_rules_answer_meanwhile(mesh: InMemoryMesh) -> None:
    with OpenAIServer(models=("small",)) as server:
        await mesh.add("chitchat", Chitchat, settings={"engine": {"base_url": server.base_url, "model": "small"}})
        cell = mesh.cell("chitchat")
        faults: tuple[Fault, ...] = ("hang up", "malformed")
        for fault in faults:
            server.fault = fault
            assert (await say(mesh, "hello"))["engine"] == "builtin"
            assert mesh.reports[-1].service == "chitchat"
            await cell.recheck()
            assert cell.state == "degraded" and server.base_url in cell.lifecycle.reason
        server.fault = None
        assert (await say(mesh, "hello"))["engine"] == "small"
        await cell.recheck()
        assert cell.state == "ready"
        await cell.stop("the server goes")
