"""How a cell stops, in whatever state it is: running calls end first, and nothing of the agent stays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mesh import Cancelled, RemoteFailure, Unavailable, operation
from mesh.testing import InMemoryMesh, in_mesh
from mesh.testing.clock import settle
from tests.eventually import eventually
from tests.supervisor.plain import Failing, Plain, becomes, fresh


class Working(Plain):
    """Works until it is let go."""

    journal: list[str]
    go: asyncio.Event

    async def teardown(self) -> None:
        self.journal.append("teardown")

    @operation
    async def work(self) -> str:
        try:
            await self.go.wait()
            return "done"
        finally:
            self.journal.append("ended")


@in_mesh
async def test_a_stop_lets_running_calls_end_and_takes_no_new_ones(mesh: InMemoryMesh) -> None:
    working = fresh(Working, journal=[], go=asyncio.Event())
    cell = await mesh.add("plain", working)
    call = asyncio.create_task(mesh.request("plain.work"))
    await settle()
    stopping = asyncio.create_task(cell.stop("stopped by an operator"))
    await settle()
    assert cell.state == "draining"
    with pytest.raises(Unavailable, match="is draining on mainpc: stopped by an operator"):
        await mesh.request("plain.echo", text="a")
    await mesh.clock.advance(4.5)
    assert cell.state == "draining"
    working.go.set()
    assert await call == "done"
    await mesh.clock.advance(0.1)
    await stopping
    assert (cell.state, cell.lifecycle.reason) == ("stopped", "stopped by an operator")
    assert working.journal == ["ended", "teardown"]


@pytest.mark.parametrize("turns", range(4))
@in_mesh
async def test_a_call_whose_turn_comes_as_the_stop_looks_is_answered(mesh: InMemoryMesh, turns: int) -> None:
    working = fresh(Working, journal=[], go=asyncio.Event())
    cell = await mesh.add("plain", working, limits={"concurrency": 1})
    first, second = (asyncio.create_task(mesh.request("plain.work")) for _ in range(2))
    await settle()
    working.go.set()
    working.go = asyncio.Event()
    for _ in range(turns):  # at one of them the first has ended, and the second has its place but has not begun
        await asyncio.sleep(0)
    stopping = asyncio.create_task(cell.stop("stopped by an operator"))
    await settle()
    await mesh.clock.advance(0.1)
    assert await first == "done" and not second.done()
    working.go.set()
    assert await second == "done"
    await mesh.clock.advance(0.1)
    await stopping


@in_mesh
async def test_calls_that_outlast_the_stop_are_cancelled_and_answered(mesh: InMemoryMesh) -> None:
    working = fresh(Working, journal=[], go=asyncio.Event())
    cell = await mesh.add("plain", working, limits={"stop_s": 2.0})
    call = asyncio.create_task(mesh.request("plain.work"))
    await settle()
    stopping = asyncio.create_task(cell.stop("stopped by an operator"))
    await mesh.clock.advance(1.9)
    assert not call.done()
    await mesh.clock.advance(0.2)
    await stopping
    with pytest.raises(Cancelled):
        await call
    assert cell.state == "stopped" and working.journal == ["ended", "teardown"]


@in_mesh
async def test_a_start_asked_for_while_it_drains_follows_the_stop(mesh: InMemoryMesh) -> None:
    working = fresh(Working, journal=[], go=asyncio.Event())
    cell = await mesh.add("plain", working)
    call = asyncio.create_task(mesh.request("plain.work"))
    await settle()
    stopping = asyncio.create_task(cell.stop("stopped by an operator"))
    await settle()
    cell.launch(by_operator=True)
    assert cell.state == "draining"
    working.go.set()
    await call
    await mesh.clock.advance(0.1)
    await stopping
    await cell.settled.wait()
    assert cell.state == "ready"


@in_mesh
async def test_the_last_of_several_wishes_counts(mesh: InMemoryMesh) -> None:
    working = fresh(Working, journal=[], go=asyncio.Event())
    cell = await mesh.add("plain", working)
    stops = [asyncio.create_task(cell.stop("first"))]
    await asyncio.sleep(0)
    cell.launch(by_operator=True)
    stops.append(asyncio.create_task(cell.stop("second")))
    await asyncio.gather(*stops)
    await settle()
    assert (cell.state, cell.settled.is_set()) == ("stopped", True)


@in_mesh
async def test_a_stop_while_it_starts_ends_the_start(mesh: InMemoryMesh) -> None:
    journal: list[str] = []

    class Hanging(Plain):
        """Comes up slowly."""

        async def setup(self) -> None:
            journal.append("setup")
            try:
                await asyncio.Event().wait()
            finally:
                journal.append("cancelled")

        async def teardown(self) -> None:
            journal.append("teardown")

    adding = asyncio.create_task(mesh.add("plain", Hanging))
    await eventually(lambda: journal)
    cell = mesh.cell("plain")
    await cell.stop("stopped by an operator")
    await adding
    assert cell.state == "stopped" and journal == ["setup", "cancelled", "teardown"] and mesh.reports == []


@in_mesh
async def test_a_stop_in_backoff_or_quarantine_is_final(mesh: InMemoryMesh) -> None:
    failing = fresh(Failing)
    cell = await mesh.add("plain", failing)
    await cell.stop("stopped by an operator")
    await mesh.clock.advance(60)
    assert (cell.state, cell.lifecycle.reason, failing.failed) == ("stopped", "stopped by an operator", 1)
    cell.launch(by_operator=True)
    for _ in range(3):
        await becomes(cell, "backoff", "quarantined")
        await mesh.clock.advance(1)
    await becomes(cell, "quarantined")
    await cell.stop("stopped by an operator")
    await cell.stop("twice")
    assert (cell.state, cell.lifecycle.reason) == ("stopped", "stopped by an operator")


@in_mesh
async def test_a_stop_after_a_crash_waits_for_the_teardown_that_has_begun(mesh: InMemoryMesh) -> None:
    gone = asyncio.Event()
    journal: list[str] = []

    class Slow(Plain):
        """Takes its time to go."""

        async def teardown(self) -> None:
            await gone.wait()
            journal.append("gone")

    cell = await mesh.add("plain", Slow)
    with pytest.raises(RemoteFailure):
        await mesh.request("plain.leave")
    await settle()
    stopping = asyncio.create_task(cell.stop("stopped by an operator"))
    await settle()
    assert not stopping.done()
    gone.set()
    await stopping
    assert cell.state == "stopped" and journal == ["gone"]


def raises() -> None:
    raise OSError("the device is gone")


def leaves() -> None:
    raise SystemExit(1)


@pytest.mark.parametrize(("how", "told"), [
    (raises, "the device is gone"), (leaves, "the agent's code raised SystemExit"),
    (None, "teardown() did not end within 0.05 s"),
])
def test_a_teardown_that_goes_wrong_is_reported_and_stops_nothing(how: Any, told: str) -> None:
    class Clinging(Plain):
        """Does not go well."""

        async def teardown(self) -> None:
            if how is None:
                await asyncio.Event().wait()
            else:
                how()

    @in_mesh
    async def scenario(mesh: InMemoryMesh) -> None:
        cell = await mesh.add("plain", Clinging, limits={"stop_s": 0.05})
        await cell.stop("stopped by an operator")
        assert cell.state == "stopped"
        (report,) = mesh.reports
        assert (report.severity, report.operation) == ("warning", "teardown") and report.message.startswith(told)
        await mesh.restart("plain")
        assert await mesh.request("plain.echo", text="a") == "a"

    scenario()
