"""Groups at work: who is stopped and started again with whom, and who is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from mesh import RemoteFailure
from mesh.config import AgentSpec, MeshConfig, RegistryConfig, RestartGroupConfig
from mesh.supervisor.bell import Bell
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.restartgroups import RestartGroups
from mesh.testing import InMemoryMesh, in_mesh
from mesh.testing.clock import settle
from tests.eventually import eventually
from tests.supervisor.plain import SOON, Plain, becomes, fresh, torn_down

HOST = "mainpc"
NAMES = ("ear", "words", "voice", "lamp")


class Failing(Plain):
    """Does not start while it is told not to."""

    broken = False

    async def setup(self) -> None:
        if self.broken:
            raise ValueError("no microphone")


class Rig:
    """A group of three agents, and a fourth that is in none."""

    def __init__(self, mesh: InMemoryMesh, strategy: str, **config: Any) -> None:
        self.mesh = mesh
        self.unwanted: set[str] = set()
        self.classes = {name: fresh(Failing) for name in NAMES}
        self._tasks: set[asyncio.Task[None]] = set()
        group = RestartGroupConfig.model_validate({"agents": list(NAMES[:3]), "strategy": strategy, **config})
        place, bell = mesh._host(HOST), Bell()
        agents = {name: AgentSpec(service=name, file=place.house.folder, class_name="It", hosts=(HOST,))
                  for name in NAMES}
        made = MeshConfig(mesh="home", registry=RegistryConfig(host=HOST, port=1), hosts={}, agents=agents,
                          restart_groups={"speech": group}, root=place.house.folder, home=place.house.folder)
        self.groups = RestartGroups(made, HOST, place.roster.by_name, clock=mesh.clock, bell=bell,
                                    report=place.house.report, spawn=self._spawn,
                                    wanted=lambda service: service not in self.unwanted)
        told = place.house.changed

        def changed(service: str) -> None:
            told(service)
            bell.ring()

        place.house = replace(place.house, changed=changed, failed=self.groups.failed, renewed=self.groups.renewed)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def start(self) -> dict[str, Cell]:
        return {name: await self.mesh.add(name, cls, host=HOST) for name, cls in self.classes.items()}

    async def crash(self, name: str) -> None:
        with pytest.raises(RemoteFailure):
            await self.mesh.request(f"{name}.leave")
        await settle()


def starts(cell: Cell) -> int:
    return sum(row["state"] == "starting" for row in cell.history)


@pytest.mark.parametrize(("strategy", "crashed", "again"), [
    ("one_for_one", "words", {"words"}), ("one_for_all", "words", {"ear", "words", "voice"}),
    ("rest_for_one", "words", {"words", "voice"}), ("rest_for_one", "voice", {"voice"}),
    ("one_for_all", "lamp", {"lamp"}),
])
def test_exactly_those_of_the_strategy_are_started_again(strategy: str, crashed: str, again: set[str]) -> None:
    @in_mesh
    async def scenario(mesh: InMemoryMesh) -> None:
        rig = Rig(mesh, strategy)
        cells = await rig.start()
        await rig.crash(crashed)
        await mesh.clock.advance(SOON)
        await eventually(lambda: all(cell.state == "ready" for cell in cells.values()))
        assert {name for name, cell in cells.items() if starts(cell) == 2} == again
        assert {name for name, cell in cells.items() if cell.restarts} == {crashed}

    scenario()


@in_mesh
async def test_the_others_wait_until_the_one_that_failed_is_well(mesh: InMemoryMesh) -> None:
    rig = Rig(mesh, "one_for_all")
    cells = await rig.start()
    rig.classes["ear"].broken = True
    await rig.crash("ear")
    await mesh.clock.advance(SOON)
    await eventually(lambda: cells["ear"].failures == 2)
    assert [cells[name].state for name in ("words", "voice")] == ["stopped", "stopped"]
    assert cells["voice"].lifecycle.reason == "restarted with ear (restart group speech, one_for_all)"
    rig.classes["ear"].broken = False
    await mesh.clock.advance(1)
    await eventually(lambda: all(cell.state == "ready" for cell in cells.values()))


@in_mesh
async def test_several_that_fail_at_once_are_one_round(mesh: InMemoryMesh) -> None:
    rig = Rig(mesh, "one_for_all")
    cells = await rig.start()
    for name in ("ear", "voice"):
        cells[name].crash(RuntimeError("both at once"))
    for name in ("ear", "words", "voice"):
        await torn_down(cells[name])
    await mesh.clock.advance(2 * SOON)  # restarts are kept apart
    await eventually(lambda: all(cell.state == "ready" for cell in cells.values()))
    assert [starts(cells[name]) for name in NAMES] == [2, 2, 2, 1]


@in_mesh
async def test_nobody_is_started_again_whom_an_operator_has_stopped(mesh: InMemoryMesh) -> None:
    rig = Rig(mesh, "one_for_all")
    cells = await rig.start()
    rig.unwanted.add("voice")
    await cells["voice"].stop("stopped by an operator")
    await rig.crash("ear")
    rig.unwanted.add("words")  # while it is down with the others
    await mesh.clock.advance(SOON)
    await becomes(cells["ear"], "ready")
    await mesh.clock.advance(60)
    assert [cells[name].state for name in NAMES] == ["ready", "stopped", "stopped", "ready"]


@in_mesh
async def test_a_spent_group_is_given_up_whole_and_nothing_else(mesh: InMemoryMesh) -> None:
    rig = Rig(mesh, "one_for_one", budget=2, within_s=60.0)
    cells = await rig.start()
    for name in ("ear", "words"):
        await rig.crash(name)
        await mesh.clock.advance(SOON)
        await becomes(cells[name], "ready")
    await rig.crash("ear")
    await eventually(lambda: all(cells[name].state == "quarantined" for name in NAMES[:3]))
    assert cells["lamp"].state == "ready"
    reason = "the restart group speech failed 3 times in 60 s, its budget is 2"
    assert all(reason in cells[name].lifecycle.reason for name in NAMES[:3])
    told = next(row for row in mesh.reports if row.message.startswith("restart group speech, one_for_one is given up"))
    assert told.severity == "critical"
    cells["ear"].launch(by_operator=True)
    await becomes(cells["ear"], "ready")
    assert rig.groups.row("ear") == {"name": "speech", "strategy": "one_for_one", "budget": 2, "within_s": 60.0,
                                     "members": list(NAMES[:3]), "failures": 0}
    assert cells["voice"].state == "quarantined" and rig.groups.row("lamp") is None


@in_mesh
async def test_those_that_cannot_do_without_one_that_is_given_up_are_given_up_with_it(mesh: InMemoryMesh) -> None:
    rig = Rig(mesh, "rest_for_one", budget=100)
    cells = await rig.start()
    rig.classes["words"].broken = True
    await rig.crash("words")
    while cells["words"].state != "quarantined":
        await mesh.clock.advance(6)
        await becomes(cells["words"], "backoff", "quarantined")
    await becomes(cells["voice"], "quarantined")
    assert cells["ear"].state == "ready"
    reason = "words, which it runs with, is given up (restart group speech, rest_for_one)"
    assert cells["voice"].lifecycle.reason == reason
