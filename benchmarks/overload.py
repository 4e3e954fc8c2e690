"""`python -m benchmarks.overload`: what is left of a callee's capacity when it is offered twenty times as much.

Four real hosts: an agent that computes on its host's event loop, and three that call it by an absolute schedule, so a
call that is due is made and timed from then on whatever became of those before it. First the capacity: the highest
rate, offered by all three together, at which 99 % of the calls are answered within 50 ms. Then `--times` as much for
`--seconds`, and half the capacity afterwards. Every policy is as shipped, but for retries, which are off: what is
measured is how soon a call is refused, not how soon it is given up. `--retries` leaves them on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.calls import ROOT, free_ports, started
from mesh.cli.operator import Operator
from mesh.config import load
from mesh.errors import MeshError

SENDERS = ("one", "two", "three")
CALLEE = "callee"
GOOD_MS = 50.0
REFUSED_MS = 5.0
GOODPUT = 0.8
RECOVERED_S = 1.0
TIMEOUT_S = 1.0
AFTER_S = 5.0
WINDOW_S = 0.25
HEAD_START = 0.75
EACH_S = 0.25


@dataclass
class Stage:
    """What all senders together saw of one stage."""

    seconds: float
    offered: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    late: list[tuple[float, float]] = field(default_factory=list)
    refused_ms: list[list[float]] = field(default_factory=list)
    behind_ms: list[list[float]] = field(default_factory=list)

    def add(self, told: dict[str, Any]) -> None:
        """Add what one sender saw."""
        self.offered += told["offered"]
        self.codes.update(told["codes"])
        self.late += [(moment, late) for moment, late in told["late"]]
        self.refused_ms.append(told["refused_ms"])
        self.behind_ms.append(told["behind_ms"])

    @property
    def p99(self) -> float:
        """The 99th percentile of the good answers in ms, from when a call was due."""
        ranked = sorted(late for _, late in self.late)
        return ranked[len(ranked) * 99 // 100] if ranked else float("inf")

    @property
    def good(self) -> bool:
        """Tell whether as good as all calls were answered, and 99 % of them within 50 ms."""
        return self.codes["ok"] >= 0.99 * self.offered and self.p99 < GOOD_MS

    def recovered(self) -> float:
        """Return after how many seconds of this stage 99 % of the calls were within 50 ms again, and stayed so."""
        windows: dict[int, list[float]] = {}
        for moment, late in self.late:
            windows.setdefault(int(moment / WINDOW_S), []).append(late)
        bad = [window for window, lates in windows.items() if sorted(lates)[len(lates) * 99 // 100] >= GOOD_MS]
        return (max(bad) + 1) * WINDOW_S if bad else 0.0


@dataclass
class Outcome:
    """One run: capacity in calls per second, the flood, what came after it, the callee's memory in MiB over time.

    `processor_s` is what the callee's host used during the flood, `ms` what one call costs it.
    """

    capacity: float
    times: float
    flood: Stage
    after: Stage
    memory: list[float]
    processor_s: float
    ms: float

    @property
    def each_refused_us(self) -> float:
        """The callee's processor time for each call beyond what the good ones cost, in µs: refused, or in vain."""
        return max(0.0, self.processor_s - self.flood.codes["ok"] * self.ms / 1000) / max(1, self.arrived) * 1e6

    @property
    def arrived(self) -> int:
        """How many calls of the flood the senders' own hosts have not kept to themselves."""
        return self.flood.offered - self.flood.codes["held"]

    @property
    def goodput(self) -> float:
        """The share of the capacity that was answered well during the flood."""
        return self.flood.codes["ok"] / self.flood.seconds / self.capacity

    def refused(self, place: int) -> float:
        """Return a quantile of the refused calls' ms, that of the sender who saw the worst."""
        return max((one[place] for one in self.flood.refused_ms if one), default=0.0)

    @property
    def growth(self) -> float:
        """How many MiB the callee's host grew from the second to the last third of the flood."""
        third = max(1, len(self.memory) // 3)
        early = self.memory[third : 2 * third] or self.memory
        return statistics.median(self.memory[-third:]) - statistics.median(early)

    def lines(self) -> Iterator[str]:
        """Yield the rows of the table."""
        flood = self.flood
        yield f"capacity (p99 < 50 ms): {self.capacity:,.0f} calls/s"
        rate, behind = flood.offered / flood.seconds, max((one[2] for one in flood.behind_ms if one), default=0.0)
        yield (f"offered: {rate:,.0f} calls/s, {rate / self.capacity:.1f} times as much, for {flood.seconds:g} s; "
               f"outcomes {dict(flood.codes.most_common())}; senders were late by p99 {behind:.1f} ms")
        yield (f"the callee's host used {self.processor_s / flood.seconds:.2f} of a core; beyond the good calls "
               f"{self.each_refused_us:.0f} µs for each call offered")
        yield row("goodput, share of capacity", self.goodput, GOODPUT, more=True)
        yield row("refused, told at the caller, p50 ms", self.refused(0), REFUSED_MS)
        yield row("refused, told at the caller, p99 ms", self.refused(2), REFUSED_MS)
        yield f"refused, told at the caller: p99.9 {self.refused(3):.1f} ms, most {self.refused(4):.1f} ms"
        yield row("recovery, s until p99 < 50 ms again", self.after.recovered(), RECOVERED_S)
        yield row("memory of the callee's host, growth in MiB", self.growth, 5.0)
        yield f"memory: {', '.join(f'{one:.0f}' for one in self.memory[::max(1, len(self.memory) // 10)])} MiB"


def row(name: str, value: float, promise: float, *, more: bool = False) -> str:
    """Return one row of the table, with what is promised."""
    good = value >= promise if more else value < promise
    return f"{name:<48} {value:>9.2f}   {'≥' if more else '<'} {promise:g}   {'pass' if good else 'short'}"


@contextlib.contextmanager
def running(folder: Path, *, retries: bool = False) -> Iterator[Path]:
    """Run the four hosts in `folder`, and stop them at the end."""
    write_project(folder, retries)
    with started(folder):
        yield folder


def write_project(folder: Path, retries: bool) -> None:
    """Write a project of four hosts on free ports with the benchmark's agents."""
    names = (*SENDERS, CALLEE)
    ports = iter(free_ports(3 * len(names) + 2))
    hosts = "\n".join(
        f"  {name}: {{address: 127.0.0.1, port: {next(ports)}, events_port: {next(ports)}, "
        f"metrics_port: {next(ports)}}}" for name in names
    )
    (folder / "config" / "agents").mkdir(parents=True)
    (folder / "config" / "hosts.yaml").write_text(
        f"mesh: overload\nhosts:\n{hosts}\n"
        f"registry: {{host: {CALLEE}, port: {next(ports)}, metrics_port: {next(ports)}, store: sqlite}}\n"
    )
    for source in ("toiler", "flooder"):
        (folder / f"{source}.py").write_text((ROOT / "benchmarks" / "agents" / f"{source}.py").read_text())
    agents = folder / "config" / "agents"
    (agents / "bench_toiler.yaml").write_text(
        f"class: toiler.py:Toiler\nhosts: [{CALLEE}]\n" + ("" if retries else "policies: {retry: null}\n")
    )
    for name in SENDERS:
        (agents / f"bench_sender_{name}.yaml").write_text(f"class: flooder.py:Flooder\nhosts: [{name}]\n")


async def offered(operator: Operator, what: str, ms: float, *stages: tuple[float, float]) -> list[Stage]:
    """Have the three senders go through `stages` of a rate, all three together, and seconds."""
    arguments = {
        "what": what, "ms": ms, "start": time.time() + HEAD_START, "timeout_s": TIMEOUT_S,
        "stages": [{"rate": rate / len(SENDERS), "seconds": seconds} for rate, seconds in stages],
    }
    limit = sum(seconds for _, seconds in stages) + 30.0
    answers = await asyncio.gather(*(
        operator.ask(f"bench_sender_{name}.offer", arguments, limit=limit) for name in SENDERS
    ))
    told = [Stage(seconds) for _, seconds in stages]
    for answer in answers:
        for stage, one in zip(told, answer, strict=True):
            stage.add(one)
    return told


async def capacity(operator: Operator, what: str, ms: float, seconds: float) -> float:
    """Return the highest rate at which 99 % of the calls are answered within 50 ms; a rate has two tries."""
    async def holds(rate: float) -> bool:
        for _ in range(2):
            if (await offered(operator, what, ms, (rate, seconds)))[0].good:
                return True
        return False

    low, high = 0.0, 0.0
    rate = 100.0 / ms
    while not high:
        if await holds(rate):
            low, rate = rate, rate * 1.6
        else:
            high = rate
            if not low and rate < 5:
                raise RuntimeError(f"not even {rate:.1f} calls/s are answered within {GOOD_MS:g} ms")
            if not low:
                high, rate = 0.0, rate / 2
    for _ in range(4):
        middle = (low + high) / 2
        low, high = (middle, high) if await holds(middle) else (low, middle)
    return low


def callee_process(folder: Path) -> psutil.Process:
    """Return the process of the host that is called."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "mesh.supervisor" in command and CALLEE in command and str(folder) in " ".join(command):
            return process
    raise RuntimeError(f"no process of {CALLEE}")


async def watch(process: psutil.Process, seen: list[tuple[float, float]]) -> None:
    """Note the resident memory of a process in MiB and the processor time it has used, four times a second."""
    while True:
        times = process.cpu_times()
        seen.append((process.memory_info().rss / 2**20, times.user + times.system))
        await asyncio.sleep(EACH_S)


async def measured(
    folder: Path, what: str, ms: float, *, times: float, seconds: float, trial: float, known: float | None = None
) -> Outcome:
    """Find the capacity, or take a `known` one, then offer `times` as much for `seconds`."""
    operator = Operator(load(folder), timeout=None)
    await operator.connect()
    try:
        await offered(operator, what, ms, (20.0, 1.0))
        most = known or await capacity(operator, what, ms, trial)
        seen: list[tuple[float, float]] = []
        watching = asyncio.get_running_loop().create_task(watch(callee_process(folder), seen))
        flood, after = await offered(operator, what, ms, (most * times, seconds), (most / 2, AFTER_S))
        watching.cancel()
        first, last = int(HEAD_START / EACH_S), int((HEAD_START + seconds) / EACH_S)
        return Outcome(most, times, flood, after, [memory for memory, _ in seen[first:last]],
                       seen[last][1] - seen[first][1], ms)
    except MeshError as error:
        raise RuntimeError(f"{error}; {(folder / 'up.log').read_text()}") from error
    finally:
        operator.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--what", choices=("compute", "wait"), default="compute")
    parser.add_argument("--ms", type=float, default=2.0, help="what a call costs the callee")
    parser.add_argument("--times", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--trial", type=float, default=3.0, help="seconds for which a rate is tried")
    parser.add_argument("--capacity", type=float, help="take this one instead of looking for it")
    parser.add_argument("--retries", action="store_true", help="leave retries on")
    parser.add_argument("--smoke", action="store_true", help="only show that the program runs")
    chosen = parser.parse_args()
    if chosen.smoke:
        chosen.times, chosen.seconds, chosen.capacity = 3.0, 2.0, 100.0
    with tempfile.TemporaryDirectory(prefix="mesh-overload-") as name, \
            running(Path(name), retries=chosen.retries) as folder:
        found = asyncio.run(measured(folder, chosen.what, chosen.ms, times=chosen.times, seconds=chosen.seconds,
                                     trial=chosen.trial, known=chosen.capacity))
    for line in found.lines():
        print(line)


if __name__ == "__main__":
    main()
