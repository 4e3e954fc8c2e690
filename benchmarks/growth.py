"""The family `growth`: what a call costs when there are more services and more hosts, and what these cost the registry.

Meshes of all sizes run beside each other, idle but for the one that is measured in its turn, so a drift of the machine
touches all. One agent on mainpc calls one on pc2, 64 calls outstanding; all other services and hosts do nothing. Every
host is a real supervisor in a process of its own. On a machine with other work compare the processor time of a call,
which is that of the two hosts that take part, less what they use while nobody calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from benchmarks import calls
from benchmarks.effort import Effort
from benchmarks.row import Curve, Row
from mesh.cli.operator import Operator
from mesh.config import load
from mesh.errors import MeshError

SERVICES = (1, 10, 100, 1000)
HOSTS = (2, 10, 50)
SMOKE_SERVICES = (3,)
SMOKE_HOSTS = (3,)
LEAST = 0.1
"""Of a run too short for the processor's clock, so that it has a share at all."""
CALLS = 20_000
FAR_END = 0.9
COST = 1 / FAR_END
REST_S = 10.0
SMOKE_REST_S = 0.3
BACK_LIMIT = 120.0
LOOK = 0.05
PAIR = ("mainpc", "pc2")


@dataclass
class Size:
    """A mesh of one size, and what was measured of it by round; `at_rest` is what the two hosts use of a core."""

    count: int
    folder: Path
    at_rest: float = 0.0
    rates: list[float] = field(default_factory=list)
    processor_us: list[float] = field(default_factory=list)

    def measure(self, count: int) -> float:
        """Make so many calls; returns how many of them there were per second."""
        pair = self.pair()
        before, began = calls.processor(pair), time.monotonic()
        self.rates.append(calls.measure(self.folder, calls=count, outstanding=64).calls_per_second)
        idle = self.at_rest * (time.monotonic() - began)
        self.processor_us.append((calls.processor(pair) - before - idle) / count * 1e6)
        return self.rates[-1]

    def pair(self) -> list[psutil.Process]:
        """Return the processes of the two hosts that call and answer."""
        hosts = processes(self.folder)
        return [hosts[name] for name in PAIR]


def rows(effort: Effort) -> Iterator[Row | Curve]:
    """Yield the curves, their far ends, and what the largest number of hosts costs."""
    services, hosts = (SMOKE_SERVICES, SMOKE_HOSTS) if effort.smoke else (SERVICES, HOSTS)
    with _meshes({count: (PAIR, count - 1) for count in services}) as sizes:
        yield from _grown("services", sizes, effort)
    named = {count: (*PAIR, *(f"pc{number}" for number in range(3, count + 1))) for count in hosts}
    with _meshes({count: (names, 0) for count, names in named.items()}) as sizes:
        yield from _grown("hosts", sizes, effort)
        for size in sizes[:: max(1, len(sizes) - 1)]:
            yield from _at_rest(size, SMOKE_REST_S if effort.smoke else REST_S)
        yield from asyncio.run(_disturbed(sizes[-1], effort))


@contextlib.contextmanager
def _meshes(wanted: Mapping[int, tuple[Sequence[str], int]]) -> Iterator[list[Size]]:
    """Run a mesh for each count, given as its hosts and its idle services."""
    with contextlib.ExitStack() as stack:
        sizes = []
        for count, (names, idle) in wanted.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mesh-growth-")))
            calls.write_project(folder, "none", names=names, idle=idle)
            stack.enter_context(calls.started(folder))
            sizes.append(Size(count, folder))
        yield sizes


