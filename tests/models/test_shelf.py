"""Models are loaded once per process, share a budget, and a failed load is tried again in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mesh.config import Budget
from mesh.errors import InvalidArgument, Overloaded, Unavailable
from mesh.models import Shelf
from mesh.models.ledger import IDLE_S
from mesh.testing import FakeClock


class Making:
    """A loader that counts its runs and fails as often as it is told."""

    def __init__(self, what: str = "model", failures: int = 0) -> None:
        self.what = what
        self.runs = 0
        self.failures = failures

    def __call__(self) -> str:
        self.runs += 1
        if self.runs <= self.failures:
            raise OSError("no model file")
        return f"{self.what} {self.runs}"


def with_shelf(work: Callable[[Shelf, FakeClock], Awaitable[None]], **budget: Any) -> None:
    async def scenario() -> None:
        clock = FakeClock()
        await work(Shelf(Budget.model_validate(budget), clock), clock)

    asyncio.run(scenario())


async def load(
    shelf: Shelf, service: str, name: str, loader: Callable[[], Any], *, mb: float | None = None, device: str = "cpu",
    shared: bool = False,
) -> Any:
    agent = shelf.of(service, asyncio.to_thread)
    return await agent.load(name, loader, memory_mb=mb, device=device, shared=shared)


def test_agents_that_share_a_model_get_one_and_others_of_the_same_name_their_own() -> None:
    async def work(shelf: Shelf, _: FakeClock) -> None:
        making, own = Making("shared"), Making("own")
        found = await asyncio.gather(*(load(shelf, service, "embedder", making, shared=True)
                                       for service in ("one", "two", "three")))
        assert found == ["shared 1"] * 3
        assert await load(shelf, "one", "embedder", own) == "own 1"
        assert [line["owners"] for line in shelf.lines()] == [["one", "three", "two"], ["one"]]
        shelf.leave("one")
        assert [line["owners"] for line in shelf.lines()] == [["three", "two"]]
        shelf.leave("two")
        shelf.leave("three")
        assert shelf.lines() == []

    with_shelf(work)


def test_a_load_that_does_not_fit_lets_idle_models_go_which_load_again_when_asked_for() -> None:
    async def work(shelf: Shelf, clock: FakeClock) -> None:
        first, second = Making("first"), Making("second")
        assert await load(shelf, "one", "first", first, mb=60) == "first 1"
        with pytest.raises(Overloaded, match="held by first of one 60 MiB") as caught:
            await load(shelf, "two", "second", second, mb=60)
        assert caught.value.details["retry_after"] == IDLE_S
        assert second.runs == 0
        await clock.advance(IDLE_S)
        assert await load(shelf, "two", "second", second, mb=60) == "second 1"
        assert shelf.devices() == [{"device": "cpu", "limit_mb": 100.0, "held_mb": 60.0}]
        await clock.advance(IDLE_S)
        assert await load(shelf, "one", "first", first, mb=60) == "first 2"
        assert shelf.unloads == 2

    with_shelf(work, memory_mb=100.0)


def test_using_a_model_keeps_it() -> None:
    async def work(shelf: Shelf, clock: FakeClock) -> None:
        await load(shelf, "one", "used", Making(), mb=50)
        await load(shelf, "one", "unused", Making(), mb=50)
        await clock.advance(IDLE_S)
        await load(shelf, "one", "used", Making(), mb=50)
        await load(shelf, "one", "new", Making(), mb=50)
        assert [line["name"] for line in shelf.lines()] == ["new", "used"]

    with_shelf(work, memory_mb=100.0)


def test_a_failed_load_is_told_to_all_who_waited_and_tried_again_after_delays_that_grow() -> None:
    async def work(shelf: Shelf, clock: FakeClock) -> None:
        making = Making(failures=3)
        errors = await asyncio.gather(*(load(shelf, "one", "m", making) for _ in range(4)), return_exceptions=True)
        assert [type(error) for error in errors] == [OSError] * 4 and making.runs == 1
        limits = shelf.of("one", asyncio.to_thread).limits()
        assert limits == ["model m could not be loaded: OSError: no model file"]
        with pytest.raises(OSError):
            await load(shelf, "one", "m", making)
        with pytest.raises(Unavailable, match=r"no model file; it is tried again in 1\.0 s") as caught:
            await load(shelf, "one", "m", making)
        assert caught.value.details["retry_after"] == 1.0 and making.runs == 2
        await clock.advance(1.0)
        with pytest.raises(OSError):
            await load(shelf, "one", "m", making)
        with pytest.raises(Unavailable, match=r"in 2\.0 s"):
            await load(shelf, "one", "m", making)
        await clock.advance(2.0)
        assert await load(shelf, "one", "m", making) == "model 4"
        assert shelf.of("one", asyncio.to_thread).limits() == []
        assert shelf.devices() == [{"device": "cpu", "limit_mb": None, "held_mb": shelf.devices()[0]["held_mb"]}]

    with_shelf(work)


def test_a_failed_shared_load_degrades_everybody_who_asked_for_it() -> None:
    async def work(shelf: Shelf, _: FakeClock) -> None:
        one, two = shelf.of("one", asyncio.to_thread), shelf.of("two", asyncio.to_thread)
        for agent in (one, two):
            with pytest.raises(OSError):
                await agent.load("m", Making(failures=9), memory_mb=None, device="cpu", shared=True)
        assert one.limits() == two.limits() != []

    with_shelf(work)


def test_what_nobody_declared_is_measured_and_has_to_fit_afterwards() -> None:
    async def work(shelf: Shelf, clock: FakeClock) -> None:
        await load(shelf, "one", "idle", Making(), mb=150)
        await clock.advance(IDLE_S)
        big = await load(shelf, "one", "big", lambda: bytearray(b"x") * (100 * 2**20))
        [line] = shelf.lines()
        assert line["name"] == "big" and line["measured"] and 80 < float(str(line["memory_mb"])) < 140
        assert len(big) == 100 * 2**20

    with_shelf(work, memory_mb=200.0)


def test_one_name_for_two_models_is_refused() -> None:
    async def work(shelf: Shelf, _: FakeClock) -> None:
        await load(shelf, "one", "m", Making(), mb=10, shared=True)
        with pytest.raises(InvalidArgument, match="another name"):
            await load(shelf, "two", "m", Making(), mb=20, shared=True)
        with pytest.raises(InvalidArgument, match="another name"):
            await load(shelf, "two", "m", Making(), mb=10, device="cuda:0", shared=True)

    with_shelf(work)


def test_an_agent_that_leaves_before_its_thread_began_leaves_the_load_to_the_others() -> None:
    async def work(shelf: Shelf, _: FakeClock) -> None:
        begun = asyncio.get_running_loop().create_future()

        async def never(loader: Callable[[], Any]) -> Any:
            return await begun

        leaving = asyncio.ensure_future(shelf.of("one", never).load(
            "m", Making("of one"), memory_mb=1, device="cpu", shared=True))
        await asyncio.sleep(0)
        staying = asyncio.ensure_future(load(shelf, "two", "m", Making("of two"), mb=1, shared=True))
        await asyncio.sleep(0)
        begun.cancel()  # as a thread pool that is closed does
        assert await staying == "of two 1"
        with pytest.raises(Unavailable, match="one stops"):
            await leaving

    with_shelf(work)
