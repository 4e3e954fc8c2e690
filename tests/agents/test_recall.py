"""Recall as a user sees it, told and asked in words, through every agent on the way; a short form of the benchmark."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from benchmarks.recall import InProcess, Outcome, in_process
from benchmarks.recall_facts import Writer, phrasings
from mesh import Unreachable
from mesh.testing import InMemoryMesh, in_mesh

Said = Callable[[str, str], str]


@pytest.mark.parametrize(("name", "least_right"), [("first", 0.95), ("tuned", 0.9), ("held_out", 0.85)])
def test_most_is_recalled_almost_nothing_is_invented_and_nothing_leaks(name: str, least_right: float) -> None:
    outcome: Outcome = asyncio.run(in_process(name, seed=7, facts=40, distractors=300, unknown=24))
    assert outcome.share("right") >= least_right, outcome.wrong
    assert outcome.share("wrong") <= 0.03, outcome.wrong
    assert outcome.share("invented") <= 0.05, outcome.wrong
    assert outcome.counts["leaked"] == 0, outcome.wrong
    assert outcome.control <= 0.1 * outcome.known
    assert outcome.words < 0.7 * outcome.counts["right"]


def test_a_world_follows_from_its_seed() -> None:
    first, again, other = (Writer(seed, phrasings("first")).world(("ann", "bob"), 20, 40, 6) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@in_mesh
async def test_the_newest_word_counts(mesh: InMemoryMesh) -> None:
    home = InProcess(mesh)
    await home.start()
    await home.say("ann", "Remember that my sister's birthday is on June 3")
    assert "June 3" in await home.say("ann", "When is my sister's birthday?")
    await home.say("ann", "Remember that my sister's birthday is on June 4 now")
    answer = await home.say("ann", "When was my sister born?")
    assert "June 4" in answer
    assert "June 3" not in answer


@in_mesh
async def test_what_is_forgotten_is_not_known(mesh: InMemoryMesh) -> None:
    home = InProcess(mesh)
    await home.start()
    await home.say("ann", "Remember that my sister's birthday is on June 3")
    await home.say("ann", "Forget my sister's birthday")
    assert "don't know" in await home.say("ann", "When is my sister's birthday?")


@in_mesh
async def test_facts_of_the_knowledge_base_answer_everybody(mesh: InMemoryMesh) -> None:
    home = InProcess(mesh)
    await home.start()
    await mesh.request(
        "knowledge_base.add_fact", topic="Brastov engine", content="The Brastov engine weighs 340 kilos."
    )
    for user in ("ann", "bob"):
        assert "340" in await home.say(user, "How heavy is the Brastov engine?")


@in_mesh
async def test_of_a_long_text_only_the_sentence_that_answers_is_said(mesh: InMemoryMesh) -> None:
    home = InProcess(mesh)
    await home.start()
    text = (
        "The Brastov engine was built in 1931. It was painted twice and shown at three fairs along the coast. "
        "The Brastov engine weighs 340 kilos. Its inventor never saw it run, which annoyed him to the end."
    )
    await mesh.request("knowledge_base.add_fact", topic="engine", content=text)
    assert await home.say("ann", "What does the Brastov engine weigh?") == "The Brastov engine weighs 340 kilos."


@in_mesh
async def test_without_the_other_host_the_answer_fails_and_names_it(mesh: InMemoryMesh) -> None:
    home = InProcess(mesh)
    await home.start()
    mesh.cut("pc2")
    with pytest.raises(Unreachable, match="pc2"):
        await home.say("ann", "When is my sister's birthday?")
