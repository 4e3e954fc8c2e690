"""The family `events`: events of one agent to 1, 10 and 50 hosts, and to 1, 10 and 50 agents of its own host.

The publisher is an ordinary agent on a real host. One subscribing host is a real one with an agent that handles each
event. Ten and fifty are light: connections in two processes (`benchmarks.peers`) that speak the protocol, decode and
count, since fifty supervisors on a few cores would measure the cores. The publisher keeps within a window of the
slowest reader, so nothing may be lost, and a gap ends the benchmark; the last run has no window, and there what was
sent must be what was received and what was counted as dropped.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import raw
from benchmarks.calls import ROOT, free_ports, started
from benchmarks.effort import Effort, ratios
from benchmarks.row import Row

WINDOW_OF_HANDLERS = 1000
"""Events ahead of an agent's handler; 1,024 may wait for it."""
WINDOW_OF_HOSTS = 8000
"""Events ahead of a host; 10,000 may wait for it."""
SETTLED = 20.0
FEWEST = 64
ROWS = tuple((kind, number) for kind in ("hosts", "agents") for number in (1, 10, 50))
SMOKE = (("hosts", 3), ("agents", 2))
PROMISES = {("hosts", 1): (0.5, 1.0), ("hosts", 10): (1.5, 3.0), ("hosts", 50): (1.5, 3.0)}
EVENTS = 200_000
"""Delivered in a round, to all readers together."""


@dataclass(frozen=True)
class Run:
    """Events delivered per second in all, and µs of processor time: of the publisher's host per event published, of all
    readers together per event delivered (None where they live in the publisher's host)."""

    per_second: float
    publisher: float
    reader: float | None
    received: int
    dropped: int


def rows(effort: Effort) -> Iterator[Row]:
    """Yield for each number of readers what was delivered, and what one event costs whom."""
    for kind, number in SMOKE if effort.smoke else ROWS:
        yield from _rows(effort, kind, number)


