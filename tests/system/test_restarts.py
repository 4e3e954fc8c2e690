"""Restarts leave nothing behind: descriptors, threads and memory of the host are what they were."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from mesh.cli.operator import Operator
from mesh.config import load
from tests.project import Project, project
from tests.system.conftest import ECHO

SETTLED = 5
GROWTH_MB = 8.0


@pytest.mark.parametrize(("isolation", "restarts"), [("coroutine", 200), ("thread", 100), ("process", 30)])
def test_a_host_is_after_many_restarts_as_it_was_after_few(tmp_path: Path, isolation: str, restarts: int) -> None:
    with project(tmp_path) as made:
        made.agent("it", ECHO, isolation=isolation, limits={"start_s": 60.0})
        made.up("--host", "mainpc")
        asyncio.run(_restarted(made, restarts))


async def _restarted(made: Project, restarts: int) -> None:
    operator = Operator(load(made.root), timeout=None)
    try:
        await operator.connect()
        process = psutil.Process((await operator.ask("supervisor.status"))["pid"])
        for number in range(restarts):
            outcome = await operator.ask("supervisor.agent_restart", {"service": "it"}, limit=90.0)
            assert outcome["state"] == "ready"
            if number == SETTLED:
                early = _held(process)
        assert await operator.ask("it.echo", {"text": "a"}, limit=30.0) == "a"
        late = _held(process)
    finally:
        operator.close()
    assert late[0] <= early[0] + 2 and late[1] <= early[1] + 1 and late[2] == early[2], (early, late)
    assert late[3] < early[3] + GROWTH_MB, (early, late)


def _held(process: psutil.Process) -> tuple[int, int, int, float]:
    """Return open descriptors, threads, children and resident MiB."""
    return (process.num_fds(), process.num_threads(), len(process.children(recursive=True)),
            process.memory_info().rss / 2**20)
