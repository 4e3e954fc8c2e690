"""Each figure of `mesh status` is changed by what it stands for, on a mesh that runs."""

from __future__ import annotations

import math
import shutil
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.conftest import furnish
from tests.cli.runner import run
from tests.eventually import wait_until
from tests.project import Project, project

Row = dict[str, Any]


def status(made: Project) -> Row:
    document: Row = run(made.root, "status", "--json").json()
    return document


def host(made: Project, name: str) -> Row:
    row: Row = next(each for each in status(made)["hosts"] if each["name"] == name)
    return row


def becomes(made: Project, name: str, is_so: Callable[[Row], bool], limit: float = 15.0) -> Row:
    """Return the row of a host as soon as it is so."""

    def found() -> Row | None:
        row = host(made, name)
        return row if is_so(row) else None

    return wait_until(found, limit)


def registry_is(made: Project, state: str) -> Row:
    """Return the document as soon as the registry is in this state."""

    def found() -> Row | None:
        document = status(made)
        return document if document["registry"]["state"] == state else None

    return wait_until(found, 30)


def test_a_mesh_that_is_well_says_so_in_both_forms(mesh: Project) -> None:
    document = status(mesh)
    assert document["registry"]["endpoint"] == f"tcp://127.0.0.1:{mesh.registry_port}"
    assert (document["registry"]["state"], document["registry"]["store"]) == ("ok", "sqlite")
    assert [(row["name"], row["state"], row["security"]) for row in document["hosts"]] == [
        ("mainpc", "ok", "curve"), ("pc2", "ok", "curve")]
    result = run(mesh.root, "status")
    assert result.code == 0 and result.err == ""
    lines = result.out.splitlines()
    assert lines[0].startswith(f"mesh test   registry ok at tcp://127.0.0.1:{mesh.registry_port} (sqlite)")
    assert lines[2].split()[:4] == ["mainpc", "ok", "2", "ready"]
    assert lines[3].split()[:4] == ["pc2", "ok", "1", "ready"]
    assert lines[4].startswith("3 services, ")


def test_pids_are_those_of_the_processes_and_uptime_grows(mesh: Project) -> None:
    first = host(mesh, "pc2")
    assert first["pid"] == mesh.pid("pc2") != host(mesh, "mainpc")["pid"]
    becomes(mesh, "pc2", lambda row: row["uptime_s"] > first["uptime_s"])


def test_a_stopped_agent_is_counted_as_such_and_raises_the_revision(mesh: Project) -> None:
    before = status(mesh)
    run(mesh.root, "agent", "stop", "torch")
    try:
        after = status(mesh)
        assert next(row["agents"] for row in after["hosts"] if row["name"] == "pc2")["stopped"] == 1
        assert after["registry"]["revision"] > before["registry"]["revision"]
        becomes(mesh, "mainpc", lambda row: row["agents"]["degraded"] == 1 and row["agents"]["ready"] == 1)
    finally:
        run(mesh.root, "agent", "start", "torch")
    becomes(mesh, "mainpc", lambda row: row["agents"]["ready"] == 2)


def test_a_required_agent_that_is_stopped_makes_status_fail_and_comes_first(mesh: Project) -> None:
    run(mesh.root, "agent", "stop", "lamp")
    try:
        result = run(mesh.root, "status")
        assert result.code == 1
        assert result.out.splitlines()[0] == "required agent lamp@mainpc is stopped: stopped by an operator"
        (row,) = status(mesh)["required_down"]
        assert (row["service"], row["host"], row["state"]) == ("lamp", "mainpc", "stopped")
    finally:
        run(mesh.root, "agent", "start", "lamp")
    assert run(mesh.root, "status").code == 0


def test_errors_of_both_hosts_are_counted(mesh: Project) -> None:
    before = status(mesh)["errors_last_5m"]
    run(mesh.root, "call", "lamp.blow", "why=a")
    run(mesh.root, "call", "torch.blow", "why=b")
    assert status(mesh)["errors_last_5m"] == before + 2


def test_one_more_service_in_the_config_is_one_more_service(mesh: Project) -> None:
    before = status(mesh)["services"]
    extra = mesh.root / "config" / "agents" / "extra.yaml"
    shutil.copy(mesh.root / "config" / "agents" / "torch.yaml", extra)
    try:
        assert status(mesh)["services"] == before + 1
    finally:
        extra.unlink()


