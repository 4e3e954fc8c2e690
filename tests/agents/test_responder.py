"""The reply: from memories that answer, else the draft, else not knowing; worded by a server when one is configured."""

from __future__ import annotations

from typing import Any

import pytest
from agents_mainpc.perspective import clause, sentence

from mesh import InvalidArgument
from mesh.testing import InMemoryMesh, in_mesh
from tests.openai_server import OpenAIServer

RESPONDER = "agents/mainpc/responder.py:Responder"


def hit(content: str, *, answers: bool = True, **more: Any) -> dict[str, Any]:
    return {"content": content, "score": 0.9, "evidence": {"answers": answers}, **more}


async def reply(mesh: InMemoryMesh, text: str, **arguments: Any) -> dict[str, Any]:
    return dict(await mesh.request("responder.generate_response", text=text, user="ann", **arguments))


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("my sister's birthday is on June 3", "Your sister's birthday is on June 3."),
        ("that I am allergic to Walnuts", "You are allergic to Walnuts."),
        ("I was born in Farnham and I'm proud of it!", "You were born in Farnham and you're proud of it!"),
        ("Anna gave me her boat; it is mine", "Anna gave you her boat; it is yours."),
        ("Mina is our neighbour", "Mina is your neighbour."),
        ("your name is Jarvis", "My name is Jarvis."),
        ("the US office is in Oslo", "The US office is in Oslo."),
    ],
)
def test_speaks_to_the_person_who_told(told: str, said: str) -> None:
    assert sentence(told) == said


def test_a_clause_begins_small_but_for_names() -> None:
    assert clause("My sister lives in Oslo.") == "your sister lives in Oslo"
    assert clause("Mirel lives in Oslo") == "Mirel lives in Oslo"


@in_mesh
async def test_repeats_what_answers_and_nothing_else(mesh: InMemoryMesh) -> None:
    await mesh.add("responder", RESPONDER)
    memories = [
        hit("my sister's birthday is on June 3"),
        hit("my sister lives in Farnham", answers=False),
        hit("When is my sister's birthday?", memory_type="interaction"),
    ]
    said = await reply(mesh, "When is my sister's birthday?", intent="recall", memories=memories)
    assert said == {"text": "Your sister's birthday is on June 3.", "engine": "builtin", "known": True}


@in_mesh
async def test_does_not_know_what_nobody_told(mesh: InMemoryMesh) -> None:
    await mesh.add("responder", RESPONDER)
    said = await reply(
        mesh,
        "When is my sister's birthday?",
        intent="recall",
        memories=[hit("my sister lives in Farnham", answers=False)],
    )
    assert said["known"] is False
    assert "don't know" in said["text"]
    assert "Farnham" not in said["text"]


@in_mesh
async def test_acknowledges_what_was_told(mesh: InMemoryMesh) -> None:
    await mesh.add("responder", RESPONDER)
    said = await reply(
        mesh, "Remember that my locker is 12", intent="remember", memories=[{"content": "my locker is 12"}]
    )
    assert said["text"] == "I will remember: your locker is 12."


@in_mesh
async def test_hands_on_a_draft(mesh: InMemoryMesh) -> None:
    await mesh.add("responder", RESPONDER)
    assert (await reply(mesh, "Hello", intent="greeting", draft="Good morning!"))["text"] == "Good morning!"
    with pytest.raises(InvalidArgument):
        await reply(mesh, "  ")


@in_mesh
async def test_a_configured_server_words_the_answer_from_the_same_memories(mesh: InMemoryMesh) -> None:
    with OpenAIServer(reply=lambda messages: "On the third of June.") as server:
        await mesh.add("responder", RESPONDER, settings={"engine": {"base_url": server.base_url, "model": "small"}})
        said = await reply(
            mesh, "When is my sister's birthday?", intent="recall", memories=[hit("my sister's birthday is on June 3")]
        )
        assert said == {"text": "On the third of June.", "engine": "small", "known": True}
        sent = server.asked[0].body["messages"]
        assert "my sister's birthday is on June 3" in sent[0]["content"]
        assert sent[-1]["content"] == "When is my sister's birthday?"
        assert (await reply(mesh, "Hello", intent="greeting", draft="Good morning!"))["engine"] == "builtin"


@in_mesh
async def test_the_built_in_engine_answers_when_the_server_fails(mesh: InMemoryMesh) -> None:
    with OpenAIServer() as server:
        server.fault = "hang up"
        await mesh.add("responder", RESPONDER, settings={"engine": {"base_url": server.base_url, "model": "small"}})
        said = await reply(mesh, "When is it?", intent="recall", memories=[hit("the fair is on June 3")])
        assert said == {"text": "The fair is on June 3.", "engine": "builtin", "known": True}
        assert any(report.severity == "warning" for report in mesh.reports)
