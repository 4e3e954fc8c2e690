"""The rolling window: what matters stays, order is the spoken one, restarts lose nothing."""

from __future__ import annotations

from typing import Any

import pytest

from mesh import InvalidArgument
from mesh.testing import InMemoryMesh, in_mesh

CONTEXT = "agents/pc2/context_manager.py:ContextManager"


async def say(mesh: InMemoryMesh, text: str, speaker: str | None = "ann") -> float:
    return float((await mesh.request("context_manager.add_to_context", text=text, speaker=speaker))["importance"])


async def texts(mesh: InMemoryMesh, **arguments: Any) -> list[str]:
    return [item["text"] for item in (await mesh.request("context_manager.get_context", **arguments))["context"]]


@in_mesh
async def test_cues_questions_requests_and_length_raise_the_importance(mesh: InMemoryMesh) -> None:
    await mesh.add("context_manager", CONTEXT)
    assert await say(mesh, "The train was late.") == 0.5
    assert await say(mesh, "Remember the milk") == 0.7
    assert await say(mesh, "Huwag kalimutan ang gatas") == 0.7
    assert await say(mesh, "Could you please come?") == 0.7
    assert await say(mesh, "okay") == 0.2
    assert await say(mesh, "remember " + "word " * 16 + "please?") == 1.0
    assert await say(mesh, "The train was late.") == 0.3


@in_mesh
async def test_what_matters_stays_longest_and_comes_in_spoken_order(mesh: InMemoryMesh) -> None:
    await mesh.add("context_manager", CONTEXT)
    await say(mesh, "Remember that the boiler is important")
    for number in range(12):
        await say(mesh, f"We passed house number {number} on the way")
    kept = await texts(mesh)
    assert len(kept) == 10
    assert kept[0] == "Remember that the boiler is important"
    assert kept[-1].endswith("11 on the way")
    assert (await texts(mesh, max_items=2)) == [kept[0], kept[-1]]


@in_mesh
async def test_the_window_grows_while_everything_matters(mesh: InMemoryMesh) -> None:
    await mesh.add("context_manager", CONTEXT)
    for number in range(30):
        await say(mesh, f"Please remember item {number}?")
    assert len(await texts(mesh)) == 20


@in_mesh
async def test_each_speaker_has_a_window(mesh: InMemoryMesh) -> None:
    await mesh.add("context_manager", CONTEXT)
    await say(mesh, "I like tea", "ann")
    await say(mesh, "I like coffee", "bob")
    await say(mesh, "the door is open", None)
    assert await texts(mesh, speaker="bob") == ["I like coffee"]
    assert await texts(mesh, speaker="nobody") == []
    text = await mesh.request("context_manager.get_context_text")
    assert text == {"context_text": "[ann]: I like tea\n[bob]: I like coffee\n[unknown]: the door is open"}
    await mesh.request("context_manager.clear_context", speaker="ann")
    assert await texts(mesh) == ["I like coffee", "the door is open"]
    await mesh.request("context_manager.clear_context")
    assert await texts(mesh) == []


@in_mesh
async def test_a_full_window_is_pruned_of_what_matters_little(mesh: InMemoryMesh) -> None:
    await mesh.add("context_manager", CONTEXT)
    for text in ("hmm", "okay", "oh yes"):
        await say(mesh, text)
    for number in range(6):
        await say(mesh, f"the room on floor {number} is free")
    assert await mesh.request("context_manager.prune_context") == {"removed": 0}
    await say(mesh, "the hall is closed")
    assert await mesh.request("context_manager.prune_context") == {"removed": 2}
    kept = await texts(mesh)
    assert len(kept) == 8
    assert kept[0] == "oh yes"


@in_mesh
async def test_the_window_survives_a_restart(mesh: InMemoryMesh) -> None:
    await mesh.add("context_manager", CONTEXT)
    await mesh.request("context_manager.add_to_context", text="I like tea", speaker="ann", metadata={"mood": "calm"})
    await mesh.restart("context_manager")
    (item,) = (await mesh.request("context_manager.get_context", speaker="ann"))["context"]
    assert (item["text"], item["metadata"], item["timestamp"]) == (
        "I like tea",
        {"mood": "calm"},
        pytest.approx(mesh.clock.time(), abs=5),
    )


@in_mesh
async def test_an_item_is_announced_and_an_empty_one_refused(mesh: InMemoryMesh) -> None:
    await mesh.add("context_manager", CONTEXT)
    await say(mesh, "I like tea")
    (event,) = mesh.events_on("context.item_added")
    assert event.payload == {"text": "I like tea", "speaker": "ann", "importance": 0.5}
    with pytest.raises(InvalidArgument):
        await say(mesh, "   ")
