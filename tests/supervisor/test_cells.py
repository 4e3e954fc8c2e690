"""All cells of a host: their order, their dependencies, and what operators want of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.config import AgentSpec, HostConfig, MeshConfig, RegistryConfig
from mesh.directory import Directory
from mesh.policy.rules import RuleBook
from mesh.records import HostRecord, InstanceRecord
from mesh.supervisor.bell import Bell
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cells import Cells
from mesh.testing import InMemoryMesh
from mesh.testing.clock import settle
from tests.eventually import eventually
from tests.supervisor.plain import asleep

AGENT = '''
from mesh import Agent, AgentConfig, operation


class It(Agent):
    """Comes up after a while, or not at all."""

    class Config(AgentConfig):
        after: float = 0.0
        fails: bool = False

    async def setup(self) -> None:
        if self.config.after:
            await self.clock.sleep(self.config.after)
        if self.config.fails:
            raise ValueError("no licence file")

    @operation
    async def echo(self, text: str) -> str:
        return text
'''
HOSTS = ("mainpc", "pc2")
Agents = dict[str, dict[str, Any]]


class Rig:
    """The cells of `mainpc` with a directory, and a registry that says what the test wants."""

    def __init__(self, mesh: InMemoryMesh, file: Path, agents: Agents) -> None:
        self.clock = mesh.clock
        self.steps: list[tuple[str, str]] = []
        self.announced = 0
        self.tasks: list[asyncio.Task[None]] = []
        self._revision = 0
        self._table: dict[str, list[dict[str, Any]]] = {"instances": [], "desired": [], "overrides": []}
        config = MeshConfig(
            mesh="test", registry=RegistryConfig(host="mainpc", port=1), root=file.parent, home=file.parent,
            hosts={name: HostConfig(name=name, address="127.0.0.1", port=1, events_port=2, metrics_port=3)
                   for name in HOSTS},
            agents={service: AgentSpec.model_validate({
                "service": service, "file": file, "class_name": "It", "hosts": ("mainpc",), **given,
            }) for service, given in agents.items()},
        )
        self.directory = Directory(known_names={name: spec.hosts for name, spec in config.agents.items()},
                                   clock=mesh.clock)
        self.bell = Bell()
        self.cells = Cells(config, "mainpc", self.directory, RuleBook(config.policies, lambda _: None),
                           self.bell, self._spawn, self._inventory_changed)
        self.cells.create(replace(
            mesh._host("mainpc").house, changed=self._changed, missing=self.cells.missing,
            dependencies_ready=self.cells.dependencies_ready,
        ))
        self.directory.set_own(HostRecord("mainpc", 1, "127.0.0.1", 1, 2, "", "", "ok", 1), self.cells.inventory())

    def cell(self, service: str) -> Cell:
        return self.cells.roster.by_name[service]

    def states(self) -> dict[str, str]:
        return {service: cell.state.value for service, cell in self.cells.roster.by_name.items()}

    async def settled(self) -> None:
        await asyncio.wait_for(self.cells.settled(), 60)
        await settle()

    async def has(self, service: str, state: str) -> None:
        await eventually(lambda: self.cell(service).state == state)
        await settle()

    def order(self, state: str) -> list[str]:
        """Return the services in the order in which they came to a state."""
        return [service for service, reached in self.steps if reached == state]

    def registry_says(self, **sections: list[dict[str, Any]]) -> None:
        """Take a new table, as the supervisor does: some sections are as given, the others as before."""
        self._table.update(sections)
        self._revision += 1
        difference = self.directory.replace(1, self._revision, {
            "settled": True, **self._table,
            "hosts": [HostRecord("pc2", 1, "127.0.0.1", 1, 2, "", "", "ok", 1).to_wire()],
        })
        for service, _ in difference.desired:
            self.cells.obey(service)
        for service in difference.overrides:
            self.cells.reset(service)
        self.bell.ring()
        self.cells.look_soon()

    def _changed(self, service: str) -> None:
        self.steps.append((service, self.cell(service).state.value))
        self._inventory_changed(self.cell(service).service)
        self.bell.ring()
        self.cells.look_soon()

    def _inventory_changed(self, service: str) -> None:
        self.announced += 1
        self.directory.set_own_service(service, self.cells.offered(service))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))


@asynccontextmanager
async def rigged(folder: Path, agents: Agents) -> AsyncIterator[Rig]:
    file = folder / "it.py"
    file.write_text(AGENT)
    async with InMemoryMesh() as mesh:
        rig = Rig(mesh, file, agents)
        try:
            yield rig
        finally:
            await asyncio.gather(*rig.tasks)
            await rig.cells.stop()


def run(folder: Path, agents: Agents, scenario: Callable[[Rig], Awaitable[None]]) -> None:
    async def scene() -> None:
        async with rigged(folder, agents) as rig:
            await scenario(rig)

    asyncio.run(scene())


def needs(*services: str, soft: bool = False) -> dict[str, Any]:
    return {"depends_on": tuple({"service": service, "soft": soft} for service in services)}


def instance(service: str, state: Any = "ready", host: str = "pc2") -> dict[str, Any]:
    return InstanceRecord(service, host, 1, state).to_wire()


def desired(service: str, wanted: str, host: str = "mainpc") -> dict[str, Any]:
    return {"service": service, "host": host, "desired": wanted}


def override(service: str, key: str, value: Any) -> dict[str, Any]:
    return {"service": service, "key": key, "value": value}


# -- order


def test_who_is_needed_starts_first_and_stops_last(tmp_path: Path) -> None:
    agents = {"top": needs("left", "right"), "left": needs("store"), "right": needs("store"), "store": {}, "apart": {}}

    async def scenario(rig: Rig) -> None:
        rig.cells.launch()
        await rig.settled()
        await rig.has("top", "ready")
        up = rig.order("ready")
        assert set(up) == set(agents) and up.index("store") < min(up.index("left"), up.index("right"))
        assert up.index("top") > max(up.index("left"), up.index("right"))
        rig.steps.clear()
        await rig.cells.stop()
        down = rig.order("stopped")
        assert set(down) == set(agents) and down[0] == "top" and down.index("store") > 2
        assert set(rig.states().values()) == {"stopped"}

    run(tmp_path, agents, scenario)


def test_a_slow_start_holds_up_nobody_but_those_who_need_it(tmp_path: Path) -> None:
    agents = {"slow": {"settings": {"after": 7.0}}, "apart": {},
              "user": needs("slow"), "fond": needs("slow", soft=True)}

    async def scenario(rig: Rig) -> None:
        rig.cells.launch()
        await rig.has("apart", "ready")
        await rig.has("fond", "degraded")
        assert rig.cell("fond").lifecycle.reason == "waiting for slow@mainpc"
        assert rig.states() == {"slow": "starting", "user": "starting", "fond": "degraded", "apart": "ready"}
        await asleep(rig.clock, 7.0)
        await rig.clock.advance(7)
        await rig.has("user", "ready")
        assert set(rig.states().values()) == {"ready"}

    run(tmp_path, agents, scenario)


def test_who_waits_for_what_never_comes_says_so_and_counts_as_settled(tmp_path: Path) -> None:
    agents = {"broken": {"settings": {"fails": True}}, "user": needs("broken", "store"), "store": {}}

    async def scenario(rig: Rig) -> None:
        rig.cells.launch()
        await rig.settled()
        await eventually(lambda: rig.cell("user").lifecycle.reason == "waiting for broken")
        assert rig.cell("user").state == "starting"
        row = next(row for row in rig.cells.inventory() if row.service == "user")
        assert (row.state, row.reason) == ("starting", "waiting for broken")
        assert rig.directory.instances("user")[0].reason == "waiting for broken"
        await rig.cell("user").stop("stopped by an operator")
        assert rig.cell("user").state == "stopped"

    run(tmp_path, agents, scenario)


def test_a_start_goes_on_when_what_it_needs_has_come_back(tmp_path: Path) -> None:
    agents = {"broken": {"settings": {"fails": True}}, "user": needs("broken")}

    async def scenario(rig: Rig) -> None:
        rig.cells.launch()
        await rig.settled()
        await rig.has("broken", "backoff")
        rig.registry_says(overrides=[override("broken", "fails", False)])
        await rig.has("user", "ready")

    run(tmp_path, agents, scenario)


# -- soft dependencies


def test_a_soft_dependency_that_is_away_is_waited_for_in_words_only(tmp_path: Path) -> None:
    agents = {"user": needs("x", "y", "nowhere", soft=True), "x": {"hosts": ("pc2",)}, "y": {"hosts": ("pc2",)},
              "unplaced": {"hosts": ()}}

    async def scenario(rig: Rig) -> None:
        rig.cells.launch()
        await rig.settled()
        cell = rig.cell("user")
        assert (cell.state, cell.lifecycle.reason) == ("degraded", "waiting for x@pc2, y@pc2")
        before = rig.announced
        for instances, state, reason in (
            ([instance("y")], "degraded", "waiting for x@pc2"),
            ([instance("x"), instance("y", "degraded")], "ready", ""),
            ([instance("x", "starting"), instance("y")], "degraded", "waiting for x@pc2"),
            ([instance("y")], "degraded", "waiting for x@pc2"),
            ([instance("x"), instance("y")], "ready", ""),
        ):
            rig.registry_says(instances=instances)
            await settle()
            assert (cell.state, cell.lifecycle.reason) == (state, reason)
        assert rig.announced >= before + 4

    run(tmp_path, agents, scenario)


def test_a_hard_dependency_on_another_host_is_soft(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.cells.launch()
        await rig.settled()
        assert rig.states() == {"user": "degraded"}
        assert rig.cell("user").lifecycle.reason == "waiting for x@pc2"

    run(tmp_path, {"user": needs("x"), "x": {"hosts": ("pc2",)}}, scenario)


def test_a_service_on_two_hosts_is_there_when_one_of_them_has_it(tmp_path: Path) -> None:
    agents = {"user": needs("x", soft=True), "x": {"hosts": ("mainpc", "pc2"), "settings": {"fails": True}}}

    async def scenario(rig: Rig) -> None:
        rig.cells.launch()
        await rig.settled()
        assert rig.cell("user").lifecycle.reason == "waiting for x@mainpc,pc2"
        rig.registry_says(instances=[instance("x")])
        await rig.has("user", "ready")

    run(tmp_path, agents, scenario)


def test_the_summary_counts_the_ready_and_names_the_others_with_their_reasons(tmp_path: Path) -> None:
    agents = {"well": {}, "user": needs("x", soft=True), "x": {"hosts": ("pc2",)},
              "broken": {"settings": {"fails": True}}}

    async def scenario(rig: Rig) -> None:
        rig.cells.launch()
        await rig.settled()
        summary = rig.cells.summary()
        assert (summary["ready"], summary["total"]) == (1, 3)
        assert summary["degraded"] == [{"service": "user", "reason": "waiting for x@pc2"}]
        (failed,) = summary["failed"]
        assert (failed["service"], failed["state"]) == ("broken", "backoff") and "no licence" in failed["reason"]

    run(tmp_path, agents, scenario)


# -- what operators want


def test_what_is_wanted_stopped_is_not_started(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.registry_says(desired=[desired("one", "stopped"), desired("two", "stopped", "pc2")])
        rig.cells.launch()
        await rig.settled()
        assert rig.states() == {"one": "stopped", "two": "ready"}
        assert rig.cell("one").lifecycle.reason == "stopped by an operator"
        assert ("one", "starting") not in rig.steps
        assert rig.directory.instances("one")[0].reason == "stopped by an operator"

    run(tmp_path, {"one": {}, "two": {}}, scenario)


def test_a_wish_told_by_the_registry_is_followed(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.cells.launch()
        await rig.settled()
        rig.registry_says(desired=[desired("one", "stopped"), desired("unheard_of", "stopped")])
        await rig.has("one", "stopped")
        assert rig.cell("one").lifecycle.reason == "stopped by an operator"
        rig.registry_says(desired=[desired("one", "running")])
        await rig.has("one", "ready")
        rig.registry_says(desired=[desired("one", "stopped")])
        await asyncio.sleep(0)
        rig.registry_says(desired=[desired("one", "running")])
        await asyncio.gather(*rig.tasks)
        await rig.has("one", "ready")

    run(tmp_path, {"one": {}, "two": {}}, scenario)


def test_settings_of_the_registry_hold_from_the_first_start_on(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.registry_says(overrides=[override("one", "fails", False)])
        rig.cells.launch()
        await rig.settled()
        assert rig.states() == {"one": "ready"}
        assert rig.cell("one").spec.origin["settings.fails"] == "override"
        assert rig.order("starting") == ["one"]

    run(tmp_path, {"one": {"settings": {"fails": True}}}, scenario)


def test_a_setting_that_changes_starts_its_agent_anew_and_no_other(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.cells.launch()
        await rig.settled()
        rig.steps.clear()
        rig.registry_says(overrides=[override("one", "after", 0), override("unheard_of", "after", 1)])
        await asyncio.gather(*rig.tasks)
        await rig.has("one", "ready")
        assert {service for service, _ in rig.steps} == set(), "it is what it was"
        rig.registry_says(overrides=[override("one", "after", 7.0)])
        await asleep(rig.clock, 7.0)
        assert rig.cell("one").state == "ready", "calls wait for it"
        await rig.clock.advance(7)
        await eventually(lambda: rig.cell("one").settings()["after"] == 7.0)
        rig.registry_says(overrides=[])
        await eventually(lambda: rig.cell("one").state == "ready" and rig.cell("one").settings()["after"] == 0.0)
        assert {service for service, _ in rig.steps} == {"one"}

    run(tmp_path, {"one": {"settings": {"after": 0.0}}, "two": {}}, scenario)


@pytest.mark.parametrize("state", ["starting", "backoff", "quarantined"])
def test_a_setting_that_changes_also_helps_one_that_does_not_come_up(tmp_path: Path, state: str) -> None:
    async def scenario(rig: Rig) -> None:
        rig.cells.launch()
        if state == "starting":
            await asleep(rig.clock, 1000.0)
        else:
            await rig.settled()
        while state == "quarantined" and rig.cell("one").state != "quarantined":
            await rig.clock.advance(1)
            await eventually(lambda: rig.cell("one").state in ("backoff", "quarantined"))
        assert rig.cell("one").state == state
        rig.registry_says(overrides=[override("one", "fails", False), override("one", "after", 0.0)])
        await rig.has("one", "ready")

    settings = {"fails": True, "after": 1000.0 if state == "starting" else 0.0}
    run(tmp_path, {"one": {"settings": settings}}, scenario)


def test_settings_that_change_again_and_again_end_in_the_last(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.cells.launch()
        await rig.settled()
        for number in range(1, 6):
            rig.registry_says(overrides=[override("one", "after", number / 8)])
            await asyncio.sleep(0)
        while not all(task.done() for task in rig.tasks):
            await rig.clock.advance(0.1)
            await settle()
        assert rig.cell("one").settings()["after"] == 5 / 8

    run(tmp_path, {"one": {"settings": {"after": 0.0}}}, scenario)


def test_a_stopped_agent_takes_its_new_settings_when_it_is_started(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.registry_says(desired=[desired("one", "stopped")])
        rig.cells.launch()
        await rig.settled()
        rig.registry_says(overrides=[override("one", "fails", False)])
        await asyncio.gather(*rig.tasks)
        assert (rig.cell("one").state, rig.cell("one").lifecycle.reason) == ("stopped", "stopped by an operator")
        rig.registry_says(desired=[desired("one", "running")])
        await rig.has("one", "ready")

    run(tmp_path, {"one": {"settings": {"fails": True}}}, scenario)