def _rows(effort: Effort, kind: str, number: int) -> Iterator[Row]:
    events = effort.of(EVENTS, 2000)
    count = max(FEWEST, events // number)
    runs: list[Run] = []

    def deliver() -> float:
        runs.append(mesh.run(count))
        return runs[-1].per_second

    with subscribed(kind, number) as mesh:
        if not effort.smoke:
            mesh.run(max(FEWEST, count // 10))
        found = effort.in_turn({"raw PUB/SUB, events/s": lambda: raw.published(max(events // 2, 2)),
                                f"to {number} {kind}, events/s": deliver})
        if kind == "hosts" and number > 1:
            mesh.flood(count)
    shares = ratios(found[f"to {number} {kind}, events/s"], found["raw PUB/SUB, events/s"])
    promise, aim = PROMISES.get((kind, number), (None, None))
    yield Row(f"events to {number} {kind}, delivered, share of PUB/SUB", shares, promise, aim, figures=found)
    yield Row(f"to {number} {kind}, publisher's host per event published",
              [run.publisher for run in runs], higher_is_better=False, unit="µs")
    readers = [run.reader for run in runs if run.reader is not None]
    if readers and kind == "hosts":
        yield Row(f"to {number} {kind}, readers per event delivered", readers,
                  higher_is_better=False, unit="µs")


class Mesh:
    """A running mesh whose publisher has `number` readers, agents or light hosts."""

    def __init__(self, folder: Path, agents: list[str], light: list[Light], number: int) -> None:
        self._folder = folder
        self._agents = agents
        self._light = light
        self._number = number

    def run(self, count: int) -> Run:
        """Publish `count` events and return what that took; raises if one reader did not get each of them."""
        run = self._publish(count, WINDOW_OF_HOSTS if self._light else WINDOW_OF_HANDLERS)
        if run.received != count * self._number or run.dropped:
            raise RuntimeError(f"{run.received} of {count * self._number} events were delivered, {run.dropped} dropped")
        return run

    def flood(self, count: int) -> Run:
        """Publish without waiting for anybody; raises if what was sent is not what came and what was dropped."""
        run = self._publish(count, 0)
        if run.received + run.dropped != count * self._number:
            raise RuntimeError(f"of {count * self._number} events {run.received} came and {run.dropped} were dropped")
        return run

    def _publish(self, count: int, window: int) -> Run:
        before = self._report()
        told = asked(self._folder, "bench_publisher.measure", count=count, readers=self._number, window=window)
        until = time.monotonic() + SETTLED
        after = self._report()
        while not window and after.received + after.dropped < count * self._number and time.monotonic() < until:
            time.sleep(0.05)
            after += self._report()
        elsewhere = None if after.processor is None or before.processor is None else after.processor - before.processor
        return Run(
            count * self._number / told["seconds"], told["processor"] / count * 1e6,
            None if elsewhere is None else elsewhere / max(1, after.received) * 1e6, after.received, after.dropped,
        )

    def _report(self) -> Heard:
        """Return what all readers have heard since the last time."""
        if self._light:
            return sum((light.report() for light in self._light), Heard())
        told = asked(self._folder, "bench_publisher.heard", readers=json.dumps(self._agents))
        alone = told[0]["processor"] if len(told) == 1 else None
        return Heard(sum(each["received"] for each in told), sum(each["missed"] for each in told), alone)


@dataclass(frozen=True)
class Heard:
    """What readers have heard, what was dropped on its way to them, and their processor time in seconds so far."""

    received: int = 0
    dropped: int = 0
    processor: float | None = 0.0

    def __add__(self, other: Heard) -> Heard:
        both = self.processor is not None and other.processor is not None
        return Heard(self.received + other.received, self.dropped + other.dropped,
                     (self.processor or 0) + (other.processor or 0) if both else None)


class Light:
    """A process with light hosts."""

    def __init__(self, endpoint: str, first: int, count: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers", endpoint, "bench", str(first), str(count), "2000"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        if self._line() != "ready\n":
            raise RuntimeError("the light hosts were not let in")

    def report(self) -> Heard:
        """Return what they have heard since the last time."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        told = json.loads(self._line())
        dropped = sum(peer["dropped"] for peer in told["peers"])
        if sum(peer["missed"] for peer in told["peers"]) > dropped:
            raise RuntimeError(f"events are missing that nobody counted: {told}")
        return Heard(sum(peer["received"] for peer in told["peers"]), dropped, told["processor"])

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(10)


@contextlib.contextmanager
def subscribed(kind: str, number: int, security: str = "none") -> Iterator[Mesh]:
    """Run a mesh whose publisher is on mainpc and has `number` readers: agents there, or hosts."""
    light: list[Light] = []
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as name:
        folder = Path(name)
        real = number if kind == "agents" or number == 1 else 0
        agents = [f"bench_reader_{index}" for index in range(real)]
        endpoint = _write_project(folder, agents, "mainpc" if kind == "agents" else "pc2", security)
        with started(folder):
            try:
                if not real:
                    half = number // 2
                    light = [Light(endpoint, 0, half), Light(endpoint, half, number - half)]
                yield Mesh(folder, agents, light, number)
            finally:
                for each in light:
                    each.close()


def _write_project(folder: Path, agents: list[str], host: str, security: str) -> str:
    """Write a project with the publisher on mainpc and the readers on `host`; returns where mainpc listens."""
    names = sorted({"mainpc", host})
    port, *rest = free_ports(3 * len(names) + 2)
    ports = iter([port, *rest])
    hosts = "".join(
        f"  {each}: {{address: 127.0.0.1, port: {next(ports)}, events_port: {next(ports)}, "
        f"metrics_port: {next(ports)}}}\n" for each in names
    )
    (folder / "config" / "agents").mkdir(parents=True)
    (folder / "config" / "hosts.yaml").write_text(
        f"mesh: bench\nsecurity: {security}\nhosts:\n{hosts}"
        f"registry: {{host: mainpc, port: {next(ports)}, metrics_port: {next(ports)}, store: sqlite}}\n"
    )
    for source in ("publisher", "reader"):
        (folder / f"{source}.py").write_text((ROOT / "benchmarks" / "agents" / f"{source}.py").read_text())
    readers = [(agent, "reader.py:Reader", host) for agent in agents]
    for service, source, place in (("bench_publisher", "publisher.py:Publisher", "mainpc"), *readers):
        (folder / "config" / "agents" / f"{service}.yaml").write_text(
            f"class: {source}\nhosts: [{place}]\nisolation: coroutine\n")
    return f"tcp://127.0.0.1:{port}"


def asked(folder: Path, target: str, **arguments: int | str) -> Any:
    """Call an agent of the running mesh and return its result."""
    done = subprocess.run(
        [sys.executable, "-m", "mesh.cli", "--config", str(folder), "call", target,
         *(f"{name}={value}" for name, value in arguments.items()), "--timeout", "120", "--json"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )
    answer = json.loads(done.stdout or "{}")
    if not answer.get("ok"):
        raise RuntimeError(f"the call failed: {done.stdout}{done.stderr}")
    return answer["result"]
