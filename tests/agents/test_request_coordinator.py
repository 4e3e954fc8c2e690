"""The way of a request from the front door to the answer, with the services around it faked."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from agents_mainpc.request_coordinator import RequestCoordinator
from agents_shared.messages import CONVERSATION

from mesh import Cancelled, InvalidArgument, Overloaded, PermissionDenied, Unavailable, Unreachable
from mesh.testing import FakePeer, InMemoryMesh, in_mesh
from mesh.testing.clock import settle
from tests.eventually import eventually


class Surroundings:
    """Fakes of everything the coordinator asks; `intent` and `entities` are what nlu answers next."""

    def __init__(self, mesh: InMemoryMesh) -> None:
        self.mesh = mesh
        self.intent = "recall"
        self.entities: dict[str, str] = {}
        self.known = True
        self.hits: list[dict[str, Any]] = []
        self.facts: list[dict[str, Any]] = []
        self.nlu = mesh.fake("nlu", analyze=self._analyse)
        self.memory = mesh.fake(
            "memory_client", add_memory={"memory_id": "mem-1"}, semantic_search=lambda **_: {"results": self.hits},
            forget_memory={"forgotten": ["the gate code is 99"]},
        )
        self.knowledge = mesh.fake("knowledge_base", search_facts=lambda **_: {"results": self.facts})
        self.sessions = mesh.fake(
            "session_memory", create_session={"session_id": "mem-s"}, add_interaction={"interaction_id": "mem-i"},
        )
        self.responder = mesh.fake("responder", generate_response=self._respond)
        self.chitchat = mesh.fake("chitchat", chitchat={"response": "Well met.", "engine": "tiny"})
        self.validator = mesh.fake("intention_validator", validate_command=None)

    def _analyse(self, text: str) -> dict[str, Any]:
        entities = [{"entity": name, "value": value, "confidence": 0.9} for name, value in self.entities.items()]
        return {"text": text, "normalised": text, "intent": self.intent, "confidence": 0.9, "entities": entities}

    def _respond(self, **asked: Any) -> dict[str, Any]:
        text = asked["draft"] or "; ".join(each["content"] for each in asked["memories"])
        return {"text": text, "engine": "builtin", "known": self.known}

    async def ask(self, text: str, **more: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self.mesh.request("request_coordinator.submit_text", data=text, **more)
        return answer

    def asked(self, fake: FakePeer, operation: str) -> dict[str, Any]:
        (call,) = fake.calls_of(operation)
        return call


async def surrounded(mesh: InMemoryMesh, **settings: Any) -> Surroundings:
    around = Surroundings(mesh)
    cell = await mesh.add("request_coordinator", RequestCoordinator, settings=settings)
    assert cell.state == "ready", cell.lifecycle.reason
    return around


def hit(content: str, memory_type: str = "general") -> dict[str, Any]:
    return {"memory_id": content, "content": content, "memory_type": memory_type}


@in_mesh
async def test_a_question_is_answered_from_the_users_memories_and_common_facts(mesh: InMemoryMesh) -> None:
    around = await surrounded(mesh)
    around.entities = {"query": "when is tea"}
    around.hits, around.facts = [hit("tea is at five")], [hit("tea is a drink"), hit("tea is at five")]
    answer = await around.ask("Do you know when tea is?", user_id="ann", session_id="mem-s")
    assert answer == {
        "answer": "tea is at five; tea is a drink", "intent": "recall", "engine": "builtin", "session_id": "mem-s",
    }
    searched = around.asked(around.memory, "semantic_search")
    assert (searched["query"], searched["user_id"]) == ("when is tea", "ann")
    assert searched["filters"]["exclude_types"] == list(CONVERSATION)


@in_mesh
async def test_a_fact_is_stored_for_its_user_before_it_is_confirmed(mesh: InMemoryMesh) -> None:
    around = await surrounded(mesh)
    around.intent, around.entities = "remember", {"content": "tea is at five"}
    assert (await around.ask("Remember that tea is at five", user_id="ann"))["answer"] == "tea is at five"
    stored = around.asked(around.memory, "add_memory")
    assert (stored["content"], stored["user_id"], stored["memory_tier"]) == ("tea is at five", "ann", "long")
    assert around.asked(around.responder, "generate_response")["memories"][0]["memory_id"] == "mem-1"


@in_mesh
async def test_something_is_forgotten_and_the_answer_says_what(mesh: InMemoryMesh) -> None:
    around = await surrounded(mesh)
    around.intent, around.entities = "forget", {"content": "gate code"}
    assert "the gate code is 99" in (await around.ask("forget the gate code", user_id="ann"))["answer"]
    assert around.asked(around.memory, "forget_memory") == {"content": "gate code", "user_id": "ann"}


@in_mesh
async def test_small_talk_goes_to_chitchat_and_its_engine_is_told(mesh: InMemoryMesh) -> None:
    around = await surrounded(mesh)
    around.intent = "greeting"
    answer = await around.ask("hello", user_id="ann")
    assert (answer["answer"], answer["engine"]) == ("Well met.", "tiny")
    assert around.asked(around.chitchat, "chitchat") == {"text": "hello", "user_id": "ann"}


@in_mesh
async def test_sums_time_and_date_are_answered_at_once(mesh: InMemoryMesh) -> None:
    around = await surrounded(mesh)
    around.intent, around.entities = "calculate", {"expression": "6 * 7"}
    assert (await around.ask("what is 6 * 7"))["answer"] == "6 * 7 = 42"
    around.intent, around.entities = "time", {"place": "Narnia"}
    assert "Narnia" in (await around.ask("what time is it in Narnia"))["answer"]
    around.intent, around.entities = "date", {}
    assert (await around.ask("what day is it"))["answer"].startswith("Today is ")


@in_mesh
async def test_a_command_is_judged_first_and_a_refusal_gives_the_reason(mesh: InMemoryMesh) -> None:
    around = await surrounded(mesh)
    around.intent = "command"
    around.entities = {"command_name": "delete_file", "file_path": "a.txt"}
    assert "nothing was done" in (await around.ask("delete a.txt", user_id="ann"))["answer"]
    assert around.asked(around.validator, "validate_command") == {
        "command": "delete_file", "parameters": {"file_path": "a.txt"}, "user_id": "ann", "profile": "standard",
    }
    refusal = PermissionDenied("delete_file is refused: its risk is 3", rule="risk")
    around.validator.operations["validate_command"] = refusal
    assert "its risk is 3" in (await around.ask("delete a.txt", user_id="ann"))["answer"]


@in_mesh
async def test_what_is_not_offered_is_said_and_nothing_is_pretended(mesh: InMemoryMesh) -> None:
    around = await surrounded(mesh)
    for intent in ("weather", "reminder", "timer", "alarm", "vision", "play_music", "search", "summarize"):
        around.intent = intent
        assert re.search(r"\b(?:cannot|no)\b", (await around.ask("please"))["answer"])
    around.intent = "unknown"
    assert "not sure" in (await around.ask("blorp"))["answer"]


@in_mesh
async def test_both_turns_are_written_and_the_interaction_is_told(mesh: InMemoryMesh) -> None:
    around = await surrounded(mesh)
    around.hits = [hit("tea is at five")]
    await around.ask("when is tea?", user_id="ann", session_id="mem-s", context={"room": "hall"})
    await eventually(lambda: len(around.sessions.calls_of("add_interaction")) == 2)
    written = around.sessions.calls_of("add_interaction")
    said = [(each["role"], each["content"]) for each in written]
    assert said == [("user", "when is tea?"), ("assistant", "tea is at five")]
    assert written[0]["metadata"] == {"intent": "recall", "context": {"room": "hall"}}
    (event,) = mesh.events_on("interaction.completed")
    assert (event.payload["user_input"], event.payload["assistant_response"]) == ("when is tea?", "tea is at five")


@in_mesh
async def test_without_a_session_one_is_opened_and_its_id_returned(mesh: InMemoryMesh) -> None:
    around = await surrounded(mesh)
    assert (await around.ask("when is tea?", user_id="ann"))["session_id"] == "mem-s"
    assert around.asked(around.sessions, "create_session")["user_id"] == "ann"


@in_mesh
async def test_a_conversation_named_by_its_terminal_has_one_session_also_after_a_restart(mesh: InMemoryMesh) -> None:
    around = await surrounded(mesh)

    def add(session_id: str, **_: Any) -> dict[str, str]:
        if session_id != "mem-s":
            raise InvalidArgument(f"there is no session {session_id!r}", path="session_id")
        return {"interaction_id": "mem-i"}

    around.sessions.operations["add_interaction"] = add
    for restart in (False, True):
        if restart:
            await mesh.restart("request_coordinator")
        answers = await asyncio.gather(*(around.ask("when is tea?", session_id="pts-3") for _ in range(3)))
        assert {each["session_id"] for each in answers} == {"pts-3"}
    await mesh.cell("request_coordinator").stop("the test looks at what was written")
    assert len(around.sessions.calls_of("create_session")) == 1
    assert len([each for each in around.sessions.calls_of("add_interaction") if each["session_id"] == "mem-s"]) == 12
    assert mesh.reports == []


@in_mesh
async def test_a_turn_that_cannot_be_written_is_reported_and_the_answer_stands(mesh: InMemoryMesh) -> None:
    around = await surrounded(mesh)
    around.sessions.operations["add_interaction"] = Unavailable("session_memory is draining", retry_after=1.0)
    around.intent = "greeting"
    assert (await around.ask("hello", session_id="mem-s"))["answer"] == "Well met."
    await eventually(lambda: [each for each in mesh.reports if each.service == "request_coordinator"])
    assert mesh.reports[0].context["lost"] == "a turn of this conversation"


@in_mesh
async def test_with_the_memory_host_gone_recall_and_remember_fail_naming_it_and_small_talk_goes_on(
    mesh: InMemoryMesh,
) -> None:
    around = await surrounded(mesh)
    for error in (Unreachable("memory_orchestrator.semantic_search: pc2 cannot be reached", began="no"),
                  Unavailable("memory_orchestrator.semantic_search: pc2 is dead", retry_after=1.0)):
        for fake, operation in (
            (around.memory, "semantic_search"), (around.memory, "add_memory"), (around.sessions, "create_session"),
            (around.sessions, "add_interaction"), (around.knowledge, "search_facts"),
        ):
            fake.operations[operation] = error
        for around.intent in ("recall", "remember"):
            with pytest.raises(type(error), match="pc2"):
                await around.ask("when is tea?", user_id="ann")
        around.intent = "greeting"
        answer = await around.ask("hello", user_id="ann")
        assert answer["answer"] == "Well met." and answer["session_id"]
    assert mesh.events_on("interaction.completed")


@in_mesh
async def test_a_knowledge_base_that_is_away_is_reported_and_memories_still_answer(mesh: InMemoryMesh) -> None:
    around = await surrounded(mesh)
    around.hits = [hit("tea is at five")]
    around.knowledge.operations["search_facts"] = Unavailable("knowledge_base is stopped", retry_after=1.0)
    assert (await around.ask("when is tea?"))["answer"] == "tea is at five"
    assert [each.message for each in mesh.reports] == ["knowledge_base is stopped"]


@in_mesh
async def test_a_full_queue_is_shown_and_refuses_and_an_interruption_empties_it(mesh: InMemoryMesh) -> None:
    around = await surrounded(mesh, queue=2, turns=1)
    go = asyncio.Event()

    async def slow(**_: Any) -> dict[str, Any]:
        await go.wait()
        return {"results": []}

    around.memory.operations["semantic_search"] = slow
    running = asyncio.create_task(around.ask("one?", user_id="ann"))
    await eventually(lambda: around.memory.calls)
    waiting = [asyncio.create_task(around.ask("two?", user_id="ann", metadata={"urgency": urgency}))
               for urgency in ("low", "critical")]

    async def queue() -> list[dict[str, Any]]:
        status: dict[str, Any] = await mesh.request("request_coordinator.get_queue_status")
        return list(status["queue"])

    await settle()
    assert [(each["task_type"], each["priority"]) for each in await queue()] == [("text", 1), ("text", 3)]
    with pytest.raises(Overloaded, match="2 requests wait"):
        await around.ask("three?", user_id="ann")
    await mesh.publish("speech.interrupt", {"reason": "stop"})
    for dropped in waiting:
        with pytest.raises(Cancelled):
            await dropped
    assert await queue() == []
    go.set()
    assert (await running)["intent"] == "recall"


@in_mesh
async def test_a_question_left_open_comes_up_once_the_user_is_quiet(mesh: InMemoryMesh) -> None:
    around = await surrounded(mesh)
    around.known = False

    async def hint(user: str) -> str | None:
        found: dict[str, str | None] = await mesh.request("request_coordinator.get_suggestion", user_id=user)
        return found["suggestion"]

    await around.ask("when is tea?", user_id="ann")
    await mesh.clock.advance(240)
    assert await hint("ann") is None
    await mesh.clock.advance(120)
    assert await hint("bob") is None
    assert "when is tea?" in (await hint("ann") or "")
    assert await hint("ann") is None


@in_mesh
async def test_bad_arguments_are_refused_with_what_to_do(mesh: InMemoryMesh) -> None:
    around = await surrounded(mesh)
    with pytest.raises(InvalidArgument, match="data is empty"):
        await around.ask(" ")
    with pytest.raises(InvalidArgument, match="urgency"):
        await around.ask("hello", metadata={"urgency": "yesterday"})
