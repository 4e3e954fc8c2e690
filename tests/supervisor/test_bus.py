"""Events go to whoever listens, once, and only under the name of the host they come from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mesh import Agent, InvalidArgument, subscribe, topics
from mesh.message import Event, encode
from mesh.supervisor.bus import EventBus
from mesh.testing import FakeClock, InMemoryMesh, in_mesh
from mesh.testing.clock import settle
from mesh.tracing import Trace
from tests.figures import read

EARS = ("kitchen.light", "kitchen.*", "attic.#")


class Wires:
    """A bus and what left it each way."""

    def __init__(self) -> None:
        self.sessions: list[Event] = []
        self.operators: list[Event] = []
        self.outside: list[Event] = []
        self.grouped: list[Event] = []
        self.heard: list[Event] = []
        self.bus = EventBus("mainpc", FakeClock(wall=500.0), to_sessions=self.sessions.append,
                            to_operators=self.operators.append, outside=self.outside.append,
                            to_groups=self.grouped.append)

    def listen(self, *patterns: str, service: str = "ears") -> bool:
        return self.bus.listen(service, patterns, self.heard.append)


@pytest.fixture
def wires() -> Iterator[Wires]:
    yield Wires()


def run(scenario: Callable[[], Any]) -> None:
    """Run a plain function on a loop and let what it sets off run."""

    async def scene() -> None:
        scenario()
        await settle()

    asyncio.run(scene())


def from_elsewhere(origin: str = "lamp@pc2", topic: str = "kitchen.light") -> Event:
    return Event(topic, encode(1), origin, 499.0)


def test_an_event_of_this_host_goes_everywhere_once(wires: Wires) -> None:
    def scenario() -> None:
        wires.listen(*EARS)
        wires.bus.publish("kitchen.light", {"on": True}, "lamp@mainpc", Trace.new())

    run(scenario)
    (session,), (outside,), (heard,) = wires.sessions, wires.outside, wires.heard
    assert wires.operators == [], "operators have sessions like everybody"
    for event in (session, outside, heard):
        assert (event.topic, event.value(), event.origin, event.time) == ("kitchen.light", {"on": True}, "lamp@mainpc",
                                                                          500.0)
        assert event.trace is not None


def test_an_event_of_another_host_stays_on_this_one(wires: Wires) -> None:
    def scenario() -> None:
        wires.listen(*EARS)
        assert wires.bus.arrived(from_elsewhere(), "pc2")

    run(scenario)
    assert wires.heard == [from_elsewhere()] and wires.operators == [from_elsewhere()]
    assert wires.sessions == wires.outside == []


@pytest.mark.parametrize("origin", ["lamp@mainpc", "lamp@pc3", "lamp", "lamp@pc2@mainpc", ""])
def test_a_host_that_speaks_for_another_is_not_heard(wires: Wires, origin: str) -> None:
    def scenario() -> None:
        wires.listen(*EARS)
        assert not wires.bus.arrived(from_elsewhere(origin), "pc2")

    run(scenario)
    assert not any((wires.heard, wires.operators, wires.sessions, wires.outside))


def test_events_are_counted(wires: Wires) -> None:
    def scenario() -> None:
        wires.listen(*EARS)
        wires.listen("attic", service="others")
        wires.bus.publish("attic", None, "lamp@mainpc")
        wires.bus.publish("nobody.hears", None, "lamp@mainpc")
        wires.bus.arrived(from_elsewhere("lamp@pc2"), "pc2")
        wires.bus.arrived(from_elsewhere("lamp@pc3"), "pc2")

    run(scenario)
    assert read(wires.bus.samples()) == {
        ("mesh_events_published_total",): 2, ("mesh_events_received_total",): 1,
        ("mesh_events_delivered_total",): len(wires.heard)}
    assert len(wires.heard) >= 2


def test_what_may_not_travel_is_refused_and_goes_nowhere(wires: Wires) -> None:
    with pytest.raises(InvalidArgument, match=r"payload\.what holds builtins\.object"):
        wires.bus.publish("kitchen.light", {"what": object()}, "lamp@mainpc")
    assert wires.sessions == wires.outside == []


def test_listeners_follow_the_cells(wires: Wires) -> None:
    bus = wires.bus
    assert wires.listen(*EARS) and not wires.listen(*EARS)
    assert bus.patterns() == {"kitchen.light", "kitchen.*", "attic.#"}
    run(lambda: bus.publish("attic", None, "lamp@mainpc"))
    assert wires.listen() and not wires.listen() and not wires.listen(service="nobody")
    assert bus.patterns() == set()
    run(lambda: bus.publish("attic", None, "lamp@mainpc"))
    assert wires.listen("attic.#")
    run(lambda: bus.publish("attic.floor", None, "lamp@mainpc"))
    assert [event.topic for event in wires.heard] == ["attic", "attic.floor"]


def test_ever_new_topics_take_no_more_memory_than_a_bound(wires: Wires, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_REMEMBERED", 10)

    def scenario() -> None:
        wires.listen("attic.#")
        for number in range(25):
            wires.bus.publish(f"attic.t{number}", None, "lamp@mainpc")

    run(scenario)
    assert len(wires.heard) == 25 and len(wires.bus._listeners) <= 10


@in_mesh
async def test_an_event_reaches_each_cell_of_each_host_once(mesh: InMemoryMesh) -> None:
    heard: list[str] = []

    class Once(Agent):
        """Counts."""

        @subscribe("said")
        async def hear(self, payload: Any) -> None:
            heard.append(f"{self.service}@{self.host}")
            if payload == "and told on":
                await self.publish("said", "by the listener")

    for service, host in (("one", "mainpc"), ("two", "mainpc"), ("three", "pc2")):
        await mesh.add(service, Once, host=host)
    for host in ("mainpc", "pc2"):
        heard.clear()
        await mesh.publish("said", origin=f"somebody@{host}")
        assert sorted(heard) == ["one@mainpc", "three@pc2", "two@mainpc"]
    heard.clear()
    await mesh.publish("said", "and told on")
    assert len(heard) == 3 + 3 * 3
