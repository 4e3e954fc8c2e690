"""Streams between real processes: whole, cut off in the middle, and beside calls that must not notice them."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.eventually import wait_until
from tests.project import Project, project

WRITER = '''
import asyncio
import os
from collections.abc import AsyncIterator

from mesh import Agent, operation


class It(Agent):
    """Writes."""

    async def setup(self) -> None:
        self.open = 0
        self.made = 0

    @operation
    async def count(self, most: int, seconds: float = 0.0) -> AsyncIterator[int]:
        self.open += 1
        try:
            for number in range(most):
                if seconds:
                    await asyncio.sleep(seconds)
                self.made += 1
                yield number
        finally:
            self.open -= 1

    @operation
    async def breaks(self) -> AsyncIterator[str]:
        yield "one"
        raise ValueError("torn")

    @operation
    async def figures(self) -> dict[str, int]:
        return {"open": self.open, "made": self.made, "pid": os.getpid()}
'''
READER = '''
import asyncio
from typing import Any

from mesh import Agent, MeshError, operation


class It(Agent):
    """Reads."""

    @operation
    async def sums(self, services: list[str], most: int) -> list[int]:
        async def one(service: str) -> int:
            return sum([item async for item in self.stream(f"{service}.count", most=most)])
        return list(await asyncio.gather(*map(one, services)))

    @operation
    async def until_it_ends(self, service: str) -> dict[str, Any]:
        seen = 0
        try:
            async for item in self.stream(f"{service}.count", most=10**9, seconds=0.002, timeout=20.0):
                assert item == seen
                seen += 1
        except MeshError as error:
            return {"seen": seen, "code": error.code, "message": error.message}
        return {"seen": seen, "code": None, "message": ""}

    @operation
    async def stop_at(self, service: str, most: int) -> int:
        async for item in self.stream(f"{service}.count", most=10**6):
            if item == most:
                break
        return item

    @operation
    async def hold(self, service: str, seconds: float) -> int:
        async with self.stream(f"{service}.count", most=10**6) as items:
            await anext(items)
            await asyncio.sleep(seconds)
            return (await self.request(f"{service}.figures"))["made"]
'''
WRITERS = {"here": "coroutine", "threaded": "thread", "apart": "process"}
FAR = {f"far_{name}": isolation for name, isolation in WRITERS.items()}
ALL = [*WRITERS, *FAR]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two hosts with writers of every kind on both, and readers on the loop and in a process."""
    root: Path = tmp_path_factory.mktemp("streams")
    with project(root) as made:
        for service, isolation in WRITERS.items():
            made.agent(service, WRITER, isolation=isolation, limits={"stop_s": 1})
        for service, isolation in FAR.items():
            made.agent(service, WRITER, host="pc2", isolation=isolation, limits={"stop_s": 1})
        made.agent("reader", READER)
        made.agent("reader_apart", READER, isolation="process")
        made.agent("reader_threaded", READER, isolation="thread")
        made.up()
        yield made


def figures(made: Project, service: str) -> dict[str, int]:
    told: dict[str, int] = made.call(f"{service}.figures")["result"]
    return told


def nothing_open(made: Project, service: str) -> bool:
    return figures(made, service)["open"] == 0


@pytest.mark.parametrize("reader", ["reader", "reader_apart", "reader_threaded"])
def test_items_come_whole_from_everywhere_at_once(mesh: Project, reader: str) -> None:
    told = mesh.call(f"{reader}.sums", services=ALL, most=3000)
    assert told["result"] == [sum(range(3000))] * len(ALL)


@pytest.mark.parametrize("service", ["here", "threaded", "apart", "far_apart"])
def test_a_reader_that_breaks_off_ends_it_wherever_it_is(mesh: Project, service: str) -> None:
    reader = "reader_apart" if service == "far_apart" else "reader"
    assert mesh.call(f"{reader}.stop_at", service=service, most=10)["result"] == 10
    wait_until(lambda: nothing_open(mesh, service), 5)
    assert figures(mesh, service)["made"] < 500_000


@pytest.mark.parametrize("service", ["apart", "far_threaded"])
def test_a_reader_that_stands_still_has_it_stand_still(mesh: Project, service: str) -> None:
    before = figures(mesh, service)["made"]
    made = mesh.call("reader.hold", service=service, seconds=0.5)["result"] - before
    assert made < 5000, "a few windows of credit on the way"
    wait_until(lambda: nothing_open(mesh, service), 5)


@pytest.mark.parametrize("service", ["threaded", "far_apart"])
def test_an_error_in_the_middle_comes_after_its_items(mesh: Project, service: str) -> None:
    lines = [json.loads(line) for line in mesh.mesh("stream", f"{service}.breaks", "--json").stdout.splitlines()]
    assert lines[0] == {"item": "one"}
    assert (lines[1]["error"]["code"], lines[1]["error"]["type"]) == ("remote_failure", "ValueError")


@pytest.mark.parametrize("service", ["apart", "far_apart"])
def test_a_process_that_dies_in_the_middle_ends_its_streams_at_once(mesh: Project, service: str) -> None:
    pid = figures(mesh, service)["pid"]
    with Reading(mesh, "reader", service) as outcome:
        wait_until(lambda: figures(mesh, service)["open"] == 1, 10)
        psutil.Process(pid).kill()
        told = outcome()
    assert told["code"] in ("unreachable", "unavailable"), told
    wait_until(lambda: state(mesh, service) == "ready", 20)


@pytest.mark.parametrize("service", ["far_here", "far_threaded", "far_apart"])
def test_an_agent_that_is_stopped_in_the_middle_ends_its_streams(mesh: Project, service: str) -> None:
    with Reading(mesh, "reader", service) as outcome:
        wait_until(lambda: figures(mesh, service)["open"] == 1, 10)
        assert mesh.mesh("agent", "restart", service).returncode == 0
        told = outcome()
    assert (told["code"], told["seen"] > 0) == ("cancelled", True), told
    wait_until(lambda: state(mesh, service) == "ready", 20)


def test_a_host_that_dies_in_the_middle_ends_its_streams_at_once(mesh: Project) -> None:
    with Reading(mesh, "reader", "far_here") as outcome:
        wait_until(lambda: figures(mesh, "far_here")["open"] == 1, 10)
        mesh.kill_pid(figures(mesh, "far_here")["pid"], signal.SIGKILL)
        told = outcome()
    assert (told["code"], told["seen"] > 0) == ("unreachable", True)
    assert "in the middle of its stream" in told["message"]
    wait_until(lambda: state(mesh, "far_here") == "ready", 30)


def state(made: Project, service: str) -> str:
    rows: list[dict[str, Any]] = made.json("agents")
    return next((str(row["state"]) for row in rows if row["service"] == service), "absent")


class Reading:
    """A reader that reads to the end while the test makes an end; gives a function that waits for what it saw."""

    def __init__(self, made: Project, reader: str, service: str) -> None:
        self._made = made
        self._words = ("call", f"{reader}.until_it_ends", f"service={service}", "--json")
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Any:
        self._process = self._made.spawn("mesh.cli", *self._words)
        return self.outcome

    def outcome(self) -> dict[str, Any]:
        """Return what it saw."""
        assert self._process is not None
        self._process.wait(30)
        text = self._made.output(self._process)
        told: dict[str, Any] = json.loads(text[text.index("{"):])["result"]
        return told

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)