def test_memory_that_an_agent_takes_shows(rough: Project) -> None:
    before = host(rough, "pc2")["rss_mb"]
    run(rough.root, "call", "torch.swell", "megabytes=40")
    assert 35 < host(rough, "pc2")["rss_mb"] - before < 60


def test_a_second_context_shows(rough: Project) -> None:
    assert host(rough, "pc2")["contexts"] == 1
    run(rough.root, "call", "torch.open_context")
    assert host(rough, "pc2")["contexts"] == 2


def test_a_loop_that_is_held_shows_as_lag(rough: Project) -> None:
    wait_until(lambda: host(rough, "mainpc")["loop_lag_ms"] < 100)
    run(rough.root, "call", "lamp.spin", "seconds=1.5")
    assert host(rough, "mainpc")["loop_lag_ms"] > 100


def _age(row: Row) -> float:
    """Return the age of a host's lease, endless once it has none."""
    return math.inf if row["lease_age_s"] is None else float(row["lease_age_s"])


def test_a_frozen_host_ages_its_lease_and_is_not_ok(rough: Project) -> None:
    wait_until(lambda: _age(host(rough, "pc2")) < 1.5)
    pid = rough.kill("pc2", signal.SIGSTOP)
    try:
        row = becomes(rough, "pc2", lambda row: row["state"] != "ok" and _age(row) > 1.5)
        assert row["state"] in ("busy", "suspect", "dead", "unreachable") and row["reason"]
    finally:
        rough.kill_pid(pid, signal.SIGCONT)
    becomes(rough, "pc2", lambda row: row["state"] == "ok" and _age(row) < 1.5, 30)


def test_a_killed_host_comes_back_as_another_process_and_incarnation(rough: Project) -> None:
    before = becomes(rough, "pc2", lambda row: row["sockets"] == 5, 30)
    rough.kill("pc2")
    after = becomes(rough, "pc2", lambda row: row["state"] == "ok" and row["pid"] != before["pid"], 30)
    assert after["incarnation"] > before["incarnation"] and after["uptime_s"] < before["uptime_s"]
    assert after["contexts"] == 1


def test_a_registry_that_is_gone_is_said_and_is_no_failure(rough: Project) -> None:
    becomes(rough, "pc2", lambda row: row["state"] == "ok" and row["lease_age_s"] is not None, 30)
    before = status(rough)["registry"]
    rough.kill("registry", signal.SIGSTOP)
    try:
        gone = registry_is(rough, "unreachable")
        assert gone["registry"]["reason"] and gone["registry"]["revision"] >= before["revision"]
        assert [row["lease_age_s"] for row in gone["hosts"]] == [None, None]
        result = run(rough.root, "status")
        assert result.code == 0 and "registry unreachable" in result.out and "stay callable" in result.out
        assert run(rough.root, "call", "torch.seen").code == 0
    finally:
        rough.kill("registry")
    assert registry_is(rough, "ok")["registry"]["epoch"] > before["epoch"]


def test_a_host_that_is_stopped_is_absent_and_takes_a_socket_with_it(rough: Project) -> None:
    before = becomes(rough, "mainpc", lambda row: row["sockets"] == 5, 30)
    assert run(rough.root, "down", "--host", "pc2").out == "stopped: pc2\n"
    after = becomes(rough, "mainpc", lambda row: row["sockets"] < before["sockets"])
    assert (after["sockets"], after["helpers"]) == (4, before["helpers"] - 1)
    gone = becomes(rough, "pc2", lambda row: row["state"] in ("absent", "leaving", "dead"))
    assert gone["agents"]["ready"] == 0 and gone["uptime_s"] is None
    result = run(rough.root, "agents", "--json")
    assert "the agents of pc2 are not shown: it is " in result.err
    assert "torch" not in [row["service"] for row in result.json()]
    assert "the errors of pc2 are not shown: it is " in run(rough.root, "errors").err


def test_security_none_is_shown_in_words(tmp_path_factory: pytest.TempPathFactory) -> None:
    with project(tmp_path_factory.mktemp("open"), security="none") as made:
        furnish(made)
        up = made.up()
        assert "security is none" in made.output(up)
        assert {row["security"] for row in status(made)["hosts"]} == {"none"}
        assert "security is none: nothing is encrypted" in run(made.root, "status").out
