"""A mesh under trial: two hosts whose agents call each other all the time, and what one does to its processes.

The callers are on mainpc, one on the loop of its host and one in a process of its own; the workers on pc2, on the loop,
in a thread and in a process. Each writes a journal. Hosts and registry are kept by a launcher.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from benchmarks import history
from benchmarks.calls import free_ports
from mesh.cli.operator import Operator
from mesh.config import load
from mesh.errors import MeshError

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT = 60.0
COMMAND_LIMIT = 10.0
TICK = 0.02
LINES = 20

WORKERS: Mapping[str, str] = {"worker": "coroutine", "worker_threaded": "thread", "worker_apart": "process"}
ASKERS: Mapping[str, str] = {"asker": "coroutine", "asker_apart": "process"}
HOST_OF: Mapping[str, str] = {**dict.fromkeys(WORKERS, "pc2"), **dict.fromkeys(ASKERS, "mainpc")}
PLACES: Mapping[str, str] = {"callee": "worker_apart", "caller": "asker_apart"}
"""The places whose process is that of one agent."""


class Trial:
    """The running mesh in `folder`; `deaths` are the processes that were killed, and when."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.deaths: dict[int, float] = {}
        self.lines: dict[str, list[dict[str, Any]]] = {service: [] for service in HOST_OF}
        self._strays: dict[int, int] = {}
        self._read: dict[str, int] = dict.fromkeys(HOST_OF, 0)

    # -- processes

    def pid(self, place: str) -> int:
        """Return the process of a host, of `registry`, or of the agent of a place; raises `LookupError`."""
        if place in PLACES:
            self.read()
            return int(next(line for line in reversed(self.lines[PLACES[place]]) if line["kind"] == "start")["by"])
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                command = process.cmdline()
                if place in command and ("mesh.supervisor" in command or place == "registry"):
                    return process.pid
        raise LookupError(f"no process of {place}")

    def processes(self) -> list[psutil.Process]:
        """Return every living process of this mesh."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and (
                    str(self.folder) in process.cmdline() or process.cwd() == str(self.folder)
                ):
                    found.append(process)
        return found

    def kill(self, place: str) -> float:
        """Kill a process with all it takes along, and return when."""
        pid = self.pid(place)
        gone = {pid, *(self._agents_of(place))}
        moment = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        self.deaths.update(dict.fromkeys(gone, moment))
        return moment

    def _agents_of(self, place: str) -> Iterator[int]:
        """Yield the processes that agents of a host are in; they end with it."""
        self.read()
        for service, host in HOST_OF.items():
            if host == place:
                yield from {line["by"] for line in self.lines[service] if line["by"] not in self.deaths}

    # -- the control of the operator

    async def ask(self, target: str, host: str | None = None, **arguments: Any) -> Any:
        """Have an operator ask something, over a connection of its own."""
        operator = Operator(load(self.folder), timeout=COMMAND_LIMIT)
        try:
            await operator.connect()
            return await operator.ask(target, arguments, host=host)
        finally:
            operator.close()

    async def strays(self) -> int:
        """Return how many answers have come to nobody's question, on both hosts, those that died meanwhile included."""
        for name, host in load(self.folder).hosts.items():
            with contextlib.suppress(OSError, LookupError):
                pid = self.pid(name)
                told = await asyncio.to_thread(_scraped, f"http://{host.address}:{host.metrics_port}/metrics")
                self._strays[pid] = int(sum(float(line.split()[-1]) for line in told.splitlines()
                                            if line.startswith("mesh_stray_answers_total")))
        return sum(self._strays.values())

    # -- the journals

    def read(self) -> None:
        """Read on in the journals."""
        for service, host in HOST_OF.items():
            path = self.folder / ".mesh" / host / "state" / service / "journal"
            if path.exists():
                with path.open("rb") as journal:
                    journal.seek(self._read[service])
                    text = journal.read()
                whole = text[:text.rfind(b"\n") + 1]
                self._read[service] += len(whole)
                self.lines[service] += map(json.loads, whole.splitlines())

    def calls(self) -> list[history.Call]:
        """Return every call so far."""
        self.read()
        return [call for service in ASKERS for call in history.calls_of(self.lines[service])]

    def executions(self) -> list[history.Execution]:
        """Return every execution so far."""
        self.read()
        return [run for service in WORKERS for run in history.executions_of(self.lines[service])]

    async def well(self, since: float, limit: float = 60.0) -> float:
        """Return when the first call of every caller to every worker, asked after `since`, had ended well.

        Raises `TimeoutError` that names who did not.
        """
        until = time.monotonic() + limit
        while True:
            found = self._first_well(since)
            missing = {(asker, worker) for asker in ASKERS for worker in WORKERS} - found.keys()
            if not missing:
                return max(found.values())
            if time.monotonic() > until:
                failing = ", ".join(f"{asker} to {worker}" for asker, worker in sorted(missing))
                raise TimeoutError(f"after {limit:g} s these calls still fail: {failing}; {await self._states()}")
            await asyncio.sleep(TICK)

    async def _states(self) -> str:
        """Return how the agents are, in words, for who wonders why all is not well."""
        told = []
        for host in ("mainpc", "pc2"):
            try:
                rows = await self.ask("supervisor.agents", host)
                told += [f"{row['service']} is {row['state']} ({row['reason']}; {row['last_error']})" for row in rows]
            except MeshError as error:
                told.append(f"{host}: {error}")
            log = self.folder / ".mesh" / host / "logs" / "supervisor.log"
            told += [f"the log of {host} ends with", *log.read_text().splitlines()[-LINES:]]
        return "\n".join(told)

    def _first_well(self, since: float) -> dict[tuple[str, str], float]:
        self.read()
        found: dict[tuple[str, str], float] = {}
        for asker in ASKERS:
            asked: dict[str, str] = {}
            for line in self.lines[asker]:
                if line["kind"] == "asked" and line["at"] > since:
                    asked[line["id"]] = line["target"].partition(".")[0]
                elif line["kind"] == "ended" and line["code"] == "ok" and line["id"] in asked:
                    found.setdefault((asker, asked[line["id"]]), line["at"])
        return found


