"""`mesh doctor` on a real mesh: all is well, nothing runs, one host is gone, the registry is gone."""

from __future__ import annotations

import os
import socket
from typing import Any

from tests.cli.runner import run
from tests.eventually import wait_until
from tests.project import Project

Row = dict[str, Any]


def checks(mesh: Project, *options: str) -> tuple[int, list[Row]]:
    result = run(mesh.root, "doctor", "--json", *options)
    return result.code, result.json()["checks"]


def of(rows: list[Row], check: str) -> list[Row]:
    return [row for row in rows if row["check"] == check]


def test_a_running_mesh_is_well_in_both_directions(mesh: Project) -> None:
    code, rows = checks(mesh)
    assert code == 0, [row for row in rows if row["verdict"] == "failed"]
    links = of(rows, "links")
    assert [row["hosts"] for row in links] == [["mainpc", "pc2"], ["pc2", "mainpc"]]
    assert all(row["verdict"] == "ok" and "there and back" in row["message"] for row in links)
    assert len(of(rows, "registry")) == 2 and of(rows, "clocks")[0]["verdict"] == "ok"
    ports = " ".join(row["message"] for row in of(rows, "ports"))
    for port, events, _ in mesh.ports.values():
        assert f"{port} (calls) ours" in ports and f"{events} (events) ours" in ports
    assert f"{mesh.registry_port} (registry) ours" in ports
    assert f"{mesh.registry_metrics_port} (registry metrics) ours" in ports


def test_people_see_a_line_per_verdict_and_the_sum(mesh: Project) -> None:
    result = run(mesh.root, "doctor", "--host", "pc2")
    lines = result.out.splitlines()
    assert lines[-1].endswith(" failed") and " ok, " in lines[-1]
    assert any(line.startswith("ok       links") for line in lines)
    assert not any("mainpc → registry" in line for line in lines)


def test_a_host_that_does_not_exist_is_refused(mesh: Project) -> None:
    result = run(mesh.root, "doctor", "--host", "pc3")
    assert result.code == 2 and "did you mean" in result.err


def test_with_nothing_up_the_rest_is_checked_all_the_same(furnished: Project) -> None:
    code, rows = checks(furnished)
    assert code == 0 and {row["check"] for row in rows} >= {"python", "config", "keys", "limits", "ports", "hosts"}
    assert [row["verdict"] for row in of(rows, "hosts")] == ["warning"]
    assert all("free" in row["message"] for row in of(rows, "ports"))


def test_a_port_that_another_program_holds_fails_with_its_name(furnished: Project) -> None:
    with socket.create_server(("127.0.0.1", furnished.ports["pc2"][0])):
        code, rows = checks(furnished)
    failed = [row for row in rows if row["verdict"] == "failed"]
    assert code == 1 and [row["check"] for row in failed] == ["ports"]
    assert f"process {os.getpid()}" in failed[0]["message"]


def test_loose_keys_fail_with_the_command(furnished: Project) -> None:
    run(furnished.root, "keys", "show")
    key = furnished.home / "keys" / "pc2.key"
    key.chmod(0o644)
    code, rows = checks(furnished)
    failed = [row for row in rows if row["verdict"] == "failed"]
    assert code == 1 and failed and failed[0]["hint"] == f"chmod 600 {key}"


def test_broken_config_leaves_the_other_checks_alone(furnished: Project) -> None:
    (furnished.root / "config" / "agents" / "lamp.yaml").write_text("class: nowhere.py:It\nhosts: [mainpc]\n")
    code, rows = checks(furnished)
    assert code == 1 and of(rows, "config")[0]["verdict"] == "failed" and of(rows, "python")


def test_a_dead_host_and_a_registry_that_is_gone_are_told_by_those_who_live(furnished: Project) -> None:
    furnished.up()
    furnished.mesh("down", "--host", "pc2")
    code, rows = checks(furnished)
    hosts = {row["hosts"][0]: row["verdict"] for row in of(rows, "hosts")}
    assert code == 1 and hosts == {"mainpc": "ok", "pc2": "failed"}
    link = next(row for row in of(rows, "links") if row["hosts"] == ["mainpc", "pc2"])
    assert link["verdict"] == "failed" and f"port {furnished.ports['pc2'][0]}" in link["hint"]
    launcher = next(each for each in furnished.processes() if "mesh.cli.launch" in each.cmdline())
    launcher.suspend()  # else it starts the registry again
    furnished.kill("registry")
    wait_until(lambda: of(checks(furnished)[1], "registry")[0]["verdict"] == "failed", 20)
    code, rows = checks(furnished)
    assert code == 1 and "known services stay callable" in of(rows, "registry")[0]["message"]
    launcher.resume()
