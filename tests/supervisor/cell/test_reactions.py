"""Events and timers: in order, within bounds, and none of them dies of what its handler does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from mesh import every, operation, subscribe
from mesh.supervisor.cell.reactions import WAITING
from mesh.testing import InMemoryMesh, in_mesh
from mesh.testing.clock import settle
from tests.eventually import eventually
from tests.supervisor.plain import Plain, fresh


class Measured(BaseModel):
    """What a sensor says."""

    celsius: float


class Hearing(Plain):
    """Hears, and writes down what."""

    heard: list[Any]
    go: asyncio.Event

    @subscribe("sensor.kitchen.temperature")
    async def exactly(self, value: Any) -> None:
        self.heard.append(("exactly", value))

    @subscribe("sensor.*.temperature")
    async def one_segment(self, value: Any, topic: str) -> None:
        self.heard.append(("one_segment", topic))

    @subscribe("sensor.#")
    def rest(self, value: Any, topic: str) -> None:
        self.heard.append(("rest", topic))

    @subscribe("slow.come")
    async def slowly(self, value: int) -> None:
        self.heard.append(value)
        await self.go.wait()
        if value < 0:
            raise ValueError("below zero")

    @subscribe("measured")
    async def measured(self, value: Measured) -> None:
        self.heard.append(value)

    @subscribe("list.changed")
    async def change(self, value: list[int]) -> None:
        value.append(0)
        self.heard.append(value)


def hearing() -> type[Hearing]:
    go = asyncio.Event()
    go.set()
    return fresh(Hearing, heard=[], go=go)


# -- events


@in_mesh
async def test_a_star_is_one_segment_and_a_hash_the_rest(mesh: InMemoryMesh) -> None:
    agent = hearing()
    await mesh.add("hearing", agent)
    for topic, methods in (
        ("sensor.kitchen.temperature", {"exactly", "one_segment", "rest"}),
        ("sensor.attic.temperature", {"one_segment", "rest"}), ("sensor.attic", {"rest"}), ("sensor", {"rest"}),
        ("sensor.attic.room.temperature", {"rest"}), ("sensors.kitchen.temperature", set()),
    ):
        agent.heard.clear()
        await mesh.publish(topic)
        await eventually(lambda wanted=methods: {method for method, _ in agent.heard} == wanted)  # type: ignore[misc]
        assert len(agent.heard) == len(methods)


@in_mesh
async def test_the_events_of_a_subscription_are_handled_in_order_one_after_the_other(mesh: InMemoryMesh) -> None:
    agent = hearing()
    agent.go.clear()
    await mesh.add("hearing", agent)
    for number in range(5):
        await mesh.publish("slow.come", number)
    assert agent.heard == [0]
    await mesh.publish("measured", {"celsius": 3})
    assert agent.heard == [0, Measured(celsius=3)], "another subscription does not wait"
    agent.go.set()
    await settle()
    assert agent.heard == [0, Measured(celsius=3), 1, 2, 3, 4]


@in_mesh
async def test_a_handler_that_raises_is_reported_and_goes_on_hearing(mesh: InMemoryMesh) -> None:
    agent = hearing()
    cell = await mesh.add("hearing", agent)
    for number in (1, -2, 3):
        await mesh.publish("slow.come", number)
    assert agent.heard == [1, -2, 3]
    (report,) = mesh.reports
    assert (report.service, report.operation, report.message) == ("hearing", "slowly on slow.come", "below zero")
    assert report.severity == "error" and cell.state == "ready"
    assert cell.last_error == "slowly on slow.come: ValueError: below zero"


@in_mesh
async def test_a_payload_of_another_type_is_reported_with_what_was_expected(mesh: InMemoryMesh) -> None:
    agent = hearing()
    await mesh.add("hearing", agent)
    await mesh.publish("measured", {"celsius": "warm"})
    await mesh.publish("measured", {"celsius": 21.5})
    assert agent.heard == [Measured(celsius=21.5)]
    (report,) = mesh.reports
    assert "measured hears measured and expects Measured" in report.message and "'warm'" in report.message


@in_mesh
async def test_when_too_many_wait_the_oldest_make_room_and_that_is_said_once(mesh: InMemoryMesh) -> None:
    agent = hearing()
    agent.go.clear()
    await mesh.add("hearing", agent)
    assert WAITING == 1024
    for number in range(1 + WAITING + 5):
        mesh._host("mainpc").bus.publish("slow.come", number, "test@mainpc")
        await asyncio.sleep(0)
    assert agent.heard == [0] and mesh.reports == []
    agent.go.set()
    await eventually(lambda: len(agent.heard) == 1 + WAITING)
    assert agent.heard == [0, *range(6, 1 + WAITING + 5)]
    (report,) = mesh.reports
    assert report.message == "5 events for slowly (slow.come) were lost: it handles them too slowly"
    assert (report.severity, report.operation) == ("warning", "slowly")


@in_mesh
async def test_each_cell_gets_a_copy_of_its_own(mesh: InMemoryMesh) -> None:
    one, other, far = hearing(), hearing(), hearing()
    await mesh.add("one", one)
    await mesh.add("other", other)
    await mesh.add("far", far, host="pc2")
    payload = [1, 2]
    await mesh.publish("list.changed", payload)
    assert one.heard == other.heard == far.heard == [[1, 2, 0]] and payload == [1, 2]
    assert len({id(agent.heard[0]) for agent in (one, other, far)}) == 3


@in_mesh
async def test_a_stopping_cell_hears_nothing_more_and_handles_what_waits(mesh: InMemoryMesh) -> None:
    agent = hearing()
    agent.go.clear()
    cell = await mesh.add("hearing", agent)
    for number in range(3):
        await mesh.publish("slow.come", number)
    stopping = asyncio.create_task(cell.stop("stopped by an operator"))
    await settle()
    await mesh.publish("slow.come", 3)
    agent.go.set()
    await stopping
    assert agent.heard == [0, 1, 2]


@in_mesh
async def test_a_stopped_cell_forgets_what_had_no_time(mesh: InMemoryMesh) -> None:
    agent = hearing()
    agent.go.clear()
    cell = await mesh.add("hearing", agent, limits={"stop_s": 2.0})
    for number in range(3):
        await mesh.publish("slow.come", number)
    stopping = asyncio.create_task(cell.stop("stopped by an operator"))
    await settle()
    await mesh.clock.advance(2.1)
    await stopping
    agent.go.set()
    await settle()
    assert agent.heard == [0]
    cell.launch(by_operator=True)
    await cell.settled.wait()
    await mesh.publish("slow.come", 4)
    assert agent.heard == [0, 4]


@in_mesh
async def test_a_handler_owes_nothing_to_the_call_that_published(mesh: InMemoryMesh) -> None:
    class Asking(Plain):
        """Publishes in a call, and asks itself when it hears of it."""

        asked: list[str]
        go: asyncio.Event

        @operation
        async def tell(self) -> None:
            await self.publish("told", None)

        @subscribe("told")
        async def hear(self, payload: Any) -> None:
            await self.go.wait()
            self.asked.append(await self.request("asking.echo", text="heard"))
            if len(self.asked) == 1:
                await self.request("asking.tell")

    agent = fresh(Asking, asked=[], go=asyncio.Event())
    await mesh.add("asking", agent)
    await mesh.request("asking.tell", timeout=1.0)
    await mesh.clock.advance(100)
    agent.go.set()
    await settle()
    assert agent.asked == ["heard", "heard"] and mesh.reports == []


# -- timers


class Ticking(Plain):
    """Ticks."""

    ticks: list[float]
    go: asyncio.Event

    @every(seconds=10)
    async def tick(self) -> None:
        self.ticks.append(self.clock.monotonic())
        await self.go.wait()
        if len(self.ticks) == 2:
            raise ValueError("the second is bad")


def ticking() -> type[Ticking]:
    return fresh(Ticking, ticks=[], go=asyncio.Event())


@in_mesh
async def test_a_timer_comes_round_and_goes_on_after_an_error(mesh: InMemoryMesh) -> None:
    agent = ticking()
    agent.go.set()
    cell = await mesh.add("ticking", agent)
    started = mesh.clock.monotonic()
    await mesh.clock.advance(45)
    assert agent.ticks == [started + after for after in (10, 20, 30, 40)]
    (report,) = mesh.reports
    assert (report.operation, report.message) == ("tick", "the second is bad") and cell.state == "ready"


@in_mesh
async def test_two_runs_of_a_timer_never_overlap(mesh: InMemoryMesh) -> None:
    agent = ticking()
    await mesh.add("ticking", agent)
    await mesh.clock.advance(100)
    assert len(agent.ticks) == 1
    agent.go.set()
    await mesh.clock.advance(9)
    assert len(agent.ticks) == 1
    await mesh.clock.advance(1)
    assert len(agent.ticks) == 2 and agent.ticks[1] - agent.ticks[0] == pytest.approx(100)


@in_mesh
async def test_a_stopped_cell_ticks_no_more(mesh: InMemoryMesh) -> None:
    agent = ticking()
    agent.go.set()
    cell = await mesh.add("ticking", agent)
    await mesh.clock.advance(10)
    await cell.stop("stopped by an operator")
    await mesh.clock.advance(100)
    assert len(agent.ticks) == 1
    cell.launch(by_operator=True)
    await cell.settled.wait()
    await mesh.clock.advance(10)
    assert len(agent.ticks) == 2
