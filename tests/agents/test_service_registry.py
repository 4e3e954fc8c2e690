"""The phone book: services of the mesh from its table, services outside it while they renew."""

from __future__ import annotations

from typing import Any

import pytest
from agents_mainpc.service_registry import ServiceRegistry

from mesh import InvalidArgument, Unavailable
from mesh.testing import FakePeer, InMemoryMesh, in_mesh


def host(name: str, port: int) -> dict[str, Any]:
    return {"name": name, "incarnation": 5, "address": "127.0.0.1", "port": port, "events_port": 1, "key": "",
            "version": "", "state": "ok", "pid": 1, "reason": "", "since": 0.0}


def instance(service: str, where: str, state: str = "ready") -> dict[str, Any]:
    return {"service": service, "host": where, "incarnation": 1_800_000_000_000, "state": state, "reason": "",
            "operations": ["ask", "tell"]}


TABLE = {
    "epoch": 1, "revision": 1, "hosts": [host("mainpc", 7410), host("pc2", 7420)],
    "instances": [instance("notes", "pc2"), instance("notes", "mainpc", "backoff"), instance("music", "mainpc")],
}


async def booked(mesh: InMemoryMesh, **settings: Any) -> FakePeer:
    table = mesh.fake("registry", host="registry", table=TABLE)
    mesh.fake("supervisor", directory={**TABLE, "instances": [instance("music", "mainpc")]})
    await mesh.add("service_registry", ServiceRegistry, settings=settings)
    return table


async def found(mesh: InMemoryMesh, name: str) -> dict[str, Any] | None:
    endpoint: dict[str, Any] | None = await mesh.request("service_registry.get_agent_endpoint", agent_name=name)
    return endpoint


@in_mesh
async def test_a_service_is_found_on_its_best_host_with_the_listener_of_that_host(mesh: InMemoryMesh) -> None:
    await booked(mesh)
    assert await found(mesh, "notes") == {
        "host": "pc2", "listener": "tcp://127.0.0.1:7420", "health_check_port": None, "agent_type": "mesh",
        "capabilities": ["ask", "tell"], "metadata": {"state": "ready", "reason": "", "incarnation": 1_800_000_000_000},
        "last_registered": "2027-01-15T08:00:00+00:00",
    }
    assert await found(mesh, "nobody") is None
    assert (await mesh.request("service_registry.list_agents"))["agents"] == ["music", "notes"]


@in_mesh
async def test_while_the_registry_is_away_this_hosts_copy_answers(mesh: InMemoryMesh) -> None:
    table = await booked(mesh)
    table.operations["table"] = Unavailable("the registry is away", retry_after=1.0)
    assert (await mesh.request("service_registry.list_agents"))["agents"] == ["music"]


@in_mesh
async def test_a_service_outside_is_listed_while_it_renews_and_not_a_moment_longer(mesh: InMemoryMesh) -> None:
    await booked(mesh, lease_s=60)
    for port, later in ((631, 50), (632, 0)):
        await mesh.request("service_registry.register_agent", agent_id="printer", host="10.0.0.9", port=port)
        await mesh.clock.advance(later)
    await mesh.clock.advance(50)
    endpoint = await found(mesh, "printer")
    assert endpoint is not None
    assert (endpoint["listener"], endpoint["agent_type"]) == ("10.0.0.9:632", "external")
    assert endpoint["last_registered"] == "2027-01-15T08:00:50+00:00"
    await mesh.clock.advance(11)
    assert await found(mesh, "printer") is None
    assert "printer" not in (await mesh.request("service_registry.list_agents"))["agents"]


@in_mesh
async def test_names_of_the_mesh_and_bad_records_are_refused(mesh: InMemoryMesh) -> None:
    await booked(mesh, external=1)
    with pytest.raises(InvalidArgument, match="service of the mesh"):
        await mesh.request("service_registry.register_agent", agent_id="notes", host="10.0.0.9", port=1)
    with pytest.raises(InvalidArgument, match="port"):
        await mesh.request("service_registry.register_agent", agent_id="printer", host="10.0.0.9", port=70_000)
    await mesh.request("service_registry.register_agent", agent_id="printer", host="10.0.0.9", port=631)
    with pytest.raises(InvalidArgument, match="1 services outside"):
        await mesh.request("service_registry.register_agent", agent_id="scanner", host="10.0.0.9", port=632)
