"""`mesh bench`: calls per second and latencies of a running mesh, and nothing of it stays."""

from __future__ import annotations

from typing import Any

from tests.cli.runner import run
from tests.eventually import wait_until
from tests.project import Project

FIGURES = {"calls_per_s", "p50_ms", "p99_ms", "alone_p50_ms", "alone_p99_ms"}


def lent(mesh: Project) -> list[str]:
    """Return the hosts that run the agent which is measured."""
    rows: list[dict[str, Any]] = run(mesh.root, "agents", "--json").json()
    return sorted(row["host"] for row in rows if row["service"] == "mesh_bench")


def test_calls_inside_a_host_and_between_two_are_measured_against_raw_and_nothing_stays(mesh: Project) -> None:
    told = run(mesh.root, "bench", "--seconds", "0.3", "--from", "mainpc", "--json")
    assert told.code == 0, told.err
    found = told.json()
    assert (found["security"], found["outstanding"]) == ("curve", 64)
    assert set(found["raw"]) == FIGURES - {"p50_ms", "p99_ms"} and min(found["raw"].values()) > 0
    assert [(row["from"], row["to"]) for row in found["rows"]] == [("mainpc", "mainpc"), ("mainpc", "pc2")]
    for row in found["rows"]:
        assert set(row) == FIGURES | {"from", "to", "share_of_raw", "times_raw"}
        assert all(row[name] > 0 for name in FIGURES) and row["p50_ms"] <= row["p99_ms"]
    assert "mainpc and pc2 will be busy" in told.err
    assert lent(mesh) == []
    assert list((mesh.root / ".mesh").glob("*/state/mesh_bench")) == []


def test_an_agent_that_nobody_gives_back_goes_when_its_time_is_over(mesh: Project) -> None:
    begun = run(mesh.root, "call", "supervisor.bench_begin", "seconds=1.5", "--to", "pc2")
    assert begun.code == 0, begun.err
    assert lent(mesh) == ["pc2"]
    wait_until(lambda: lent(mesh) == [], 20)


def test_what_one_measures_is_not_taken_away_by_another(mesh: Project) -> None:
    for _ in range(2):
        assert run(mesh.root, "call", "supervisor.bench_begin", "seconds=30", "--to", "pc2").code == 0
    assert run(mesh.root, "call", "supervisor.bench_end", "--to", "pc2").code == 0
    assert lent(mesh) == ["pc2"]
    assert run(mesh.root, "call", "supervisor.bench_end", "--to", "pc2").code == 0
    assert lent(mesh) == []


def test_what_cannot_be_measured_is_said(mesh: Project) -> None:
    unknown = run(mesh.root, "bench", "--to", "pc22")
    assert unknown.code == 2 and "did you mean pc2?" in unknown.err
    many = run(mesh.root, "call", "supervisor.bench", "to=pc2", "outstanding=100000", "seconds=1")
    assert many.code == 1 and "it is 1 to 1024" in many.err
    long = run(mesh.root, "call", "supervisor.bench_begin", "seconds=1000")
    assert long.code == 1 and "at most 60" in long.err


def test_without_a_mesh_it_says_how_to_start_one(furnished: Project) -> None:
    told = run(furnished.root, "bench")
    assert told.code == 3 and "mesh up" in told.err
