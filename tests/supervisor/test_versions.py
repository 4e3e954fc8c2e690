"""A version beside its service shares config and folder with it, hears nothing, and ends without a trace."""

from __future__ import annotations

from pathlib import Path

from tests.eventually import eventually
from tests.supervisor.test_cells import Rig, run

CODE = '''
from mesh import Agent, operation, subscribe

class It(Agent):
    @operation
    async def echo(self, text: str) -> str:
        return text

    @subscribe("things.*")
    async def hear(self, payload: int) -> None: ...

    @subscribe("orders.*", group="workers")
    async def work(self, payload: int) -> None: ...
'''


def test_a_version_has_the_config_of_its_service_and_hears_nothing(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        (tmp_path / "it.py").write_text(CODE)
        rig.cells.launch()
        await rig.settled()
        rig.registry_says(overrides=[{"service": "one", "key": "limits.inbox", "value": 7},
                                     {"service": "one", "key": "instances", "value": 2}])
        await eventually(lambda: rig.states().get("one#2") == "ready")
        cell = rig.cells.add_version("one:v2")
        cell.launch()
        await rig.has("one:v2", "ready")
        assert (cell.name, cell.spec.limits.inbox, len(rig.cells.roster.of("one:v2"))) == ("one:v2", 7, 1)
        assert rig.cell("one").patterns == ("things.*",) and cell.patterns == ()
        rows = {row.service: row for row in rig.cells.inventory()}
        assert rows["one"].traits and not rows["one:v2"].traits
        assert rig.cells.policies("one:v2") == rig.cells.policies("one")
        await rig.cells.remove("one:v2")
        assert rig.states() == {"one": "ready", "one#2": "ready"}

    run(tmp_path, {"one": {}}, scenario)


def test_versions_end_with_their_host(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.cells.launch()
        cell = rig.cells.add_version("one:v2")
        cell.launch()
        await rig.settled()
        await rig.cells.stop()
        assert cell.state.value == "stopped" and set(rig.states().values()) == {"stopped"}

    run(tmp_path, {"one": {}}, scenario)