@contextlib.contextmanager
def running(folder: Path, seed: int) -> Iterator[Trial]:
    """Run the mesh in `folder`, and end all of it."""
    _write(folder, seed)
    trial = Trial(folder)
    log = (folder / "up.log").open("w")
    up = subprocess.Popen([sys.executable, "-m", "mesh.cli", "up", "--json"], cwd=folder, stdout=subprocess.PIPE,
                          stderr=log, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True)
    try:
        assert up.stdout is not None
        for line in up.stdout:
            if line.startswith("{") and json.loads(line).get("event") == "ready":
                break
        else:
            raise RuntimeError(f"the mesh did not start: {(folder / 'up.log').read_text()}")
        yield trial
    finally:
        for process in (left := trial.processes()):
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=10)
        up.wait(30)
        assert up.stdout is not None
        up.stdout.close()
        log.close()


def _write(folder: Path, seed: int) -> None:
    """Write the project."""
    ports = iter(free_ports(8))
    hosts = "".join(f"  {name}: {{address: 127.0.0.1, port: {next(ports)}, events_port: {next(ports)}, "
                    f"metrics_port: {next(ports)}}}\n" for name in ("mainpc", "pc2"))
    (folder / "config" / "agents").mkdir(parents=True)
    (folder / "config" / "hosts.yaml").write_text(
        f"mesh: trial\nhosts:\n{hosts}"
        f"registry: {{host: mainpc, port: {next(ports)}, metrics_port: {next(ports)}, store: sqlite}}\n"
    )
    for name in ("worker", "asker"):
        (folder / f"{name}.py").write_text((ROOT / "benchmarks" / "agents" / f"{name}.py").read_text())
    for service, isolation in {**WORKERS, **ASKERS}.items():
        about = {"class": "worker.py:Worker"} if service in WORKERS else {
            "class": "asker.py:Asker", "settings": {"workers": list(WORKERS), "seed": seed}}
        limits = {"inbox": 48, "concurrency": 48, "stop_s": 0.5}
        told = {**about, "hosts": [HOST_OF[service]], "isolation": isolation, "limits": limits,
                "policies": {"breaker": {"open_s": 0.5}}}  # as soon as a fault is over, its calls shall show it
        (folder / "config" / "agents" / f"{service}.yaml").write_text(
            "".join(f"{key}: {json.dumps(value)}\n" for key, value in told.items()))


def _scraped(url: str) -> str:
    with urllib.request.urlopen(url, timeout=2.0) as answer:
        text: str = answer.read().decode()
    return text
