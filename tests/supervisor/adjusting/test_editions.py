"""New code from disk while the old serves: taken, refused or failed, and told whoever listens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mesh.supervisor.adjusting.editions import Editions
from mesh.testing import InMemoryMesh, in_mesh

CODE = """
from mesh import Agent, operation


class Clock(Agent):
    @operation
    async def tell(self, zone: str) -> str:
        return "{version}"
"""


def saved(file: Path, version: str, before: str = "", after: str = "") -> Path:
    """Save a version of the agent's file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(CODE.replace("{version}", version).replace(before, after))
    return file


def editions(mesh: InMemoryMesh, agents: Path, published: list[Any]) -> Editions:
    return Editions("mainpc", agents, mesh._host("mainpc").house.report,
                    lambda topic, payload, origin: published.append((topic, payload, origin)))


@in_mesh
async def test_new_code_serves_and_is_told_of_and_a_crash_does_not_bring_what_was_saved_since(
    mesh: InMemoryMesh, tmp_path: Path
) -> None:
    published: list[Any] = []
    file = saved(tmp_path / "agents" / "clock.py", "old")
    cell = await mesh.add("clock", f"{file}:Clock")
    version = cell.offer.version
    saved(file, "new")
    done = await editions(mesh, file.parent, published).reload(cell, force=False)
    assert (done.taken, done.how, done.breaks, done.failure) == (True, "beside", (), None)
    assert await mesh.request("clock.tell", zone="") == "new" and cell.offer.version != version
    assert published == [("agent.reloaded", {"service": "clock", "host": "mainpc", "version": cell.offer.version,
                                             "how": "beside", "cut": 0}, "supervisor@mainpc")]
    assert cell.history[-1]["reason"] == "reloaded: the new code was set up beside the old"
    version = cell.offer.version
    saved(file, "newer")
    await mesh.restart("clock")
    assert await mesh.request("clock.tell", zone="") == "new" and cell.offer.version == version


@in_mesh
async def test_code_that_breaks_callers_needs_force(mesh: InMemoryMesh, tmp_path: Path) -> None:
    published: list[Any] = []
    file = saved(tmp_path / "agents" / "clock.py", "old")
    cell = await mesh.add("clock", f"{file}:Clock")
    host = editions(mesh, file.parent, published)
    saved(file, "new", "zone: str", "zone: int")
    done = await host.reload(cell, force=False)
    assert (done.taken, published, mesh.reports) == (False, [], [])
    assert [each.row() for each in done.breaks] == [
        {"operation": "tell", "kind": "argument", "message": "argument 'zone' is int now, and was str"}]
    assert await mesh.request("clock.tell", zone="") == "old"
    done = await host.reload(cell, force=True)
    assert done.taken and len(done.breaks) == 1 and await mesh.request("clock.tell", zone=1) == "new"


@in_mesh
async def test_code_that_does_not_load_is_on_the_error_bus_and_is_taken_when_it_was_mended(
    mesh: InMemoryMesh, tmp_path: Path
) -> None:
    file = saved(tmp_path / "agents" / "clock.py", "old")
    cell = await mesh.add("clock", f"{file}:Clock")
    host = editions(mesh, file.parent, [])
    saved(file, "new", "class", "clas")
    done = await host.reload(cell, force=True)
    assert not done.taken and done.failure is not None and "no valid Python" in done.failure
    assert (mesh.reports[-1].operation, mesh.reports[-1].decision) == ("reload", "the old code goes on")
    assert await mesh.request("clock.tell", zone="") == "old"
    saved(file, "new")
    assert (await host.reload(cell, force=False)).taken and await mesh.request("clock.tell", zone="") == "new"


@in_mesh
async def test_one_that_is_stopped_takes_it_at_its_start(mesh: InMemoryMesh, tmp_path: Path) -> None:
    file = saved(tmp_path / "agents" / "clock.py", "old")
    cell = await mesh.add("clock", f"{file}:Clock")
    await cell.stop("stopped by an operator")
    saved(file, "new")
    done = await editions(mesh, file.parent, []).reload(cell, force=False)
    assert (done.taken, done.how, cell.state) == (True, "", "stopped")
    cell.launch(by_operator=True)
    await cell.settled.wait()
    assert await mesh.request("clock.tell", zone="") == "new"
