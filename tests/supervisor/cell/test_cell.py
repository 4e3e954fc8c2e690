"""How a cell starts, fails, is tried again and given up, whatever its agent does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mesh import RemoteFailure, Unavailable
from mesh.restart import DELAYS, JITTER, Restarts
from mesh.supervisor.cell import life, tenure
from mesh.testing import InMemoryMesh, in_mesh
from mesh.testing.clock import settle
from tests.eventually import eventually
from tests.supervisor.plain import SOON, Failing, Plain, becomes, fresh

# -- starting


@in_mesh
async def test_an_agent_that_comes_up_is_ready_and_known(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("plain", Plain)
    assert (cell.state, cell.lifecycle.reason, cell.last_error, cell.restarts) == ("ready", "", None, 0)
    assert cell.offer.purpose == "Answers." and sorted(cell.offer.operations) == ["echo", "leave"]
    assert cell.incarnation > 1_000_000_000_000
    assert await mesh.request("plain.echo", text="a") == "a"


@in_mesh
async def test_an_agent_that_says_it_is_limited_is_degraded_and_answers(mesh: InMemoryMesh) -> None:
    class Limited(Plain):
        """Has no engine."""

        why: str | None = "the small engine answers"

        async def check(self) -> str | None:
            return self.why

    cell = await mesh.add("plain", Limited)
    assert (cell.state, cell.lifecycle.reason) == ("degraded", "the small engine answers")
    assert await mesh.request("plain.echo", text="a") == "a"
    Limited.why = "something else"
    await mesh.clock.advance(5)
    assert (cell.state, cell.lifecycle.reason) == ("degraded", "something else")
    Limited.why = None
    await mesh.clock.advance(5)
    assert (cell.state, cell.lifecycle.reason) == ("ready", "")


@in_mesh
async def test_a_check_that_raises_says_that_the_agent_is_not_well(mesh: InMemoryMesh) -> None:
    class Unwell(Plain):
        """Cannot tell."""

        async def check(self) -> str | None:
            raise OSError("no such device")

    cell = await mesh.add("plain", Unwell)
    assert (cell.state, cell.lifecycle.reason) == ("degraded", "check failed: OSError: no such device")


@in_mesh
async def test_a_check_that_hangs_says_that_the_agent_is_not_well(
    mesh: InMemoryMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hanging(Plain):
        """Never tells."""

        async def check(self) -> str | None:
            await asyncio.Event().wait()
            return None

    monkeypatch.setattr(tenure, "CHECK_LIMIT", 0.02)
    cell = await mesh.add("plain", Hanging)
    assert (cell.state, cell.lifecycle.reason) == ("degraded", "check() did not answer within 0.02 s")


@in_mesh
async def test_a_setup_that_raises_is_reported_and_callers_hear_why(mesh: InMemoryMesh) -> None:
    failing = fresh(Failing)
    cell = await mesh.add("plain", failing)
    assert cell.state == "backoff"
    assert cell.lifecycle.reason.startswith("ValueError: no licence file; restart in 0.1 s (failure 1")
    with pytest.raises(Unavailable, match="no licence file"):
        await mesh.request("plain.echo", text="a")
    (report,) = mesh.reports
    assert (report.severity, report.service, report.type) == ("error", "plain", "ValueError")
    assert report.decision == "restart in 0.1 s (failure 1 within a minute)"


@in_mesh
async def test_a_failed_start_is_torn_down_before_the_next(mesh: InMemoryMesh) -> None:
    journal: list[str] = []

    class Half(Plain):
        """Gets half way."""

        async def setup(self) -> None:
            journal.append("setup")
            raise ValueError("half")

        async def teardown(self) -> None:
            journal.append("teardown")

    cell = await mesh.add("plain", Half)
    await mesh.clock.advance(SOON)
    await eventually(lambda: cell.restarts == 1 and cell.state == "backoff")
    assert journal == ["setup", "teardown"] * 2


@in_mesh
async def test_a_setup_that_takes_too_long_is_cancelled_and_named(mesh: InMemoryMesh) -> None:
    journal: list[str] = []

    class Hanging(Plain):
        """Never comes up."""

        async def setup(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                journal.append("cancelled")

    cell = await mesh.add("plain", Hanging, limits={"start_s": 0.05})
    assert cell.state == "backoff" and journal == ["cancelled"]
    assert "setup() of plain did not end within 0.05 s (limits: start_s)" in cell.lifecycle.reason


@in_mesh
async def test_a_timeout_of_the_agents_own_is_not_taken_for_the_limit(mesh: InMemoryMesh) -> None:
    class Impatient(Plain):
        """Gives up by itself."""

        async def setup(self) -> None:
            raise TimeoutError("the camera does not answer")

    cell = await mesh.add("plain", Impatient)
    assert cell.last_error == "TimeoutError: the camera does not answer"


@in_mesh
async def test_a_file_that_does_not_load_is_a_failed_start(mesh: InMemoryMesh, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("class It(:\n    pass\n")
    cell = await mesh.add("broken", f"{tmp_path}/broken.py:It")
    assert cell.state == "backoff" and "broken.py line 1 is no valid Python" in cell.lifecycle.reason
    (tmp_path / "slow.py").write_text("import threading\nthreading.Event().wait(0.3)\n")
    cell = await mesh.add("slow", f"{tmp_path}/slow.py:It", limits={"start_s": 0.05})
    assert cell.state == "backoff" and "loading of slow did not end within 0.05 s" in cell.lifecycle.reason


@in_mesh
async def test_settings_that_do_not_fit_are_a_failed_start(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("plain", Failing, settings={"tims": 3})
    assert cell.state == "backoff" and "did you mean 'times'?" in cell.lifecycle.reason


@pytest.mark.parametrize("place", ["__init__", "setup"])
def test_an_agent_that_exits_while_it_starts_fails_alone(place: str) -> None:
    def leave(self: Any) -> None:
        raise SystemExit("enough")

    async def leave_later(self: Any) -> None:
        leave(self)

    leaving = type("Leaving", (Plain,), {"__doc__": "Goes.", place: leave if place == "__init__" else leave_later})

    @in_mesh
    async def scenario(mesh: InMemoryMesh) -> None:
        cell = await mesh.add("leaving", leaving)
        assert cell.state == "backoff" and "the agent's code raised SystemExit" in cell.lifecycle.reason
        await mesh.add("plain", Plain)
        assert await mesh.request("plain.echo", text="a") == "a"

    scenario()


# -- failing again and again


@in_mesh
async def test_a_start_is_tried_again_after_its_delay_and_not_before(
    mesh: InMemoryMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "Restarts", lambda: Restarts(lambda: 0.5))
    failing = fresh(Failing)
    cell = await mesh.add("plain", failing, settings={"times": 2})
    for restarts, delay in enumerate(DELAYS[:2], start=1):
        await mesh.clock.advance(delay - 0.002)
        assert cell.state == "backoff" and cell.restarts == restarts - 1
        await mesh.clock.advance(0.003)
        await eventually(lambda so_far=restarts: cell.restarts == so_far)  # type: ignore[misc]
        await becomes(cell, "backoff", "ready")
    assert cell.state == "ready" and cell.restarts == 2


@in_mesh
async def test_three_failed_starts_are_enough(mesh: InMemoryMesh) -> None:
    failing = fresh(Failing)
    cell = await mesh.add("plain", failing)
    for _ in range(2):
        await mesh.clock.advance(1)
        await becomes(cell, "backoff", "quarantined")
    assert cell.state == "quarantined"
    assert cell.lifecycle.reason == (
        "failed 3 times before it was ever ready; last error: ValueError: no licence file"
    )
    assert [report.severity for report in mesh.reports] == ["error", "error", "critical"]
    assert mesh.reports[-1].decision == (
        "quarantined: failed 3 times before it was ever ready; `mesh agent start plain` tries again"
    )
    with pytest.raises(Unavailable, match="quarantined on mainpc: failed 3 times"):
        await mesh.request("plain.echo", text="a")
    await mesh.clock.advance(3600)
    assert cell.state == "quarantined" and failing.failed == 3


@in_mesh
async def test_the_sixth_crash_in_a_minute_is_one_too_many(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("plain", Plain)
    for crash, delay in enumerate(DELAYS[:5], start=1):
        with pytest.raises(RemoteFailure):
            await mesh.request("plain.leave")
        assert cell.state == "backoff" and f"(failure {crash} within a minute)" in cell.lifecycle.reason
        await mesh.clock.advance(delay * (1 + JITTER))
        await becomes(cell, "ready")
    with pytest.raises(RemoteFailure):
        await mesh.request("plain.leave")
    assert cell.state == "quarantined" and "failed 6 times in 60 s" in cell.lifecycle.reason


@in_mesh
async def test_an_operator_takes_it_out_of_quarantine_with_a_fresh_budget(mesh: InMemoryMesh) -> None:
    failing = fresh(Failing)
    cell = await mesh.add("plain", failing, settings={"times": 4})
    for _ in range(2):
        await mesh.clock.advance(1)
        await becomes(cell, "backoff", "quarantined")
    cell.launch()
    await settle()
    assert cell.state == "quarantined" and cell.settled.is_set(), "only an operator may"
    cell.launch(by_operator=True)
    await cell.settled.wait()
    assert cell.state == "backoff" and "restart in 0.1 s (failure 1" in cell.lifecycle.reason
    await mesh.clock.advance(SOON)
    await becomes(cell, "ready")


@in_mesh
async def test_an_operators_start_does_not_wait_for_the_delay(mesh: InMemoryMesh) -> None:
    failing = fresh(Failing)
    cell = await mesh.add("plain", failing, settings={"times": 1})
    cell.launch()
    await settle()
    assert cell.state == "backoff"
    cell.launch(by_operator=True)
    await cell.settled.wait()
    assert cell.state == "ready"
    await mesh.clock.advance(60)
    assert cell.state == "ready" and failing.failed == 1


@in_mesh
async def test_an_operators_start_waits_for_the_teardown_of_the_one_before(mesh: InMemoryMesh) -> None:
    journal: list[str] = []
    gone = asyncio.Event()

    class Slow(Plain):
        """Takes its time to go."""

        async def setup(self) -> None:
            journal.append("setup")

        async def teardown(self) -> None:
            journal.append("teardown")
            await gone.wait()
            journal.append("gone")

    cell = await mesh.add("plain", Slow)
    with pytest.raises(RemoteFailure):
        await mesh.request("plain.leave")
    await settle()
    cell.launch(by_operator=True)
    await settle()
    assert (cell.state, journal) == ("starting", ["setup", "teardown"])
    gone.set()
    await becomes(cell, "ready")
    assert journal == ["setup", "teardown", "gone", "setup"]
