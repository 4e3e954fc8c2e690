"""Errors of all agents in one place, what belongs together, and advice that is given once."""

from __future__ import annotations

from typing import Any

import pytest
from agents_pc2.error_patterns import ErrorPatterns, Sighting
from agents_pc2.system_health_manager import SystemHealthManager

from mesh import Agent, InvalidArgument, operation
from mesh.testing import InMemoryMesh, in_mesh
from tests.eventually import eventually


class Clumsy(Agent):
    """Fails when asked to."""

    @operation
    async def stumble(self) -> None:
        """Raise."""
        raise RuntimeError("stumbled over the carpet")


def instance(service: str, state: str) -> dict[str, Any]:
    return {"service": service, "host": "pc2", "incarnation": 1, "state": state, "reason": "", "operations": []}


async def managed(mesh: InMemoryMesh, **settings: Any) -> dict[str, Any]:
    """Start the manager on pc2 and return the directory it sees, to be changed by the test."""
    directory: dict[str, Any] = {"hosts": [], "instances": [instance("memory_orchestrator", "ready")]}
    mesh.fake("supervisor", host="pc2", directory=lambda: directory)
    cell = await mesh.add("system_health_manager", SystemHealthManager, host="pc2", settings=settings)
    assert cell.state == "ready", cell.lifecycle.reason
    return directory


