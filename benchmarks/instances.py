"""The family `instances`: what a second instance of a service adds to its capacity, and what scaling costs.

Two real hosts and a registry. `bench_crowd` on mainpc keeps 20 calls outstanding to an agent on pc2 whose instances
are processes of their own, while `mesh agent scale` changes their number. One operation computes for 5 ms: what two of
it answer is bounded by the cores there are, so the ratio is also given as a share of what those would allow. The other
waits for 20 ms with 8 at a time: two of it answer twice as much whatever the cores, if the calls are spread evenly.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.calls import ROOT, free_ports, started
from benchmarks.effort import Effort
from benchmarks.row import Row
from mesh.cli.operator import Operator
from mesh.config import load

OUTSTANDING = 20
COMPUTE_MS = 5.0
WAIT_MS = 20.0
WAITING_AT_ONCE = 8
SETTLE_S = 1.0
WATCHED_S = 4.0
SMOKE_S = 0.2
SCALED_S = 5.0
EVEN = 0.55
DOUBLED = 1.9
OF_POSSIBLE = 0.9


@dataclass(frozen=True)
class Window:
    """What was seen of one number of instances: calls per second, processor time, and how evenly they were used.

    `processor_ms` is of one call in every process of the mesh, `busiest` the share of the calls of the instance that
    had most.
    """

    rate: float
    processor_ms: float
    busiest: float


@dataclass
class Kind:
    """One operation, and what was seen of it with one and with two instances, round by round."""

    service: str
    operation: str
    ms: float
    one: list[Window] = field(default_factory=list)
    two: list[Window] = field(default_factory=list)
    scaled_s: list[float] = field(default_factory=list)
    failed: int = 0
    first: str = ""


class Mesh:
    """The mesh in `folder`, as the benchmark sees and changes it."""

    def __init__(self, folder: Path, operator: Operator) -> None:
        self._folder = folder
        self._operator = operator

    async def measured(self, kind: Kind, rounds: int, seconds: float) -> None:
        """Measure one operation with one and with two instances in turn; after several rounds go to three and back."""
        await self._ask("bench_crowd.begin", target=f"{kind.service}.{kind.operation}", ms=kind.ms,
                        outstanding=OUTSTANDING)
        for _ in range(rounds):
            kind.one.append(await self._window(kind, seconds))
            await self._scale(kind, 2)
            kind.two.append(await self._window(kind, seconds))
            await self._scale(kind, 1)
        if rounds > 1:
            await self._scale(kind, 3)
            await self._scale(kind, 1)
        self._take(kind, await self._ask("bench_crowd.count"))
        await self._ask("bench_crowd.end")

    async def _window(self, kind: Kind, seconds: float) -> Window:
        """Watch the calls for a while, after a moment in which what was changed settles."""
        await asyncio.sleep(min(SETTLE_S, seconds))
        processes = await self._processes()
        self._take(kind, await self._ask("bench_crowd.count"))
        before, calls_before = _used(processes), await self._calls(kind)
        await asyncio.sleep(seconds)
        told = await self._ask("bench_crowd.count")
        used, calls = _used(processes) - before, await self._calls(kind)
        self._take(kind, told)
        each = [calls[number] - calls_before[number] for number in calls]
        answered = max(1, told["answered"])
        return Window(answered / told["seconds"], used / answered * 1000, max(each) / max(1, sum(each)))

    async def _scale(self, kind: Kind, count: int) -> None:
        command = [sys.executable, "-m", "mesh.cli", "--config", str(self._folder), "agent", "scale", kind.service,
                   str(count), "--json"]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE,
                                                       env={**os.environ, "PYTHONPATH": str(ROOT)})
        began = time.monotonic()
        out, _ = await process.communicate()
        told = json.loads(out or "{}")
        if not told.get("ok"):
            raise RuntimeError(f"{kind.service} was not scaled to {count}: {told}")
        kind.scaled_s.append(time.monotonic() - began)

    async def _calls(self, kind: Kind) -> dict[int, int]:
        rows = await self._operator.ask("supervisor.agents", host="pc2")
        return {row["instance"]: row["calls"] for row in rows if row["service"] == kind.service}

    async def _processes(self) -> list[psutil.Process]:
        """Return the processes of both hosts and of every agent."""
        pids = {row["pid"] for host in ("mainpc", "pc2")
                for row in [await self._operator.ask("supervisor.status", host=host),
                            *await self._operator.ask("supervisor.agents", host=host)]}
        return [psutil.Process(pid) for pid in pids]

    async def _ask(self, operation: str, /, **arguments: Any) -> Any:
        return await self._operator.ask(operation, arguments, limit=30.0)

    def _take(self, kind: Kind, told: dict[str, Any]) -> None:
        kind.failed += sum(told["failed"].values())
        kind.first = kind.first or told["first"]


def _used(processes: Sequence[psutil.Process]) -> float:
    """Return the processor seconds of some processes so far."""
    spent = [process.cpu_times() for process in processes]
    return sum(one.user + one.system for one in spent)


def rows_of(kind: Kind, cores: int) -> Iterator[Row]:
    """Yield what is promised of a kind."""
    name = f"{kind.operation} {kind.ms:g} ms"
    gains = [two.rate / one.rate for one, two in zip(kind.one, kind.two, strict=True)]
    figures = {f"{count}: {figure}": [getattr(window, figure) for window in windows]
               for count, windows in ((1, kind.one), (2, kind.two)) for figure in ("rate", "processor_ms")}
    if kind.operation == "wait":
        yield Row(f"{name}: calls/s of 2 instances, times those of 1", gains, DOUBLED, 2.0, figures=figures)
    else:
        possible = [min(2.0, cores * 1000 / (one.processor_ms * one.rate)) for one in kind.one]
        yield Row(f"{name}: calls/s of 2 instances, times those of 1", gains, figures=figures)
        yield Row(f"the same, share of what {cores} cores allow",
                  [gain / most for gain, most in zip(gains, possible, strict=True)], OF_POSSIBLE, 1.0)
    yield Row(f"{name}: share of the calls that the busier of 2 got", [window.busiest for window in kind.two], EVEN,
              0.5, higher_is_better=False)
    yield Row(f"{name}: processor time of a call with 2 instances, times 1",
              [two.processor_ms / one.processor_ms for one, two in zip(kind.one, kind.two, strict=True)])
    yield Row(f"slowest `mesh agent scale` to 1, 2 or 3 under {name}", [max(kind.scaled_s)], SCALED_S, 2.0,
              higher_is_better=False, unit="s", figures={"each": kind.scaled_s})
    yield Row(f"{name}: failed calls while it was scaled {len(kind.scaled_s)} times", [kind.failed], 0, 0,
              higher_is_better=False, unit="calls")


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Path]:
    """Run the mesh of the benchmark in `folder`, and stop it at the end."""
    ports = iter(free_ports(8))
    hosts = "\n".join(f"  {name}: {{address: 127.0.0.1, port: {next(ports)}, events_port: {next(ports)}, "
                      f"metrics_port: {next(ports)}}}" for name in ("mainpc", "pc2"))
    agents = folder / "config" / "agents"
    agents.mkdir(parents=True)
    (folder / "config" / "hosts.yaml").write_text(
        f"mesh: instances\nregistry: {{host: mainpc, port: {next(ports)}, metrics_port: {next(ports)}, store: sqlite}}"
        f"\nhosts:\n{hosts}\n")
    for name in ("crowd", "toiler"):
        (folder / f"{name}.py").write_text((ROOT / "benchmarks" / "agents" / f"{name}.py").read_text())
    (agents / "bench_crowd.yaml").write_text("class: crowd.py:Crowd\nhosts: [mainpc]\n")
    (agents / "bench_toiler.yaml").write_text("class: toiler.py:Toiler\nhosts: [pc2]\nisolation: process\n")
    (agents / "bench_waiter.yaml").write_text("class: toiler.py:Toiler\nhosts: [pc2]\nisolation: process\n"
                                              f"limits: {{concurrency: {WAITING_AT_ONCE}}}\n")
    with started(folder):
        yield folder


def rows(effort: Effort) -> Iterator[Row]:
    """Yield the rows of both operations."""
    with tempfile.TemporaryDirectory(prefix="mesh-instances-") as name, running(Path(name)) as folder:
        kinds = asyncio.run(_measured(folder, effort.rounds, SMOKE_S if effort.smoke else WATCHED_S))
    for kind in kinds:
        yield from rows_of(kind, len(os.sched_getaffinity(0)))
        if kind.first:
            effort.say(f"first failure of {kind.operation}: {kind.first}")


async def _measured(folder: Path, rounds: int, seconds: float) -> list[Kind]:
    """Measure both operations."""
    kinds = [Kind("bench_toiler", "compute", COMPUTE_MS), Kind("bench_waiter", "wait", WAIT_MS)]
    operator = Operator(load(folder), timeout=None)
    await operator.connect()
    try:
        for kind in kinds:
            await Mesh(folder, operator).measured(kind, rounds, seconds)
    finally:
        operator.close()
    return kinds
