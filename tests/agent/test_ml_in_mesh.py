"""Models of agents in a mesh: the budget is the host's, shared models are one, and calls reach a model together."""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

import pytest

from mesh import AgentConfig, MLAgent, Overloaded, operation
from mesh.config import Budget
from mesh.models.ledger import IDLE_S
from mesh.testing import InMemoryMesh, in_mesh
from mesh.testing.clock import settle


class Embedder(MLAgent):
    """Holds one model."""

    class Config(AgentConfig):
        memory_mb: float = 60.0
        shared: bool = False
        broken: bool = False

    config: Config
    made: ClassVar[list[str]] = []

    @operation
    async def embed(self) -> int:
        model = await self.load("embedder", self._make, memory_mb=self.config.memory_mb, shared=self.config.shared)
        return id(model)

    def _make(self) -> object:
        if self.config.broken:
            raise OSError("no such file: model.bin")
        self.made.append(self.service)
        return object()


class Doubler(MLAgent):
    """Doubles numbers, many at a time, and cannot do 13."""

    async def setup(self) -> None:
        self.batches: list[list[int]] = []
        self.double_one = self.batched(self._double, max_batch=8, max_wait_ms=200)

    def _double(self, numbers: list[int]) -> list[Any]:
        self.batches.append(numbers)
        return [ValueError("13 is unlucky") if number == 13 else 2 * number for number in numbers]

    @operation(idempotent=True)
    async def double(self, number: int) -> int:
        doubled: int = await self.double_one(number)
        return doubled

    @operation(idempotent=True)
    async def seen(self) -> list[int]:
        return [len(batch) for batch in self.batches]


@pytest.mark.parametrize("isolation", ["coroutine", "thread"])
def test_a_shared_model_is_loaded_once_for_all_agents_of_a_host(isolation: str) -> None:
    async def scenario() -> None:
        Embedder.made.clear()
        async with InMemoryMesh() as mesh:
            for name in ("one", "two", "three"):
                await mesh.add(name, Embedder, settings={"shared": True}, isolation=isolation)
            ids = await asyncio.gather(*(mesh.request(f"{name}.embed") for name in ("one", "two", "three")))
            assert len(set(ids)) == 1 and len(Embedder.made) == 1
            await mesh.cell("one").stop("the test wants it")
            assert await mesh.request("two.embed") == ids[0]

    asyncio.run(scenario())


def test_a_model_without_room_is_refused_with_who_holds_it_until_others_are_idle() -> None:
    async def scenario() -> None:
        async with InMemoryMesh(budget=Budget(memory_mb=100.0)) as mesh:
            await mesh.add("one", Embedder)
            await mesh.add("two", Embedder)
            await mesh.request("one.embed")
            with pytest.raises(Overloaded, match=r"of 100 MiB is held by embedder of one 60 MiB") as caught:
                await mesh.request("two.embed")
            assert caught.value.details["retry_after"] == IDLE_S
            await mesh.clock.advance(IDLE_S)
            await mesh.request("two.embed")
            shelf = mesh._host("mainpc").house.models
            assert [line["owners"] for line in shelf.lines()] == [["two"]]

    asyncio.run(scenario())


@in_mesh
async def test_a_model_that_cannot_be_loaded_degrades_its_agent_with_the_reason(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("one", Embedder, settings={"broken": True})
    with pytest.raises(Exception, match=r"model\.bin"):
        await mesh.request("one.embed")
    await cell.recheck()
    assert cell.state.value == "degraded"
    assert cell.lifecycle.reason == "model embedder could not be loaded: OSError: no such file: model.bin"


@in_mesh
async def test_concurrent_calls_reach_the_model_together_each_with_its_own_answer(mesh: InMemoryMesh) -> None:
    await mesh.add("doubler", Doubler)
    calls = [asyncio.ensure_future(mesh.request("doubler.double", number=number)) for number in range(10, 18)]
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [one for one in found if isinstance(one, int)] == [20, 22, 24, 28, 30, 32, 34]
    assert "13 is unlucky" in str(found[3])
    assert await mesh.request("doubler.seen") == [8]


@in_mesh
async def test_a_call_whose_deadline_passes_leaves_the_batch(mesh: InMemoryMesh) -> None:
    await mesh.add("doubler", Doubler)
    hurried = asyncio.ensure_future(mesh.request("doubler.double", number=1, timeout=0.05))
    patient = asyncio.ensure_future(mesh.request("doubler.double", number=2))
    await settle()
    await mesh.clock.advance(0.1)
    assert hurried.done() and hurried.exception() is not None
    await mesh.clock.advance(0.2)
    deadline = time.monotonic() + 10
    while not patient.done() and time.monotonic() < deadline:  # its batch is in a thread
        await settle()
    assert await patient == 4
    assert await mesh.request("doubler.seen") == [1]
