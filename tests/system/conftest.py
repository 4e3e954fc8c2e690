"""Real processes: a launcher, a registry and two hosts on loopback, with agents of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project import Project, project

ECHO = '''
import os

from mesh import Agent, operation, subscribe


class It(Agent):
    """Answers."""

    @operation(idempotent=True)
    async def echo(self, text: str) -> str:
        return text

    @operation
    async def pid(self) -> int:
        return os.getpid()

    @operation
    async def fail(self) -> None:
        raise RuntimeError("made to fail")

    @operation
    async def slow(self, seconds: float) -> str:
        await self.clock.sleep(seconds)
        return "done"
'''
NEAR = '''
from mesh import Agent, operation


class It(Agent):
    """Asks the other host."""

    @operation(idempotent=True)
    async def ask(self, text: str, timeout_s: float = 5.0) -> str:
        return await self.request("far.echo", text=text, timeout=timeout_s)

    @operation
    async def ask_slow(self, seconds: float) -> str:
        return await self.request("far.slow", seconds=seconds, timeout=20.0)
'''


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Project]:
    """A project without agents, not started."""
    with project(tmp_path) as made:
        yield made


@pytest.fixture
def pair(empty: Project) -> Project:
    """A project with `near` on mainpc, which calls `far` on pc2; not started."""
    empty.agent("near", NEAR, host="mainpc", depends_on=[{"service": "far", "soft": True}])
    empty.agent("far", ECHO, host="pc2")
    return empty
