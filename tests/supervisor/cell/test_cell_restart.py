"""After which ends an agent is started again, and on which terms."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mesh import RemoteFailure, operation
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cell.resident import Resident
from mesh.testing import InMemoryMesh, in_mesh
from mesh.testing.clock import settle
from tests.eventually import eventually
from tests.supervisor.plain import SOON, Failing, Plain, becomes, fresh


class Ending(Plain):
    """Ends itself when it is told to, as it is told to."""

    @operation
    async def end(self, code: Any) -> None:
        raise SystemExit(code)

    @operation
    async def wait(self, seconds: float) -> str:
        await self.clock.sleep(seconds)
        return "waited"


async def end(mesh: InMemoryMesh, code: Any) -> None:
    with pytest.raises(RemoteFailure, match="raised SystemExit"):
        await mesh.request("ending.end", code=code)


def told(cell: Cell) -> list[str]:
    return [row["state"] for row in cell.history]


@pytest.mark.parametrize(("restart", "code", "returns"), [
    ("permanent", 0, True), ("permanent", 3, True), ("transient", 3, True), ("transient", "no licence", True),
    ("transient", 0, False), ("transient", None, False), ("temporary", 3, False), ("temporary", 0, False),
])
def test_how_it_ended_and_its_kind_say_whether_it_is_started_again(restart: str, code: Any, returns: bool) -> None:
    @in_mesh
    async def scenario(mesh: InMemoryMesh) -> None:
        cell = await mesh.add("ending", Ending, restart=restart)
        await end(mesh, code)
        await settle()
        if returns:
            await mesh.clock.advance(SOON)
            await becomes(cell, "ready")
            assert cell.restarts == 1
        else:
            await eventually(lambda: cell.at_rest)
            await mesh.clock.advance(700)
            assert (cell.state, cell.restarts) == ("stopped", 0)
            assert f"(restart: {restart})" in cell.lifecycle.reason
            assert mesh.reports[-1].decision == (
                f"not started again, as `restart: {restart}` says; `mesh agent start ending` does"
            )
            assert mesh.reports[-1].severity == ("info" if code in (0, None) else "error")

    scenario()


@in_mesh
async def test_one_that_ends_as_it_meant_to_finishes_what_it_answers(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("ending", Ending, restart="transient")
    waiting = asyncio.create_task(mesh.request("ending.wait", seconds=2.0))
    await settle()
    await end(mesh, 0)
    await settle()
    assert cell.state == "draining"
    await mesh.clock.advance(2.1)
    assert await waiting == "waited"
    await eventually(lambda: cell.at_rest)
    assert cell.lifecycle.reason == "it ended by itself: the agent's code raised SystemExit (restart: transient)"
    assert "failed" not in told(cell) and cell.failures == 0


@pytest.mark.parametrize("code", [0, 3])
def test_an_operator_starts_again_what_is_not_started_again_by_itself(code: int) -> None:
    @in_mesh
    async def scenario(mesh: InMemoryMesh) -> None:
        cell = await mesh.add("ending", Ending, restart="temporary")
        await end(mesh, code)
        cell.launch(by_operator=True)  # at once: it has not even been torn down
        await cell.settled.wait()
        await becomes(cell, "ready")
        assert await mesh.request("ending.echo", text="again") == "again"

    scenario()


@in_mesh
async def test_a_temporary_agent_that_does_not_start_is_not_tried_again(mesh: InMemoryMesh) -> None:
    failing = fresh(Failing)
    cell = await mesh.add("plain", failing, restart="temporary")
    assert cell.at_rest and told(cell) == ["starting", "failed", "stopped"]
    assert cell.lifecycle.reason == "ValueError: no licence file; not started again (restart: temporary)"
    await mesh.clock.advance(700)
    assert failing.failed == 1


@in_mesh
async def test_a_transient_agent_may_end_while_it_starts(mesh: InMemoryMesh) -> None:
    class Nothing(Plain):
        """Finds nothing to do."""

        async def setup(self) -> None:
            raise SystemExit

    cell = await mesh.add("plain", fresh(Nothing), restart="transient")
    assert cell.at_rest and told(cell) == ["starting", "stopped"]


@in_mesh
async def test_the_terms_of_an_agent_are_its_own(mesh: InMemoryMesh) -> None:
    terms = {"budget": 2, "within_s": 10.0, "delays_s": [3.0], "starts": 9}
    cell = await mesh.add("plain", fresh(Failing), restarts=terms)
    assert cell.life.next_start is not None
    assert 3 * 0.8 <= cell.life.next_start - mesh.clock.monotonic() <= 3 * 1.2
    await mesh.clock.advance(3.7)
    await eventually(lambda: cell.failures == 2)
    await mesh.clock.advance(3.7)
    await becomes(cell, "quarantined")
    assert cell.lifecycle.reason.startswith("failed 3 times in 10 s, its budget is 2 restarts; last error: ValueError")
    assert cell.life.next_start is None


@in_mesh
async def test_new_terms_count_from_the_next_failure(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("ending", Ending)
    spec = cell.spec
    cell.resize(spec.model_copy(update={"restarts": spec.restarts.model_copy(update={"budget": 0})}))
    await end(mesh, 3)
    assert cell.state == "quarantined" and "failed once in 60 s, its budget is 0 restarts" in cell.lifecycle.reason


def test_an_agent_whose_failed_start_cannot_be_cleared_away_is_started_again_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    close = Resident.close

    async def failing(self: Resident) -> None:
        await close(self)
        raise OSError("Bad file descriptor")

    @in_mesh
    async def scenario(mesh: InMemoryMesh) -> None:
        monkeypatch.setattr(Resident, "close", failing)
        cell = await mesh.add("failing", fresh(Failing), settings={"times": 1})
        assert cell.state == "backoff"
        assert "Bad file descriptor" in [report.message for report in mesh.reports]
        monkeypatch.undo()
        await mesh.clock.advance(SOON)
        await becomes(cell, "ready")

    scenario()
