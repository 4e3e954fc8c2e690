"""A real Prometheus scrapes two hosts and the registry by the shipped configuration and answers what one asks of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dashboards import expressions
from tests.eventually import wait_until
from tests.project import Project
from tests.prometheus_server import PrometheusServer

LIMIT = 30.0


@pytest.fixture
def server(pair: Project) -> Iterator[PrometheusServer]:
    """A Prometheus that watches the mesh of `near` and `far`, which runs without a launcher."""
    for command in (["registry"], *(["mesh.supervisor", "--host", name] for name in pair.ports)):
        pair.spawn(*command)
    wait_until(lambda: pair.call("near.ask", text="are you there?")["ok"], LIMIT)
    targets = {name: ports[2] for name, ports in pair.ports.items()} | {"registry": pair.registry_metrics_port}
    made = PrometheusServer(pair.root / "prometheus", targets)
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_it_sees_every_process_and_the_calls_that_are_made(pair: Project, server: PrometheusServer) -> None:
    wait_until(lambda: server.query("up") == {"mainpc": 1, "pc2": 1, "registry": 1}, LIMIT)
    counted = 'mesh_calls_total{service="far",operation="echo",code="ok"}'
    wait_until(lambda: server.query(counted) == {"pc2": 1}, LIMIT)
    for _ in range(4):
        assert pair.call("near.ask", text="hello")["ok"]
    assert not pair.call("far.fail")["ok"]
    wait_until(lambda: server.query(counted) == {"pc2": 5}, LIMIT)
    rate = wait_until(lambda: server.query(f"rate({counted}[1m])").get("pc2"), LIMIT)
    assert 0 < rate < 5
    assert server.query("mesh_host_info", by="name") == {"mainpc": 1, "pc2": 1}
    assert server.query('mesh_registry_hosts{state="ok"}') == {"registry": 2}
    median = server.query('histogram_quantile(0.5, mesh_call_seconds_bucket{service="far",operation="echo"})')
    assert 0 < median["pc2"] < 10
    by_code = 'sum by (code) (mesh_calls_total{service="far"})'
    wait_until(lambda: server.query(by_code, by="code") == {"ok": 5, "remote_failure": 1}, LIMIT)
    trouble = [target["lastError"] for target in server.ask("targets")["activeTargets"] if target["lastError"]]
    assert trouble == []


def test_it_takes_every_alert_and_every_query_of_the_board(pair: Project, server: PrometheusServer) -> None:
    assert pair.call("near.ask", text="hello")["ok"]
    wait_until(lambda: server.query("sum(mesh_calls_total)", by="").get("", 0) > 1, LIMIT)
    for title, expression in expressions():
        assert server.ask("query", query=expression)["resultType"] == "vector", title

    def evaluated() -> list[str]:
        [group] = server.ask("rules")["groups"]
        return [rule["health"] for rule in group["rules"]]

    wait_until(lambda: set(evaluated()) == {"ok"}, LIMIT)
    assert {alert["labels"]["alertname"] for alert in server.ask("alerts")["alerts"]} <= {"MeshAgentAway"}


def test_a_host_that_dies_raises_alerts(pair: Project, server: PrometheusServer) -> None:
    wait_until(lambda: server.query("up").get("pc2") == 1, LIMIT)
    pair.kill("pc2")

    def alerts() -> set[tuple[str, str]]:
        return {(alert["labels"]["alertname"], alert["labels"]["host"]) for alert in server.ask("alerts")["alerts"]}

    wait_until(lambda: {("MeshProcessDown", "pc2"), ("MeshHostDead", "registry")} <= alerts(), LIMIT)
    assert server.query("up")["mainpc"] == 1
