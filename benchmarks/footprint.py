"""`python -m benchmarks.footprint`: what the mesh costs while nobody uses it: start, memory, sockets, processor.

The project is the real one with generated agents added (`crowd.py`), on loopback, hosts and registry on this machine.
A start is from exec of `mesh up` to its ready line; before those that count one has written the bytecode. Cold is a
start for which nothing is compiled, neither the mesh nor what it imports, and the files of both are not in the page
cache. Memory is the PSS of launcher, registry, supervisors and process cells after `--settle` seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks import table
from benchmarks.crowd import write_crowd
from benchmarks.effort import Effort
from benchmarks.process import Thread, contexts, family_of, name_of, pss, seconds, threads
from benchmarks.row import Curve, Row

ROOT = Path(__file__).resolve().parent.parent
AGENTS = 84
CROWDS = (0, 10, 40, 84, 160)
SETTLE = 30.0
WATCH = 60.0
HELPS = 5
START_LIMIT = 120.0
STOP_LIMIT = 30.0
COMMANDS = {
    "mesh --help": ("--help",), "mesh status": ("status",), "mesh call": ("call", "service_registry.list_agents"),
}


@dataclass(frozen=True)
class Started:
    """A mesh that runs: its launcher, and the seconds until its ready line: passed, and of all processors."""

    pid: int
    passed: float
    used: float


@dataclass(frozen=True)
class Rest:
    """What an idle mesh holds and spends: MiB and share of a core by process, contexts and sockets by host."""

    memory: Mapping[str, float]
    busy: Mapping[str, float]
    threads: Mapping[str, Mapping[str, float]]
    contexts: int
    sockets: Mapping[str, int]


def rows(
    effort: Effort, agents: int = AGENTS, settle: float = SETTLE, watch: float = WATCH, curve: bool = True
) -> Iterator[Row | Curve]:
    """Yield every promise of the footprint table, and the curve of memory against agents."""
    if effort.smoke:
        agents, settle, watch = 16, 0.0, 0.5
    with tempfile.TemporaryDirectory(prefix="mesh-footprint-") as name:
        folder = Path(name)
        write_crowd(folder, agents)
        if not effort.smoke:
            with up(folder):
                pass  # keys and bytecode
        yield from _starts(effort, folder, agents)
        with up(folder) as started:
            time.sleep(settle)
            rest = rested(started.pid, folder, watch)
            commands = _commands(folder, effort.of(HELPS, 1))
    _tell(effort, rest)
    yield Row(f"memory of all, {agents} agents", [sum(rest.memory.values())], 150.0, 110.0, False, "MiB PSS",
              {f"{name}, MiB PSS": [value] for name, value in rest.memory.items()})
    yield Row("processor of all, idle", [sum(rest.busy.values())], 1.0, None, False, "% of one core",
              {f"{name}, %": [value] for name, value in rest.busy.items()})
    yield Row("contexts in a process, at most", [float(rest.contexts)], 1.0, None, False)
    yield Row("sockets of a supervisor, at most, beside peers", [max(rest.sockets.values()) - 1.0], 6.0, None, False,
              figures={f"{name}, sockets": [float(value)] for name, value in rest.sockets.items()})
    yield from commands
    if curve and not effort.smoke:
        yield _memory_curve(effort, settle)


def _starts(effort: Effort, folder: Path, agents: int) -> Iterator[Row]:
    warm, cold = [], []
    for number in range(effort.rounds):
        with up(folder) as started:
            warm.append(started)
        effort.say(f"round {number + 1}: {agents} agents ready after {started.passed:.2f} s, {started.used:.2f} s of "
                   "processor")
    for _ in range(effort.of(2, 0)):
        with tempfile.TemporaryDirectory(prefix="mesh-cold-") as compiled:
            _drop_from_cache(folder)
            with up(folder, PYTHONPYCACHEPREFIX=compiled) as started:
                cold.append(started)
    yield Row(f"all {agents} agents ready", [one.passed for one in warm], 2.0, 1.0, False, "s",
              {"processor of all, s": [one.used for one in warm]})
    if cold:
        yield Row("the same, cold: nothing compiled, files not cached", [one.passed for one in cold], None, None, False,
                  "s", {"processor of all, s": [one.used for one in cold]})


def _drop_from_cache(folder: Path) -> None:
    """Have the kernel forget the files that a start reads; those that others have mapped now stay."""
    for top in {folder, ROOT / "mesh", ROOT / "registry", *map(Path, (sysconfig.get_path("stdlib"),
                                                                   sysconfig.get_path("platlib")))}:
        for path in top.rglob("*"):
            if path.suffix in (".py", ".so", ".yaml") and path.is_file():
                descriptor = os.open(path, os.O_RDONLY)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)


def _commands(folder: Path, times: int) -> list[Row]:
    """Measure how long commands of the mesh take, each as whoever types it waits for it."""
    found = []
    for name, words in COMMANDS.items():
        passed, used = [], []
        for _ in range(times):
            before, began = os.times(), time.monotonic()
            subprocess.run(_mesh(folder, *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            passed.append(time.monotonic() - began)
            after = os.times()
            used.append(after.children_user + after.children_system - before.children_user - before.children_system)
        promise = 0.25 if name == "mesh --help" else None
        found.append(Row(name, passed, promise, None, False, "s", {"processor, s": used}))
    return found


def _memory_curve(effort: Effort, settle: float) -> Curve:
    """Measure the memory of all processes with more and more agents."""
    points: list[tuple[float, list[float]]] = []
    for agents in CROWDS:
        with tempfile.TemporaryDirectory(prefix="mesh-footprint-") as name:
            write_crowd(Path(name), agents)
            with up(Path(name)):
                pass
            with up(Path(name)) as started:
                time.sleep(settle / 3)
                memory = sum(pss(process) for process in family_of(started.pid))
        effort.say(f"{agents} agents: {memory:.0f} MiB, ready after {started.passed:.2f} s, {started.used:.2f} s of "
                   "processor")
        points.append((float(agents), [memory]))
    return Curve("memory", "launcher, registry and two hosts", "agents", "MiB PSS", points)


# -- a mesh that runs


@contextlib.contextmanager
def up(folder: Path, **environment: str) -> Iterator[Started]:
    """Run the mesh of a project; what it prints until then is in what is raised if it does not start."""
    began = time.monotonic()
    process = subprocess.Popen(_mesh(folder, "up", "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": str(ROOT), **environment})
    try:
        assert process.stdout is not None and process.stderr is not None
        first: dict[str, Any] = json.loads(process.stdout.readline() or "{}")
        passed = time.monotonic() - began
        if first.get("event") != "ready" or first["degraded"] or first["failed"]:
            process.terminate()
            raise RuntimeError(f"the mesh did not start: {first} {process.stderr.read()}")
        yield Started(process.pid, passed, seconds(family_of(process.pid)))
    finally:
        process.terminate()
        process.communicate(timeout=STOP_LIMIT)


def rested(pid: int, folder: Path, watch: float) -> Rest:
    """Return what a mesh holds, and what it spends while it is watched."""
    processes = family_of(pid)
    memory = {name_of(process): pss(process) for process in processes}
    before, began = threads(processes), time.monotonic()
    time.sleep(watch)
    after, passed = threads(processes), time.monotonic() - began
    shares = {thread: (used - before.get(thread, 0.0)) / passed * 100 for thread, used in after.items()}
    told = json.loads(subprocess.run(_mesh(folder, "status", "--json"), capture_output=True, check=False).stdout)
    of = {name_of(process): _by_name(process, shares) for process in processes}
    return Rest(
        memory=memory, busy={name: sum(parts.values()) for name, parts in of.items()}, threads=of,
        contexts=max(contexts(process) for process in processes),
        sockets={row["name"]: int(row["sockets"]) for row in told["hosts"]},
    )


def _by_name(process: psutil.Process, shares: Mapping[Thread, float]) -> dict[str, float]:
    own: dict[str, float] = {}
    for thread, share in shares.items():
        if thread.pid == process.pid:
            own[thread.name] = own.get(thread.name, 0.0) + share
    return own


def _tell(effort: Effort, rest: Rest) -> None:
    """Tell what the figures are made of: by process, and by its threads."""
    for name, memory in rest.memory.items():
        parts = sorted(rest.threads[name].items(), key=lambda part: -part[1])
        effort.say(f"{name}: {memory:.1f} MiB PSS, {rest.busy[name]:.2f} % of a core: "
                   + ", ".join(f"{thread} {share:.2f}" for thread, share in parts if share >= 0.01))


def _mesh(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "mesh.cli", "--config", str(folder), *words]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.footprint", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how many starts")
    parser.add_argument("--agents", type=int, default=AGENTS)
    parser.add_argument("--settle", type=float, default=SETTLE, help="seconds from the ready line to the memory")
    parser.add_argument("--watch", type=float, default=WATCH, help="seconds for which the processor is watched")
    parser.add_argument("--smoke", action="store_true", help="only show that the program runs")
    parser.add_argument("--no-curve", action="store_true", help="leave out memory against agents")
    chosen = parser.parse_args()
    effort = Effort(1 if chosen.smoke else chosen.rounds, chosen.smoke)
    found = rows(effort, chosen.agents, chosen.settle, chosen.watch, not chosen.no_curve)
    print("\n".join(table.lines([each for each in found if isinstance(each, Row)])))


if __name__ == "__main__":
    main()