async def asked(mesh: InMemoryMesh, operation: str, **arguments: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await mesh.request(f"system_health_manager.{operation}", **arguments)
    return answer


def error(number: int, service: str, severity: str = "error") -> dict[str, Any]:
    return {"id": f"mainpc-{number:06d}", "seq": number, "time": 1_800_000_000.0 + number, "severity": severity,
            "host": "mainpc", "service": service, "operation": "ask", "type": "ValueError", "message": f"bad {number}",
            "trace_id": None, "fingerprint": "f" * 12, "skipped": 0}


async def tell(mesh: InMemoryMesh, number: int, service: str, severity: str = "error") -> None:
    """Let an error come over the bus and wait until it is kept."""
    await mesh.publish(f"errors.{severity}.mainpc.{service}", error(number, service, severity))
    agent = mesh.agent("system_health_manager")
    assert isinstance(agent, SystemHealthManager)
    for _ in range(1000):
        if await agent._database.query("SELECT 1 FROM errors WHERE error_id = ?", (f"mainpc-{number:06d}",)):
            return
    raise AssertionError(f"error {number} was not kept")


@in_mesh
async def test_an_agents_failure_on_the_other_host_is_kept_as_it_was_reported(mesh: InMemoryMesh) -> None:
    await managed(mesh)
    await mesh.add("clumsy", Clumsy)
    with pytest.raises(Exception, match="stumbled"):
        await mesh.request("clumsy.stumble")
    (report,) = mesh.reports

    agent = mesh.agent("system_health_manager")
    assert isinstance(agent, SystemHealthManager)
    await eventually(lambda: agent._patterns.failing("clumsy", mesh.clock.monotonic()))
    (one,) = (await asked(mesh, "get_recent_errors"))["errors"]
    assert (one["error_id"], one["agent"], one["host"]) == (report.id, "clumsy", "mainpc")
    assert (one["error_type"], one["severity"]) == ("RuntimeError", "error")
    assert "stumbled over the carpet" in one["message"]


@in_mesh
async def test_errors_come_back_newest_first_by_severity_and_after_a_restart(mesh: InMemoryMesh) -> None:
    await managed(mesh)
    for number, severity in enumerate(("error", "warning", "error"), start=1):
        await tell(mesh, number, "notes", severity)
    await mesh.restart("system_health_manager")
    newest = await asked(mesh, "get_recent_errors", limit=2)
    assert [each["message"] for each in newest["errors"]] == ["bad 3", "bad 2"]
    of_kind = await asked(mesh, "get_recent_errors", severity="warning")
    assert [each["message"] for each in of_kind["errors"]] == ["bad 2"]
    status = await asked(mesh, "get_system_status")
    assert status["errors"] == {"error": 2, "warning": 1}
    assert status["memory_system"]["memory_orchestrator"] == "ready"
    assert status["memory_system"]["cache_manager"] == "absent"


@in_mesh
async def test_the_same_error_told_twice_is_kept_once(mesh: InMemoryMesh) -> None:
    await managed(mesh)
    for _ in range(2):
        await tell(mesh, 1, "notes")
    assert len((await asked(mesh, "get_recent_errors"))["errors"]) == 1


@in_mesh
async def test_many_errors_of_one_agent_are_advised_on_once_and_followed_up(mesh: InMemoryMesh) -> None:
    directory = await managed(mesh, burst=3)
    directory["instances"].append(instance("notes", "ready"))
    for number in range(1, 6):
        await tell(mesh, number, "notes")
    await eventually(lambda: mesh.events_on("health.recovery"))
    (advice,) = mesh.events_on("health.recovery")
    told = advice.payload
    assert (told["agent"], told["action"], told["outcome"]) == ("notes", "restart", "advised")
    assert "3 errors" in told["reason"]
    await mesh.clock.advance(61)
    await eventually(lambda: len(mesh.events_on("health.recovery")) == 2)
    assert mesh.events_on("health.recovery")[1].payload["outcome"] == "recovered"


@in_mesh
async def test_an_agent_that_is_still_down_is_told_as_still_failing(mesh: InMemoryMesh) -> None:
    directory = await managed(mesh)
    directory["instances"].append(instance("notes", "quarantined"))
    await tell(mesh, 1, "notes", "critical")
    await mesh.clock.advance(61)
    await eventually(lambda: len(mesh.events_on("health.recovery")) == 2)
    assert [each.payload["outcome"] for each in mesh.events_on("health.recovery")] == ["advised", "still_failing"]


@in_mesh
async def test_agents_that_fail_together_are_shown_as_a_pair(mesh: InMemoryMesh) -> None:
    await managed(mesh)
    await tell(mesh, 1, "notes")
    await mesh.clock.advance(59)
    await tell(mesh, 2, "music")
    await mesh.clock.advance(61)
    await tell(mesh, 3, "radio")
    assert (await asked(mesh, "get_system_status"))["related"] == [{"agents": ["music", "notes"], "times": 1}]


@in_mesh
async def test_an_error_from_outside_is_kept_and_put_on_the_bus_once(mesh: InMemoryMesh) -> None:
    await managed(mesh)
    told = {"agent": "printer", "error_type": "PaperJam", "message": "tray 2", "severity": "warning"}
    identity = (await asked(mesh, "report_error", **told))["error_id"]
    assert [each.message for each in mesh.reports] == ["tray 2"]
    (kept,) = (await asked(mesh, "get_recent_errors"))["errors"]
    assert (kept["error_id"], kept["agent"], kept["error_type"]) == (identity, "printer", "PaperJam")
    with pytest.raises(InvalidArgument, match="severity"):
        await asked(mesh, "report_error", **{**told, "severity": "terrible"})


@in_mesh
async def test_who_sends_heartbeats_and_stops_is_late(mesh: InMemoryMesh) -> None:
    await managed(mesh)
    await asked(mesh, "heartbeat", agent_name="printer")
    await mesh.clock.advance(40)
    assert (await asked(mesh, "get_system_status"))["late"] == []
    await mesh.clock.advance(10)
    assert (await asked(mesh, "get_system_status"))["late"] == ["printer"]
    await asked(mesh, "heartbeat", agent_name="printer")
    assert (await asked(mesh, "get_system_status"))["late"] == []


def test_advice_waits_for_the_burst_and_is_not_repeated_while_it_is_fresh() -> None:
    patterns = ErrorPatterns(window=60, burst=3, quiet=300)
    notes = Sighting("notes", "error")
    assert [patterns.see(notes, now) is not None for now in (0, 50, 100, 105, 108, 120)] == [
        False, False, False, True, False, False,
    ]
    assert [patterns.see(notes, 500 + now) is not None for now in range(3)] == [False, False, True]


def test_a_common_cause_is_looked_for_instead_of_restarting_one_after_the_other() -> None:
    patterns = ErrorPatterns(window=60, burst=3, quiet=300)
    assert patterns.see(Sighting("notes", "error"), 0.0) is None
    advice = patterns.see(Sighting("music", "critical"), 1.0)
    assert advice is not None
    assert (advice.action, advice.related) == ("inspect", ("notes",))


def test_what_is_not_serious_makes_no_pattern() -> None:
    patterns = ErrorPatterns(window=60, burst=1, quiet=300)
    assert patterns.see(Sighting("notes", "info"), 0.0) is None
    assert not patterns.failing("notes", 0.0)
