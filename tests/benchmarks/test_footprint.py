"""The footprint benchmark's project has the agents it says, and the program runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.crowd import write_crowd
from mesh.config import load
from mesh.supervisor.cell.loader import load_agent_class

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("agents", [0, 10, 17, 84])
def test_a_crowd_has_as_many_agents_as_asked_for_in_the_shape_of_the_catalogue(tmp_path: Path, agents: int) -> None:
    write_crowd(tmp_path, agents)
    config = load(tmp_path)
    assert len(config.agents) == agents
    if agents == 84:
        assert [len(config.on(host)) for host in config.hosts] == [58, 26]


def test_each_generated_agent_has_code_and_models_of_its_own(tmp_path: Path) -> None:
    write_crowd(tmp_path, 20)
    made = [spec for service, spec in load(tmp_path).agents.items() if service.endswith(("assessor", "keeper"))]
    classes = [load_agent_class(spec) for spec in made]
    assert len(made) == 6 and len({cls.__name__ for cls in classes}) == 6
    assert len({sys.modules[cls.__module__].words for cls in classes}) == 6


def test_the_footprint_of_a_small_mesh_is_measured() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks.footprint", "--smoke"], cwd=ROOT, capture_output=True,
                          text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    for row in ("all 16 agents ready", "memory of all", "processor of all", "contexts", "sockets", "mesh --help"):
        assert row in done.stdout
    bounded = [line for line in done.stdout.splitlines() if "contexts" in line or "sockets" in line]
    assert [line.rpartition(" ")[2] for line in bounded] == ["pass", "pass"]  # counts, which no load changes
