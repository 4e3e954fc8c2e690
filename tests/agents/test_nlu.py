"""What a sentence wants, on sentences and invented facts that the code has never seen."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from agents_mainpc.intent_classifier import train
from agents_mainpc.nlu import Nlu, read_examples, read_patterns, trained

from mesh import InvalidArgument
from mesh.testing import InMemoryMesh, in_mesh
from tests.agents.utterances import HELD_OUT, invented_facts

EXPECTED = 0.9


async def analyse(mesh: InMemoryMesh, text: str) -> dict[str, Any]:
    result: dict[str, Any] = await mesh.request("nlu.analyze", text=text)
    return result


async def details(mesh: InMemoryMesh, text: str) -> dict[str, str]:
    return {each["entity"]: each["value"] for each in (await analyse(mesh, text))["entities"]}


def share_right(guess: Callable[[str], str]) -> float:
    """Return how much of the held-out sentences `guess` gets right."""
    told = [guess(text) == intent for intent, texts in HELD_OUT.items() for text in texts]
    return sum(told) / len(told)


def test_held_out_sentences_are_not_among_the_examples() -> None:
    known = {line.lower() for lines in read_examples().values() for line in lines}
    asked = [text.lower().rstrip(".?!") for texts in HELD_OUT.values() for text in texts]
    assert len([text for text in asked if text in known]) <= len(asked) // 20  # "what do you see" is what one says


@in_mesh
async def test_most_held_out_sentences_get_their_intent(mesh: InMemoryMesh) -> None:
    await mesh.add("nlu", Nlu)
    answers = {text: (await analyse(mesh, text))["intent"] for texts in HELD_OUT.values() for text in texts}
    right = share_right(answers.__getitem__)
    print(f"held-out accuracy of nlu: {right:.3f} of {len(answers)}")
    assert right >= EXPECTED


def test_the_classifier_alone_beats_one_that_learned_from_shuffled_labels() -> None:
    examples, grammar = read_examples(), read_patterns().grammar
    lines = [line for group in examples.values() for line in group]
    random.Random(5).shuffle(lines)
    shuffled, start = {}, 0
    for intent, group in examples.items():
        shuffled[intent] = lines[start:start + len(group)]
        start += len(group)

    def right(learned: dict[str, list[str]]) -> float:
        classifier = trained(grammar, learned)
        return share_right(lambda text: classifier.predict(grammar.read(text).core).label)

    honest, control = right(examples), right(shuffled)
    print(f"held-out accuracy of the classifier alone: {honest:.3f}, with shuffled labels: {control:.3f}")
    assert honest >= 0.7
    assert control <= 0.25


@in_mesh
async def test_invented_facts_are_told_apart_from_questions_about_them(mesh: InMemoryMesh) -> None:
    await mesh.add("nlu", Nlu)
    facts = invented_facts(120, seed=random.randrange(10**6))
    wrong: list[str] = []
    for fact in facts:
        found = await analyse(mesh, fact.told)
        content = [each["value"] for each in found["entities"] if each["entity"] == "content"]
        if found["intent"] != "remember" or content[0].lower() != fact.content.lower():
            wrong.append(fact.told)
        wrong += [text for text in fact.questions if (await analyse(mesh, text))["intent"] != "recall"]
    assert len(wrong) <= 0.02 * 3 * len(facts), wrong


@in_mesh
async def test_the_fact_is_cut_out_of_the_sentence_as_it_was_written(mesh: InMemoryMesh) -> None:
    await mesh.add("nlu", Nlu)
    for text, content in (
        ("Remember that my sister's birthday is on June 3", "my sister's birthday is on June 3"),
        ("Hey assistant, could you please remember that Anna has a cat?", "Anna has a cat"),
        ("Please note that the gate code is 4471.", "the gate code is 4471"),
        ("don\u2019t forget: Otto is allergic to nuts!", "Otto is allergic to nuts"),
        ("My sister lives in Cebu.", "My sister lives in Cebu"),
        ("Tandaan mo na ang susi ay nasa drawer", "ang susi ay nasa drawer"),
        ("The boiler is from 1998, remember that", "The boiler is from 1998"),
        ("remembr that Anna has a cat", "Anna has a cat"),
    ):
        found = await analyse(mesh, text)
        assert (found["intent"], found["text"]) == ("remember", text)
        assert [each["value"] for each in found["entities"]] == [content]


@in_mesh
async def test_the_question_is_given_in_full_however_it_was_asked(mesh: InMemoryMesh) -> None:
    await mesh.add("nlu", Nlu)
    for text, query in (
        ("When was Otto born?", "When was Otto born"),
        ("Could you tell me when Otto was born, please?", "when Otto was born"),
        ("tell me my locker number", "what is my locker number"),
        ("Do you remember Otto's shoe size?", "what is Otto's shoe size"),
        ("Tell me about Otto", "what do you know about Otto"),
        ("What did I say about the boiler?", "what do you know about the boiler"),
    ):
        found = await analyse(mesh, text)
        assert (found["intent"], found["entities"][0]["entity"]) == ("recall", "query")
        assert found["entities"][0]["value"] == query


@in_mesh
async def test_words_inside_longer_words_decide_nothing(mesh: InMemoryMesh) -> None:
    await mesh.add("nlu", Nlu)
    assert (await analyse(mesh, "Which whisky does Chip like?"))["intent"] == "recall"  # hi, help, find inside
    assert (await analyse(mesh, "What time does the ferry leave?"))["intent"] == "recall"  # not the clock
    assert (await analyse(mesh, "What is the date of Mira's wedding?"))["intent"] == "recall"  # not today's date


@in_mesh
async def test_confidence_stays_between_none_and_nine_tenths(mesh: InMemoryMesh) -> None:
    await mesh.add("nlu", Nlu)
    assert (await analyse(mesh, "hello"))["confidence"] == 0.9
    assert 0.3 < (await analyse(mesh, "well, could you please tell me the time?"))["confidence"] < 0.9
    unknown = await analyse(mesh, "zzkrt brrp qlm")
    assert (unknown["intent"], unknown["confidence"], unknown["entities"]) == ("unknown", 0.3, [])


@in_mesh
async def test_a_reminder_yields_its_time_and_what_to_do(mesh: InMemoryMesh) -> None:
    mesh.clock._wall = datetime(2030, 5, 1, 12, 0).astimezone().timestamp()
    await mesh.add("nlu", Nlu)
    for text, content, when in (
        ("remind me to call mom tomorrow at 9", "call mom", "2030-05-02T09:00:00"),
        ("remind me in ten minutes to check the oven", "check the oven", "2030-05-01T12:10:00"),
        ("remind mo ako bukas ng alas sais na tumawag kay Jun", "tumawag kay Jun", "2030-05-02T06:00:00"),
        ("Set a reminder for the dentist on Friday at half past two", "the dentist", "2030-05-03T02:30:00"),
    ):
        found = await details(mesh, text)
        assert found["content"] == content
        assert found["time"].startswith(when)
    assert (await details(mesh, "wake me up at 6:15"))["time"].startswith("2030-05-02T06:15:00")


@in_mesh
async def test_other_details_are_cut_out_too(mesh: InMemoryMesh) -> None:
    await mesh.add("nlu", Nlu)
    assert await details(mesh, "set a timer for 10 minutes") == {"duration": "10 minutes"}
    deletion = {"command_name": "delete_file", "file_path": "report.txt"}
    assert await details(mesh, "delete the file report.txt") == deletion
    assert await details(mesh, "what is 12 * (3 + 4)?") == {"expression": "12 * (3 + 4)"}
    assert await details(mesh, "Do you know when Otto was born?") == {"query": "when Otto was born"}
    assert await details(mesh, "what time is it in Tokyo?") == {"place": "Tokyo"}


@in_mesh
async def test_empty_text_is_refused_with_a_reason(mesh: InMemoryMesh) -> None:
    await mesh.add("nlu", Nlu)
    with pytest.raises(InvalidArgument, match="at least one word"):
        await analyse(mesh, "  ")


@in_mesh
async def test_every_intent_it_lists_can_be_found_and_unknown_is_one(mesh: InMemoryMesh) -> None:
    await mesh.add("nlu", Nlu)
    intents = (await mesh.request("nlu.list_intents"))["intents"]
    assert set(intents) == {*HELD_OUT, "unknown"} == {*read_examples(), "unknown"}


@in_mesh
async def test_without_its_libraries_patterns_still_answer_and_it_says_what_to_install(
    mesh: InMemoryMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "rapidfuzz" else there(name))
    cell = await mesh.add("nlu", Nlu)
    assert cell.state == "degraded"
    assert "pip install 'mesh[nlp]'" in cell.lifecycle.reason
    assert (await analyse(mesh, "hello there"))["intent"] == "greeting"
    assert (await analyse(mesh, "Would Hedwig enjoy gravel?"))["intent"] == "recall"


def test_the_same_examples_give_the_same_classifier() -> None:
    examples = {"a": ["red apple", "green apple"], "b": ["fast car", "slow car"]}
    assert train(examples).predict("apple pie") == train(examples).predict("apple pie")
