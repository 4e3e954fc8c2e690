"""Samples of the machine, what more load would lead to, and the agents as the directory has them."""

from __future__ import annotations

from typing import Any

import psutil
import pytest
from agents_mainpc.load_projection import Capacity, project
from agents_mainpc.system_digital_twin import SystemDigitalTwin
from agents_shared.system import Metrics

from mesh import InvalidArgument
from mesh.testing import InMemoryMesh, in_mesh
from tests.eventually import eventually

NOW = Metrics(cpu_usage=50.0, vram_usage_mb=20_000.0, ram_usage_mb=20_000.0, network_latency_ms=None)
MACHINE = Capacity(ram_mb=32_000.0, vram_mb=24_000.0, ram_share=0.9, vram_share=0.95, cpu_percent=90.0)


def host(name: str, state: str = "ok") -> dict[str, Any]:
    return {"name": name, "state": state, "incarnation": 1, "address": "127.0.0.1", "port": 7410}


def instance(service: str, where: str, state: str = "ready") -> dict[str, Any]:
    return {"service": service, "host": where, "incarnation": 1, "state": state, "reason": "", "operations": ["ask"]}


DIRECTORY = {
    "hosts": [host("mainpc"), host("pc2"), host("pc3", "dead")],
    "instances": [instance("notes", "mainpc", "degraded"), instance("notes", "pc2"), instance("music", "mainpc")],
}


async def twin(mesh: InMemoryMesh, **settings: Any) -> None:
    mesh.fake("supervisor", directory=DIRECTORY, status={})
    mesh.fake("supervisor", host="pc2", status={})
    cell = await mesh.add("system_digital_twin", SystemDigitalTwin, settings=settings)
    assert cell.state == "ready", cell.lifecycle.reason


