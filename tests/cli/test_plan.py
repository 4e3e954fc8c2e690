"""`mesh plan` tells from the config alone what `up` would do, and changes when the config does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.runner import run
from tests.project import Project, project

EMPTY = "from mesh import Agent\n\n\nclass It(Agent):\n    pass\n"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Project]:
    with project(tmp_path) as given:
        given.agent("store", EMPTY)
        given.agent("index", EMPTY, depends_on=["store"])
        given.agent("search", EMPTY, depends_on=["index", {"service": "store", "soft": True}, "far"])
        given.agent("far", EMPTY, host="pc2", isolation="thread", depends_on=[{"service": "moon", "soft": True}])
        given.agent("spare", EMPTY, host="pc2")
        config = given.root / "config" / "agents" / "spare.yaml"
        config.write_text(config.read_text().replace('["pc2"]', "[]"))
        yield given


def test_waves_soft_edges_ports_and_isolation(made: Project) -> None:
    told = run(made.root, "plan", "--json").json()
    assert told["waves"] == [["far", "store"], ["index"], ["search"]]
    assert told["hosts"]["mainpc"]["waves"] == [["store"], ["index"], ["search"]]
    assert told["hosts"]["pc2"] == {"address": "127.0.0.1", "registry": False, "waves": [["far"]]}
    assert told["soft"] == [
        {"service": "far", "host": "pc2", "needs": "moon", "why": "nobody configures it"},
        {"service": "search", "host": "mainpc", "needs": "store", "why": "soft: true"},
        {"service": "search", "host": "mainpc", "needs": "far", "why": "it runs on pc2"},
    ]
    assert told["ports"]["registry"] == {"registry": made.registry_port}
    assert list(told["ports"]["pc2"].values()) == made.ports["pc2"]
    assert told["isolation"] == {"far": "thread", "index": "coroutine", "search": "coroutine", "store": "coroutine"}
    assert told["nowhere"] == ["spare"]


def test_people_read_it_by_host(made: Project) -> None:
    out = run(made.root, "plan").out
    assert f"starts the registry on {made.registry_port}" in out
    assert "wave 1, at once: store\n" in out and "wave 3, when wave 2 is ready: search\n" in out
    assert "search → store, far (it runs on pc2)" in out and "on no host: spare" in out
    only = run(made.root, "plan", "--host", "pc2").out
    assert "far" in only and "store" not in only and "the registry" not in only


def test_several_instances_are_counted_by_host(made: Project) -> None:
    config = made.root / "config" / "agents" / "store.yaml"
    config.write_text(config.read_text().replace('["mainpc"]', "[mainpc, pc2]") + "instances: {mainpc: 3}\n")
    told = run(made.root, "plan", "--json").json()
    assert told["instances"]["store"] == {"mainpc": 3, "pc2": 1} and told["instances"]["index"] == {"mainpc": 1}
    assert "wave 1, at once: store (3 instances)\n" in run(made.root, "plan", "--host", "mainpc").out


def test_one_host_has_only_its_own(made: Project) -> None:
    told = run(made.root, "plan", "--host", "pc2", "--json").json()
    assert told["waves"] == [["far"]] and list(told["ports"]) == ["pc2"] and list(told["isolation"]) == ["far"]
    wrong = run(made.root, "plan", "--host", "pc3")
    assert wrong.code == 2 and "did you mean pc2?" in wrong.err


def test_a_plan_of_a_wrong_config_is_refused_with_what_is_wrong(made: Project) -> None:
    made.agent("store", EMPTY, depends_on=["search"])
    result = run(made.root, "plan")
    assert result.code == 2 and "index -> store -> search -> index" in result.err
