"""`make bench-peers`: the mesh beside other ways to call across processes, in shares of `raw` of the same run.

Each rival is installed into an environment of its own below `--folder`; one that does not install, or lacks a program,
is left out, and it is said why. The same map of 100 bytes goes there and back, at 64 outstanding and alone, between
two processes on loopback, without encryption.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import calls, raw, results, table
from benchmarks.effort import Effort, ratios
from benchmarks.row import Row

HERE = Path(__file__).resolve().parent
LIMIT = 120.0


@dataclass(frozen=True)
class Rival:
    """Another system: its script here, what to install for it, and programs it needs besides."""

    name: str
    script: str
    packages: tuple[str, ...]
    programs: tuple[str, ...] = ()
    calls: int = 10_000


RIVALS = (
    Rival("Moleculer over TCP", "moleculer_rival.js", ("moleculer",), ("node", "npm"), 20_000),
    Rival("aiomas", "aiomas_rival.py", ("aiomas",)),
    Rival("rpyc", "rpyc_rival.py", ("rpyc",)),
    Rival("NATS, nats-py", "nats_rival.py", ("nats-py", "msgpack"), ("nats-server",)),
    Rival("grpcio", "grpc_rival.py", ("grpcio", "msgpack"), calls=3_000),
)


class Missing(Exception):
    """A rival that cannot be measured here, and why."""


def main() -> int:
    """Install what can be, measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rivals", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="only show that the programs run")
    parser.add_argument("--only", action="append", metavar="NAME", help="a rival, by its name's beginning; repeatable")
    parser.add_argument("--folder", type=Path, default=HERE.parent / ".peers", help="where the environments are made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results of every round there")
    chosen = parser.parse_args()
    effort = Effort(1 if chosen.smoke else chosen.rounds, chosen.smoke)
    before = results.machine()
    rows = [replace(row, family="peers") for row in _rows(effort, chosen.folder, tuple(chosen.only or ("",)))]
    print("\n".join(table.lines(rows)))
    if chosen.json:
        results.write(chosen.json, results.document(before, effort.rounds, rows))
    return 0


def _rows(effort: Effort, folder: Path, only: tuple[str, ...]) -> Iterator[Row]:
    with contextlib.ExitStack() as stack:
        running = {}
        for rival in RIVALS:
            if rival.name.lower().startswith(tuple(name.lower() for name in only)):
                try:
                    client = stack.enter_context(_serving(rival, _installed(rival, folder)))
                    _measured(client, 128, 5)
                    running[rival] = client
                except Missing as reason:
                    effort.say(f"{rival.name} is left out: {reason}")
        base = stack.enter_context(raw.running())
        mesh = stack.enter_context(calls.running_anywhere())
        many: dict[str, list[float]] = {}
        alone: dict[str, list[float]] = {}
        for number in range(effort.rounds):
            told = {"raw": (base.calls_per_second(effort.of(60_000, 640)), base.p50(effort.of(2_000, 20)))}
            busy = calls.measure(mesh, calls=effort.of(60_000, 640), outstanding=64)
            told["the mesh"] = (busy.calls_per_second,
                                calls.measure(mesh, calls=effort.of(2_000, 20), outstanding=1).p50)
            for rival, client in running.items():
                told[rival.name] = _measured(client, effort.of(rival.calls, 128), effort.of(1_000, 20))
            for name, (rate, p50) in told.items():
                many.setdefault(name, []).append(rate)
                alone.setdefault(name, []).append(p50)
            effort.say(f"round {number + 1}: " + "; ".join(f"{name} {rate:,.0f}/s" for name, (rate, _) in told.items()))
        for name in many:
            if name != "raw":
                yield Row(f"{name}, 64 outstanding, share of raw", ratios(many[name], many["raw"]),
                          figures={"calls/s": many[name], "raw, calls/s": many["raw"]})
        for name in many:
            if name != "raw":
                yield Row(f"{name}, alone, p50, times raw", ratios(alone[name], alone["raw"]), higher_is_better=False)


def _installed(rival: Rival, folder: Path) -> list[str]:
    """Return the command that runs a rival's script, in its environment; raises `Missing`."""
    lacking = [program for program in rival.programs if shutil.which(program) is None]
    if lacking:
        raise Missing(f"it needs {' and '.join(lacking)}; install that and try again")
    own = folder / rival.script.partition("_")[0]
    own.mkdir(parents=True, exist_ok=True)
    if rival.script.endswith(".js"):
        if not (own / "node_modules").exists():
            _done(["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(own), *rival.packages])
        return ["env", f"NODE_PATH={own / 'node_modules'}", "node", str(HERE / rival.script)]
    python = own / "bin" / "python"
    if not python.exists():
        venv.create(own, with_pip=True)
    _done([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *rival.packages])
    return [str(python), str(HERE / rival.script)]


def _done(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise Missing(f"it does not install: {' '.join(last)}")


@contextlib.contextmanager
def _serving(rival: Rival, command: list[str]) -> Iterator[list[str]]:
    """Run the called side; yields the command of the calling one."""
    port = str(calls.free_ports(1)[0])
    server = subprocess.Popen([*command, "serve", port], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": ""})
    assert server.stdout is not None and server.stdin is not None and server.stderr is not None
    try:
        if not server.stdout.readline():
            raise Missing(f"it does not start: {' '.join(server.stderr.read().strip().splitlines()[-1:])}")
        yield [*command, "measure", port]
    finally:
        server.stdin.close()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdout.close()
        server.stderr.close()


def _measured(client: list[str], count: int, alone: int) -> tuple[float, float]:
    """Return calls per second and the median latency in seconds of a lone call."""
    done = subprocess.run([*client, str(count), str(alone)], capture_output=True, text=True, check=False, timeout=LIMIT,
                          env={**os.environ, "PYTHONPATH": ""})
    if done.returncode:
        raise Missing(f"its calls fail: {' '.join(done.stderr.strip().splitlines()[-1:])}")
    told = json.loads(done.stdout.splitlines()[-1])
    return told["calls_per_second"], told["p50"]


if __name__ == "__main__":
    sys.exit(main())