async def asked(mesh: InMemoryMesh, operation: str, **arguments: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await mesh.request(f"system_digital_twin.{operation}", **arguments)
    return answer


@pytest.mark.parametrize(("load_type", "value", "recommendation", "projected"), [
    ("vram", 2_799.0, "proceed", 22_799.0),
    ("vram", 2_801.0, "deny_insufficient_resources", 22_801.0),
    ("ram", 8_799.0, "proceed", 28_799.0),
    ("ram", 8_801.0, "deny_insufficient_resources", 28_801.0),
    ("cpu", 40.0, "proceed", 90.0),
    ("cpu", 40.1, "caution_high_cpu", 90.1),
])
def test_load_is_refused_above_its_share_of_the_machine(
    load_type: Any, value: float, recommendation: str, projected: float
) -> None:
    found = project(load_type, value, NOW, MACHINE)
    assert found.recommendation == recommendation
    assert (found.reason is None) == (recommendation == "proceed")
    values = (found.projected_vram_mb, found.projected_ram_mb, found.projected_cpu_percent)
    assert [each for each in values if each is not None] == [pytest.approx(projected)]


def test_without_known_video_memory_no_model_is_let_in() -> None:
    found = project("vram", 1.0, NOW, Capacity(32_000.0, 0.0, 0.9, 0.95, 90.0))
    assert found.recommendation == "deny_insufficient_resources"
    assert "no video memory" in (found.reason or "")


@in_mesh
async def test_the_metrics_are_those_of_this_machine(mesh: InMemoryMesh) -> None:
    await twin(mesh)
    metrics = (await asked(mesh, "get_metrics"))["metrics"]
    memory = psutil.virtual_memory()
    used = (memory.total - memory.available) / 1024**2
    assert metrics["ram_usage_mb"] == pytest.approx(used, rel=0.3)
    assert 0 <= metrics["cpu_usage"] <= 100
    projected = await asked(mesh, "simulate_load", load_type="ram", value=memory.total / 1024**2)
    assert projected["recommendation"] == "deny_insufficient_resources"


@in_mesh
async def test_a_sample_is_taken_each_five_seconds_with_the_way_to_the_other_host(mesh: InMemoryMesh) -> None:
    await twin(mesh)
    for count in range(2, 5):
        await mesh.clock.advance(5)
        await samples(mesh, count)
    history = (await asked(mesh, "get_history"))["history"]
    assert history["timestamps"][:2] == ["2027-01-15T08:00:00+00:00", "2027-01-15T08:00:05+00:00"]
    assert {len(each) for each in history.values()} == {4}
    assert history["network_latency_ms"][0] is None
    assert history["network_latency_ms"][-1] > 0
    mesh.cut("pc2")
    await mesh.clock.advance(5)
    await samples(mesh, 5)
    assert (await asked(mesh, "get_metrics"))["metrics"]["network_latency_ms"] is None


async def samples(mesh: InMemoryMesh, count: int) -> None:
    """Wait until that many samples are there; each is read in a thread."""
    agent = mesh.agent("system_digital_twin")
    assert isinstance(agent, SystemDigitalTwin)
    await eventually(lambda: len(agent._samples) == count)


@in_mesh
async def test_video_memory_is_what_the_model_manager_says_host_by_host(mesh: InMemoryMesh) -> None:
    await twin(mesh, vram_mb={"pc2": 12_000})
    models = {"big": {"device": "pc2", "vram_usage_mb": 11_000.0}, "small": {"device": "mainpc", "vram_usage_mb": 9.0}}
    await asked(mesh, "update_vram_metrics", total_vram_mb=24_000.0, total_vram_used_mb=9.0, loaded_models=models)
    here = await asked(mesh, "simulate_load", load_type="vram", value=20_000.0)
    there = await asked(mesh, "simulate_load", load_type="vram", value=500.0, device="pc2")
    assert here["recommendation"] == "proceed"
    assert (there["recommendation"], there["projected_vram_mb"]) == ("deny_insufficient_resources", 11_500.0)


@in_mesh
async def test_agents_are_those_of_the_directory(mesh: InMemoryMesh) -> None:
    await twin(mesh)
    everyone = (await asked(mesh, "get_registered_agents"))["agents"]
    assert [(each["name"], each["location"], each["status"]) for each in everyone] == [
        ("notes", "mainpc", "degraded"), ("notes", "pc2", "ready"), ("music", "mainpc", "ready"),
    ]
    assert everyone[0]["port"] == 7410
    assert len((await asked(mesh, "get_ok_agents"))["agents"]) == 2
    assert (await asked(mesh, "get_agent_info", agent_name="notes"))["agent"]["location"] == "pc2"
    assert (await asked(mesh, "get_agent_info", agent_name="nobody"))["agent"] is None
    assert await asked(mesh, "get_all_agents") == {"agents": everyone}


@in_mesh
async def test_registrations_and_look_ups_are_passed_on_to_the_phone_book(mesh: InMemoryMesh) -> None:
    await twin(mesh)
    book = mesh.fake("service_registry", register_agent=None, get_agent_endpoint={"host": "pc2"})
    await asked(mesh, "register_agent", agent_id="printer", host="10.0.0.9", port=631)
    assert book.calls_of("register_agent")[0]["port"] == 631
    assert await asked(mesh, "get_agent_endpoint", agent_name="notes") == {"host": "pc2"}


@in_mesh
async def test_an_event_is_fanned_out_under_its_id_unless_it_is_not_to_be(mesh: InMemoryMesh) -> None:
    await twin(mesh)
    given = {"event_type": "door", "source_agent": "house", "data": {"open": True}}
    assert (await asked(mesh, "publish_event", **given, event_id="e1"))["event_id"] == "e1"
    assert (await asked(mesh, "publish_event", **given, propagate=False))["event_id"]
    (event,) = mesh.events_on("system.event")
    assert (event.payload["event_id"], event.payload["data"]) == ("e1", {"open": True})


@in_mesh
async def test_errors_of_others_reach_the_error_bus_and_bad_loads_are_refused(mesh: InMemoryMesh) -> None:
    await twin(mesh)
    await asked(mesh, "report_error", message="paper jam", agent="printer", severity="warning")
    assert [(each.message, each.severity, each.context["agent"]) for each in mesh.reports] == [
        ("paper jam", "warning", "printer"),
    ]
    with pytest.raises(InvalidArgument, match="load_type"):
        await asked(mesh, "simulate_load", load_type="luck", value=1.0)
