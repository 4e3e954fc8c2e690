"""Events for a group: each goes to one member, and what became of it is known."""

from __future__ import annotations

import asyncio
from collections import Counter

from mesh import Agent, operation, subscribe
from mesh.supervisor.groups import MOST, PATIENCE
from mesh.testing import InMemoryMesh, in_mesh
from mesh.testing.clock import settle
from tests.eventually import eventually


class Worker(Agent):
    """Takes orders, in turn with others, and hears every bell."""

    async def setup(self) -> None:
        self.orders: list[int] = []
        self.bells = 0
        self.gate = asyncio.Event()
        self.gate.set()

    @subscribe("orders.*", group="workers")
    async def work(self, order: int) -> None:
        await self.gate.wait()
        if order < 0:
            raise ValueError("no such order")
        self.orders.append(order)

    @subscribe("orders.*")
    async def ring(self, order: int) -> None:
        self.bells += 1

    @operation
    async def place(self, order: int) -> None:
        await self.publish("orders.new", order)


class Clerk(Agent):
    """Another service in the same group, and one in its own."""

    async def setup(self) -> None:
        self.orders: list[int] = []
        self.filed: list[int] = []

    @subscribe("orders.new", group="workers")
    async def work(self, order: int) -> None:
        self.orders.append(order)

    @subscribe("orders.new", group="archive")
    @subscribe("orders.old", group="archive")
    async def file(self, order: int) -> None:
        self.filed.append(order)


def worker(mesh: InMemoryMesh, service: str) -> Worker:
    agent = mesh.agent(service)
    assert isinstance(agent, Worker)
    return agent


def fate(mesh: InMemoryMesh, group: str = "workers", host: str = "mainpc") -> dict[str, int]:
    """Return what became of the events that a host published, those of no outcome left out."""
    return {outcome: count for outcome, count in mesh._host(host).groups.fates[group].counts.items() if count}


@in_mesh
async def test_each_event_goes_to_one_member_in_turn_and_to_all_who_are_in_no_group(mesh: InMemoryMesh) -> None:
    for service, host in (("one", "mainpc"), ("two", "pc2"), ("three", "pc2")):
        await mesh.add(service, Worker, host=host)
    for number in range(9):
        await mesh.publish("orders.new", number)
    members = [worker(mesh, service) for service in ("one", "two", "three")]
    assert sorted(number for one in members for number in one.orders) == list(range(9))
    assert [len(one.orders) for one in members] == [3, 3, 3] and [one.bells for one in members] == [9, 9, 9]
    assert fate(mesh) == {"handled": 9}


@in_mesh
async def test_members_may_be_of_several_services_and_each_group_gets_the_event(mesh: InMemoryMesh) -> None:
    await mesh.add("one", Worker)
    await mesh.add("clerk", Clerk, host="pc2")
    for number in range(4):
        await mesh.request("one.place", order=number)
        await settle()
    clerk = mesh.agent("clerk")
    assert isinstance(clerk, Clerk)
    assert (len(worker(mesh, "one").orders), len(clerk.orders), sorted(clerk.filed)) == (2, 2, [0, 1, 2, 3])
    await mesh.publish("orders.old", 7)
    assert clerk.filed[-1] == 7 and worker(mesh, "one").orders[-1] == 7  # of orders.old only `one` is a worker


@in_mesh
async def test_every_host_chooses_for_what_is_published_there_and_nobody_handles_it_twice(mesh: InMemoryMesh) -> None:
    for service, host in (("one", "mainpc"), ("two", "pc2")):
        await mesh.add(service, Worker, host=host)
    for number in range(10):
        await mesh.publish("orders.new", number, origin=f"someone@{'pc2' if number % 2 else 'mainpc'}")
    times = Counter(number for service in ("one", "two") for number in worker(mesh, service).orders)
    assert times == dict.fromkeys(range(10), 1)
    assert fate(mesh) == fate(mesh, host="pc2") == {"handled": 5}


@in_mesh
async def test_a_member_that_is_cut_off_is_passed_over_without_loss(mesh: InMemoryMesh) -> None:
    for service, host in (("one", "mainpc"), ("two", "pc2")):
        await mesh.add(service, Worker, host=host)
    mesh.cut("pc2")
    for number in range(6):
        await mesh.publish("orders.new", number)
    assert sorted(worker(mesh, "one").orders) == list(range(6)) and worker(mesh, "two").orders == []
    assert fate(mesh) == {"handled": 6} and mesh._host("mainpc").groups.fates["workers"].again >= 3


@in_mesh
async def test_an_event_waits_for_a_member_and_is_lost_aloud_when_none_comes(mesh: InMemoryMesh) -> None:
    await mesh.add("two", Worker, host="pc2")
    mesh.cut("pc2")
    await mesh.publish("orders.new", 1)
    assert fate(mesh) == {} and mesh._host("mainpc").groups.fates["workers"].open == 1
    mesh.mend("pc2")
    await mesh.clock.advance(0.1)
    assert worker(mesh, "two").orders == [1] and fate(mesh) == {"handled": 1}
    mesh.cut("pc2")
    await mesh.publish("orders.new", 2)
    for _ in range(int(PATIENCE) + 1):
        await mesh.clock.advance(1.0)
    assert fate(mesh) == {"handled": 1, "lost": 1}
    assert "orders.new of test@mainpc reached no member of group workers: " in mesh.reports[-1].message


