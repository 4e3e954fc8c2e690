"""`python -m benchmarks.rolling`: an agent is replaced in every way while another host calls it 100 times a second.

Real processes: launcher, registry, three hosts. The calls come from mainpc in an open loop, to an operation that is not
idempotent, on pc2 and pc3. Each row is one thing done meanwhile; promised are 0 failed calls in each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.calls import ROOT, free_ports
from benchmarks.death import _pid
from mesh.cli.operator import Operator
from mesh.config import load

HOSTS = ("mainpc", "pc2", "pc3")
HOMES = ("pc2", "pc3")
RATE = 100.0
START_LIMIT = 60.0


@dataclass(frozen=True)
class Row:
    """What became of the calls while one thing was done, which took `took` seconds."""

    what: str
    took: float
    sent: int
    ok: int
    failed: int
    slowest_ms: float
    told: str

    def __str__(self) -> str:
        return (f"| {self.what} | {self.took:.1f} s | {self.sent} | {self.ok} | {self.failed} "
                f"| {self.slowest_ms:.0f} ms | {self.told or '-'} |")


HEAD = ("| what was done | it took | sent | ok | failed | slowest | first failure |\n"
        "|---|---|---|---|---|---|---|")


class Mesh:
    """A mesh of three hosts in `folder`, and what an operator does to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._version = 1

    def run(self, *arguments: str, limit: float = 90.0) -> str:
        """Run one command of the CLI; raises `RuntimeError` with what it printed if it fails."""
        done = subprocess.run([sys.executable, "-m", "mesh.cli", "--config", str(self.folder), *arguments],
                              capture_output=True, text=True, timeout=limit, check=False, env=_environment())
        if done.returncode:
            raise RuntimeError(f"mesh {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def reload(self) -> None:
        """Save a new version of the called agent, and have both hosts run it."""
        self._version += 1
        file = self.folder / "bench_target.py"
        file.write_text(file.read_text().replace(f'"{self._version - 1}"', f'"{self._version}"'))
        self.run("agent", "reload", "bench_target")

    def roll(self) -> None:
        """Restart the called agent on one host after the other."""
        self.run("agent", "restart", "bench_target", "--rolling")

    def scale(self, instances: int) -> None:
        """Have so many instances of the called agent on each host."""
        self.run("agent", "scale", "bench_target", str(instances))

    def drain(self) -> None:
        """Drain the called agent on one host after the other, and start it again."""
        for host in HOMES:
            self.run("agent", "drain", "bench_target", "--host", host)
            self.run("agent", "start", "bench_target", "--host", host)

    def restart_hosts(self) -> None:
        """Stop and start the called hosts one after the other."""
        for host in HOMES:
            self.run("down", "--host", host)
            self.run("up", "--host", host, "--detach")

    def kill_registry(self) -> None:
        """Kill the registry, and wait until its launcher has started it again and it knows all hosts."""
        os.kill(_pid(self.folder, "registry"), signal.SIGKILL)
        until = time.monotonic() + START_LIMIT
        while json.loads(self.run("status", "--json"))["registry"]["state"] != "ok" and time.monotonic() < until:
            time.sleep(0.2)


def steps(mesh: Mesh) -> dict[str, Callable[[], None]]:
    """Return what is done to a mesh, by its name."""
    return {
        "reload, new code on both hosts": mesh.reload,
        "rolling restart of the agent": mesh.roll,
        "scaled to 3 instances on each host": lambda: mesh.scale(3),
        "reload, 3 instances on each host": mesh.reload,
        "scaled back to 1": lambda: mesh.scale(1),
        "drain and start, host after host": mesh.drain,
        "registry killed and started": mesh.kill_registry,
        "rolling restart of both hosts": mesh.restart_hosts,
    }


@contextmanager
def running(folder: Path) -> Iterator[Mesh]:
    """Run the mesh in `folder`, and stop it at the end."""
    _write(folder)
    mesh = Mesh(folder)
    mesh.run("up", "--detach")
    try:
        yield mesh
    finally:
        mesh.run("down")


async def measure(mesh: Mesh, what: dict[str, Callable[[], None]], rate: float = RATE) -> list[Row]:
    """Do one thing after the other while calls are made; returns a row for each."""
    rows: list[Row] = []
    operator = Operator(load(mesh.folder), timeout=None)
    try:
        await operator.connect()
        await operator.ask("bench_steady.begin", {"rate": rate})
        for name, do in what.items():
            await asyncio.sleep(0.3)
            await operator.ask("bench_steady.tally", limit=30.0)
            began = time.monotonic()
            await asyncio.to_thread(do)
            took = time.monotonic() - began
            await asyncio.sleep(0.3)
            rows.append(_row(name, took, await operator.ask("bench_steady.tally", limit=30.0)))
        await operator.ask("bench_steady.end")
    finally:
        operator.close()
    return rows


def _row(what: str, took: float, tally: dict[str, Any]) -> Row:
    return Row(what, took, tally["sent"], tally["ok"], tally["sent"] - tally["ok"], tally["slowest_ms"],
               tally["first"][:160])


def _write(folder: Path) -> None:
    ports = iter(free_ports(2 + 3 * len(HOSTS)))
    hosts = "\n".join(f"  {name}: {{address: 127.0.0.1, port: {next(ports)}, events_port: {next(ports)}, "
                      f"metrics_port: {next(ports)}}}" for name in HOSTS)
    agents = folder / "config" / "agents"
    agents.mkdir(parents=True)
    (folder / "config" / "hosts.yaml").write_text(
        f"mesh: rolling\nregistry: {{host: mainpc, port: {next(ports)}, metrics_port: {next(ports)}, store: sqlite}}\n"
        f"hosts:\n{hosts}\n")
    for service, homes in (("bench_steady", ["mainpc"]), ("bench_target", list(HOMES))):
        name = service.removeprefix("bench_")
        (folder / f"{service}.py").write_text((ROOT / "benchmarks" / "agents" / f"{name}.py").read_text())
        (agents / f"{service}.yaml").write_text(f"class: {service}.py:{name.title()}\nhosts: [{', '.join(homes)}]\n")


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def main() -> int:
    """Do everything once and print a table; returns 1 if a call failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rolling", description=__doc__)
    parser.add_argument("--rate", type=float, default=RATE, help="calls a second")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mesh-rolling-") as name, running(Path(name)) as mesh:
        rows = asyncio.run(measure(mesh, steps(mesh), chosen.rate))
    print(HEAD)
    for row in rows:
        print(row)
    return 1 if any(row.failed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