def _grown(what: str, sizes: list[Size], effort: Effort) -> Iterator[Row | Curve]:
    count = effort.of(CALLS, 64)
    for size in sizes:  # so that each has its links and has learned its callers
        calls.measure(size.folder, calls=effort.of(CALLS // 4, 64), outstanding=64)
    _rest(sizes, SMOKE_REST_S if effort.smoke else REST_S)
    effort.in_turn({f"{size.count} {what}": partial(size.measure, count) for size in sizes})
    near, far = sizes[0], sizes[-1]
    yield Row(f"{far.count:,} {what}: calls/s, share of those with {near.count}", _shares(far.rates, near.rates),
              FAR_END, 1.0, figures={f"{size.count}, calls/s": size.rates for size in sizes})
    yield Row(f"{far.count:,} {what}: processor time of a call, times that with {near.count}",
              _shares(far.processor_us, near.processor_us), COST, 1.0, higher_is_better=False,
              figures={f"{size.count}, µs": size.processor_us for size in sizes})
    yield Row(f"{far.count:,} {what}: processor of the two hosts at rest", [far.at_rest * 100], unit="% of a core")
    yield Curve(f"growth-{what}", "calls per second", what, "calls/s",
                [(size.count, size.rates) for size in sizes], x_scale="log")
    yield Curve(f"cost-{what}", "processor time of a call", what, "µs",
                [(size.count, size.processor_us) for size in sizes], x_scale="log")


def _rest(sizes: list[Size], seconds: float) -> None:
    """Find what the two hosts of each mesh use while nobody calls."""
    pairs = [size.pair() for size in sizes]
    before = [calls.processor(pair) for pair in pairs]
    time.sleep(seconds)
    for size, pair, used in zip(sizes, pairs, before, strict=True):
        size.at_rest = (calls.processor(pair) - used) / seconds


def _shares(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one / max(other, LEAST) for one, other in zip(ones, others, strict=True)]


def _at_rest(size: Size, seconds: float) -> Iterator[Row]:
    """Yield what registry and hosts cost while nobody calls."""
    running = processes(size.folder)
    registry, idle = running["registry"], [running[name] for name in running if name not in (*PAIR, "registry")]
    before = calls.processor([registry]), calls.processor(idle)
    time.sleep(seconds)
    used = calls.processor([registry]) - before[0], calls.processor(idle) - before[1]
    yield Row(f"{size.count} hosts at rest: processor of the registry", [used[0] / seconds * 100], unit="% of a core")
    if idle:
        yield Row(f"{size.count} hosts at rest: processor of a host", [used[1] / seconds * 100 / len(idle)],
                  unit="% of a core")
    yield Row(f"{size.count} hosts: memory of the registry", [registry.memory_info().rss / 2**20], unit="MiB")


async def _disturbed(size: Size, effort: Effort) -> list[Row]:
    """Return how soon every host knows of a change, and what it is when all but two are killed at once."""
    operator = Operator(load(size.folder), timeout=None)
    await operator.connect()
    try:
        known = [await _until_known(operator, size, number) for number in range(effort.rounds)]
        running = processes(size.folder)
        registry, others = running["registry"], [running[name] for name in running if name not in (*PAIR, "registry")]
        before, pids, began = calls.processor([registry]), {one.pid for one in others}, time.monotonic()
        for one in others:
            one.send_signal(signal.SIGKILL)
        while not await _are_back(operator, size.count, pids):
            if time.monotonic() - began > BACK_LIMIT:
                raise TimeoutError(f"not all of {size.count} hosts were back within {BACK_LIMIT:g} s")
            await asyncio.sleep(LOOK)
        back, used = time.monotonic() - began, calls.processor([registry]) - before
    finally:
        operator.close()
    every = f"{size.count} hosts"
    return [
        Row(f"{every}: until each knows what the registry was told", known, unit="s"),
        Row(f"{every}: {len(others)} killed at once, until all are back", [back], unit="s"),
        Row("the same: processor time of the registry meanwhile", [used], unit="s"),
    ]


async def _until_known(operator: Operator, size: Size, number: int) -> float:
    """Return the seconds from a change at the registry until every host has it."""
    names = [name for name in processes(size.folder) if name != "registry"]
    began = time.monotonic()
    told = await operator.ask("registry.set_override", {"service": "bench_echo", "key": "limits.inbox",
                                                       "value": 1000 + number})
    while time.monotonic() - began < BACK_LIMIT:
        tables = await operator.ask_each("supervisor.directory", names)
        if all(not isinstance(table, MeshError) and table["revision"] >= told["revision"] for table in tables.values()):
            return time.monotonic() - began
    raise TimeoutError(f"not every host heard of a change within {BACK_LIMIT:g} s")


async def _are_back(operator: Operator, count: int, killed: set[int]) -> bool:
    """Tell whether the registry lists so many hosts as well, none of them a process that was killed."""
    with contextlib.suppress(MeshError):
        rows = (await operator.ask("registry.status", limit=1.0))["hosts"]
        return len([row for row in rows if row["state"] == "ok" and row["pid"] not in killed]) == count
    return False


def processes(folder: Path) -> dict[str, psutil.Process]:
    """Return the processes of a mesh: its hosts by name, and `registry`."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if str(folder) in words and "--status-fd" in words:
                found[words[words.index("--host") + 1] if "--host" in words else "registry"] = process
    return found
