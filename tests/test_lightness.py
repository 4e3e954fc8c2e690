"""What each program of the mesh loads before it is asked anything: whatever is listed here costs memory and start."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mesh.supervisor.cell.life import CHECK_SECONDS, until_check

HEAVY = {"httpx", "numpy", "opentelemetry", "prometheus_client", "redis", "rich", "sklearn", "typer"}


def loaded(module: str) -> set[str]:
    """Return the packages, and the parts of the mesh, that a fresh interpreter has once it imported `module`."""
    source = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    names = json.loads(done.stdout)
    return {".".join(name.split(".")[:2]) if name.startswith("mesh.") else name.partition(".")[0] for name in names}


def test_a_launcher_holds_neither_sockets_nor_what_reads_command_line_and_configuration() -> None:
    found = loaded("mesh.cli.launch")
    assert found & (HEAVY | {"asyncio", "msgpack", "pydantic", "sqlite3", "yaml", "zmq"}) == set()
    assert found & {"mesh.agent", "mesh.config", "mesh.supervisor", "mesh.transport"} == set()


@pytest.mark.parametrize(("program", "without"), [
    ("registry.__main__", {"mesh.agent", "mesh.supervisor", "mesh.cli", "mesh.connections"}),
    ("mesh.supervisor.__main__", {"mesh.cli", "mesh.launcher", "mesh.testing"}),
])
def test_what_is_for_some_requests_only_is_not_loaded_before(program: str, without: set[str]) -> None:
    assert loaded(program) & (HEAVY | without) == set()


def test_cells_that_started_within_half_a_second_are_asked_how_they_are_in_one_turn() -> None:
    started = (100.0, 100.1, 100.25, 100.4)
    first = {now + until_check(now) for now in started}
    assert len(first) == 1
    assert all(CHECK_SECONDS - 0.5 < until_check(now) <= CHECK_SECONDS for now in started)


def test_a_check_that_comes_a_moment_early_or_late_is_not_asked_twice() -> None:
    for now in (104.995, 105.0, 105.3):
        assert now + until_check(now) == 110.0
