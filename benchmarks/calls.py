"""The mesh's side: two real hosts and a registry, an agent on one calling an agent on the other by name."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30.0
STOP_SECONDS = 120.0
RATE = 10**9
PORTS = 30_000, 32_700
"""Calls a second of the rate rule: it refuses nothing, but costs what it costs."""
TICK = 0.001
"""Seconds; calls at a given rate are made once a tick, here as in the baseline."""


@dataclass(frozen=True)
class MeshFigures:
    """Calls per second at some outstanding calls, with the median and the 99th percentile in seconds."""

    calls_per_second: float
    p50: float
    p99: float


@dataclass(frozen=True)
class OfferedFigures:
    """What became of calls made at a rate: how many, those that were answered well, and their latencies in seconds
    from the moment they were due; `seconds` from the first call to the last answer."""

    offered: int
    answered: int
    seconds: float
    p50: float
    p99: float


@contextlib.contextmanager
def running(
    folder: Path, *, security: str, isolation: str = "coroutine", echo_host: str = "pc2", sample: float = 0.01,
    loop: str = "",
) -> Iterator[Path]:
    """Run a mesh of two hosts with the benchmark's agents in `folder`, and stop it at the end.

    The calling agent is on the loop of mainpc; `isolation` and `echo_host` say where the called one is, `sample` which
    share of the traces is sampled, `loop` on which event loop the hosts run.
    """
    write_project(folder, security, isolation, echo_host, sample)
    with started(folder, loop):
        yield folder


@contextlib.contextmanager
def running_anywhere(
    *, security: str = "none", isolation: str = "coroutine", echo_host: str = "pc2", sample: float = 0.01,
    loop: str = "",
) -> Iterator[Path]:
    """Run such a mesh in a folder of its own, warmed up by some calls; yields the folder."""
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as name, \
            running(Path(name), security=security, isolation=isolation, echo_host=echo_host, sample=sample,
                    loop=loop) as folder:
        measure(folder, calls=6400, outstanding=64)
        yield folder


@contextlib.contextmanager
def started(folder: Path, loop: str = "") -> Iterator[None]:
    """Run the mesh whose project is in `folder`, and stop it at the end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **({"MESH_LOOP": loop} if loop else {})}
    log = (folder / "up.log").open("w")
    up = subprocess.Popen([sys.executable, "-m", "mesh.cli", "--config", str(folder), "up", "--json"],
                          stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    try:
        assert up.stdout is not None
        for line in up.stdout:
            if line.startswith("{") and json.loads(line).get("event") == "ready":
                break
        else:
            raise RuntimeError(f"the mesh did not start: {(folder / 'up.log').read_text()}")
        yield
    finally:
        up.terminate()
        up.wait(STOP_SECONDS)
        log.close()
        if up.stdout is not None:
            up.stdout.close()


def measure(folder: Path, *, calls: int, outstanding: int, roots: bool = False) -> MeshFigures:
    """Have the calling agent make `calls` calls, `outstanding` at a time; as `roots` each is a trace of its own."""
    return MeshFigures(**_told(folder, "measure", calls=calls, outstanding=outstanding, roots=roots))


def measure_stream(folder: Path, *, count: int) -> float:
    """Have the calling agent read a stream of `count` items; returns items per second."""
    return float(_told(folder, "measure_stream", count=count))


def measure_beside(folder: Path, *, streams: int, calls: int) -> MeshFigures:
    """Have the calling agent make calls one at a time beside busy streams."""
    return MeshFigures(**_told(folder, "measure_beside", streams=streams, calls=calls))


def measure_offered(folder: Path, *, rate: float, seconds: float) -> OfferedFigures:
    """Have the calling agent make `rate` calls a second, whatever the answers do."""
    return OfferedFigures(**_told(folder, "measure_offered", rate=rate, seconds=seconds, tick=TICK))


def hosts(folder: Path) -> dict[str, psutil.Process]:
    """Return the processes of the hosts, by name."""
    return {row["name"]: psutil.Process(row["pid"]) for row in _mesh(folder, "status")["hosts"]}


def pin(folder: Path, cores: Mapping[str, int]) -> None:
    """Keep every thread of a host's process on one core."""
    for name, process in hosts(folder).items():
        for task in process.threads():
            os.sched_setaffinity(task.id, {cores[name]})


def processor(processes: Iterable[psutil.Process]) -> float:
    """Return the seconds of processor time, user and system, that the processes have had."""
    return float(sum(sum(process.cpu_times()[:2]) for process in processes))


def _told(folder: Path, operation: str, **arguments: float) -> Any:
    answer = _mesh(folder, "call", f"bench_caller.{operation}",
                   *(f"{name}={str(value).lower()}" for name, value in arguments.items()), "--timeout", "120")
    if not answer.get("ok"):
        raise RuntimeError(f"the call failed: {answer}")
    return answer["result"]


def _mesh(folder: Path, *words: str) -> Any:
    done = subprocess.run([sys.executable, "-m", "mesh.cli", "--config", str(folder), *words, "--json"],
                          capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise RuntimeError(f"mesh {' '.join(words)}: {done.stdout}{done.stderr}") from None


def write_project(
    folder: Path, security: str, isolation: str = "coroutine", echo_host: str = "pc2", sample: float = 0.01,
    names: Sequence[str] = ("mainpc", "pc2"), idle: int = 0,
) -> None:
    """Write a project of hosts on free ports with the benchmark's agents, and `idle` more on the two that call."""
    ports = iter(free_ports(2 + 3 * len(names)))
    hosts = "\n".join(
        f"  {name}: {{address: 127.0.0.1, port: {next(ports)}, events_port: {next(ports)}, "
        f"metrics_port: {next(ports)}}}" for name in names
    )
    (folder / "config" / "agents").mkdir(parents=True)
    (folder / "config" / "hosts.yaml").write_text(
        f"mesh: bench\nsecurity: {security}\nhosts:\n{hosts}\n"
        f"registry: {{host: mainpc, port: {next(ports)}, metrics_port: {next(ports)}, store: sqlite}}\n"
        f"tracing: {{sample: {sample}}}\n"
    )
    for service, host, class_name, place in (
        ("bench_caller", "mainpc", "Caller", "coroutine"), ("bench_echo", echo_host, "Echo", isolation),
    ):
        source = ROOT / "benchmarks" / "agents" / f"{service.removeprefix('bench_')}.py"
        (folder / f"{service}.py").write_text(source.read_text())
        (folder / "config" / "agents" / f"{service}.yaml").write_text(
            f"class: {service}.py:{class_name}\nhosts: [{host}]\nisolation: {place}\n"
            f"policies: {{rate: {{calls: {RATE}, per_s: 1}}}}\n"
        )
    for number in range(idle):
        (folder / "config" / "agents" / f"bench_idle{number}.yaml").write_text(
            f"class: bench_echo.py:Echo\nhosts: [{('mainpc', 'pc2')[number % 2]}]\n")


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago, below those the kernel gives to outgoing connections."""
    candidates = list(range(*PORTS))
    random.shuffle(candidates)
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", candidates.pop()))
            found.append(probe.getsockname()[1])
    return found