@in_mesh
async def test_a_group_whose_members_are_all_stopped_loses_at_once(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("one", Worker)
    cell.rest("stopped by an operator")
    await cell.stop("stopped by an operator")
    await settle()
    await mesh.publish("orders.new", 1)
    assert fate(mesh) == {"lost": 1} and "it has no member now" in mesh.reports[-1].message


@in_mesh
async def test_a_handler_that_raises_has_had_its_event_and_goes_on(mesh: InMemoryMesh) -> None:
    await mesh.add("one", Worker)
    await mesh.publish("orders.new", -1)
    await mesh.publish("orders.new", 1)
    assert worker(mesh, "one").orders == [1] and fate(mesh) == {"failed": 1, "handled": 1}
    assert any("no such order" in report.message for report in mesh.reports)
    assert not any("group" in report.message for report in mesh.reports)


@in_mesh
async def test_a_member_that_is_stopped_over_an_event_leaves_it_in_doubt_and_it_is_not_given_away(mesh: InMemoryMesh
                                                                                                 ) -> None:
    await mesh.add("one", Worker, limits={"stop_s": 0.5})
    await mesh.add("two", Worker, host="pc2")
    worker(mesh, "one").gate.clear()
    for number in range(4):
        await mesh.publish("orders.new", number)
    assert sorted(worker(mesh, "two").orders) in ([0, 2], [1, 3])
    await mesh.restart("one")
    await settle()
    assert fate(mesh) == {"handled": 2, "in_doubt": 2} and len(worker(mesh, "two").orders) == 2
    assert "may not have been handled by one on mainpc" in mesh.reports[-1].message


@in_mesh
async def test_a_member_that_is_full_is_passed_over(mesh: InMemoryMesh) -> None:
    await mesh.add("one", Worker, limits={"concurrency": 1, "inbox": 1})
    await mesh.add("two", Worker, host="pc2")
    worker(mesh, "one").gate.clear()
    for number in range(12):
        await mesh.publish("orders.new", number)
    assert len(worker(mesh, "two").orders) == 10
    worker(mesh, "one").gate.set()
    await settle()
    assert len(worker(mesh, "one").orders) == 2 and fate(mesh) == {"handled": 12}


@in_mesh
async def test_events_that_wait_for_room_go_when_there_is_some_and_ask_in_vain_but_seldom(mesh: InMemoryMesh) -> None:
    await mesh.add("one", Worker, limits={"concurrency": 2, "inbox": 1})
    worker(mesh, "one").gate.clear()
    for number in range(100):
        await mesh.publish("orders.new", number)
    found = mesh._host("mainpc").groups.fates["workers"]
    for _ in range(20):
        await mesh.clock.advance(0.05)
    assert found.open == 100 and found.again <= 97 + 25, "one of them has looked each 50 ms"
    worker(mesh, "one").gate.set()
    await eventually(lambda: not found.open)  # without a moment of this clock passing
    assert sorted(worker(mesh, "one").orders) == list(range(100))
    assert fate(mesh) == {"handled": 100} and found.again < 500 and not found.waiting


@in_mesh
async def test_events_that_wait_are_all_lost_when_nobody_is_left(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("one", Worker, limits={"concurrency": 1, "inbox": 1, "stop_s": 0.5})
    worker(mesh, "one").gate.clear()
    for number in range(20):
        await mesh.publish("orders.new", number)
    stopping = asyncio.create_task(cell.stop("stopped by an operator"))
    for _ in range(30):
        await mesh.clock.advance(0.1)
    await stopping
    await settle()
    assert sum(fate(mesh).values()) == 20 and fate(mesh)["lost"] >= 18
    assert mesh._host("mainpc").groups.open == 0


@in_mesh
async def test_a_host_that_stops_tells_of_events_without_an_answer(mesh: InMemoryMesh) -> None:
    await mesh.add("two", Worker, host="pc2")
    worker(mesh, "two").gate.clear()
    await mesh.publish("orders.new", 1)
    groups = mesh._host("mainpc").groups
    assert groups.open == 1
    groups.close()
    await settle()
    assert groups.open == 0 and "1 events for groups have no answer yet" in mesh.reports[-1].message
    worker(mesh, "two").gate.set()
    await settle()
    assert worker(mesh, "two").orders == [1]  # who has it handles it to its end


@in_mesh
async def test_no_more_than_10_000_events_wait(mesh: InMemoryMesh) -> None:
    await mesh.add("one", Worker)
    await mesh.publish("orders.new", 0)
    mesh._host("mainpc").groups.fates["workers"].open = MOST
    await mesh.publish("orders.new", 1)
    assert fate(mesh) == {"handled": 1, "lost": 1} and worker(mesh, "one").orders == [0]
    assert "10000 events wait already" in mesh.reports[-1].message


@in_mesh
async def test_an_agent_on_a_thread_is_a_member_like_any_other(mesh: InMemoryMesh) -> None:
    await mesh.add("clerk", Clerk, isolation="thread")
    await mesh.publish("orders.new", 5)
    await eventually(lambda: fate(mesh) == fate(mesh, "archive") == {"handled": 1}, 20)
