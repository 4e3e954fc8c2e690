"""A project in a temporary folder with hosts, free ports and agents of the test's own, and the processes it starts."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.eventually import wait_until

HOSTS = ("mainpc", "pc2")
START_LIMIT = 60.0
ENDED = (psutil.NoSuchProcess, psutil.ZombieProcess)


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago, below those the kernel gives to outgoing connections.

    Tests that run side by side look in ranges of their own.
    """
    beside = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    candidates = list(range(10_000 + beside % 4 * 5_000, 15_000 + beside % 4 * 5_000))
    random.shuffle(candidates)
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", candidates.pop()))
            found.append(probe.getsockname()[1])
    return found


class Project:
    """A mesh of its own below `root`; `close` ends every process that belongs to it, however it was started."""

    def __init__(self, root: Path, *, security: str = "curve") -> None:
        self.root = root
        self.registry_port, self.registry_metrics_port, *ports = free_ports(2 + 3 * len(HOSTS))
        self.ports = {name: ports[3 * index : 3 + 3 * index] for index, name in enumerate(HOSTS)}
        (root / "config" / "agents").mkdir(parents=True)
        hosts = "".join(
            f"  {name}: {{address: 127.0.0.1, port: {port}, events_port: {events}, metrics_port: {metrics}}}\n"
            for name, (port, events, metrics) in self.ports.items()
        )
        (root / "config" / "hosts.yaml").write_text(
            f"mesh: test\nsecurity: {security}\n"
            f"registry: {{host: mainpc, port: {self.registry_port}, metrics_port: {self.registry_metrics_port}, "
            f"store: sqlite}}\nhosts:\n{hosts}"
        )
        self._started: list[subprocess.Popen[str]] = []

    @property
    def home(self) -> Path:
        """Where this mesh keeps state, logs and keys."""
        return self.root / ".mesh"

    def agent(self, service: str, source: str, *, host: str = "mainpc", class_name: str = "It", **config: Any) -> None:
        """Write an agent file whose class is `It`, and its config."""
        file = self.root / "agents" / f"{service}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(source))
        fields = {"class": f"agents/{service}.py:{class_name}", "hosts": [host], **config}
        lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in fields.items())
        (self.root / "config" / "agents" / f"{service}.yaml").write_text(lines)

    # -- processes

    def spawn(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start `python -m COMMAND` in the project and return it; its output goes to files in the project."""
        number = len(self._started)
        with (self.root / f"{number}.out").open("w") as out, (self.root / f"{number}.err").open("w") as err:
            process = subprocess.Popen([sys.executable, "-m", *command], cwd=self.root, stdout=out, stderr=err,
                                       text=True, env={**os.environ, **environment}, start_new_session=True)
        self._started.append(process)
        return process

    def output(self, process: subprocess.Popen[str]) -> str:
        """Return what a spawned process has printed so far, on both streams."""
        number = self._started.index(process)
        return (self.root / f"{number}.out").read_text() + (self.root / f"{number}.err").read_text()

    def up(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `mesh up` and return when it says that it is ready."""
        process = self.spawn("mesh.cli", "up", "--json", *arguments)
        wait_until(lambda: '"ready"' in self.output(process) or process.poll() is not None, START_LIMIT)
        if process.poll() is not None:
            raise AssertionError(f"mesh up ended with {process.returncode}: {self.output(process)}")
        wait_until(lambda: '"event": "ready", "ready"' in self.output(process), START_LIMIT)
        return process

    def mesh(self, *arguments: str, limit: float = 60.0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one command of the CLI to its end."""
        return subprocess.run([sys.executable, "-m", "mesh.cli", *arguments], cwd=self.root, capture_output=True,
                              text=True, timeout=limit, check=False, env={**os.environ, **environment})

    def json(self, *arguments: str) -> Any:
        """Run one command with `--json` and return what it printed."""
        done = self.mesh(*arguments, "--json")
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise AssertionError(f"mesh {' '.join(arguments)}: {done.stdout}{done.stderr}") from None

    def call(self, target: str, **arguments: Any) -> Any:
        """Call an operation and return the CLI's answer, ok or not; with no host to ask, the error has no code."""
        done = self.mesh("call", target, "--data", json.dumps(arguments), "--json")
        if not done.stdout.strip():
            return {"ok": False, "error": {"code": "", "message": done.stderr}}
        return json.loads(done.stdout)

    def host(self, name: str) -> Any:
        """Return a host's row of `mesh status`."""
        return next(row for row in self.json("status")["hosts"] if row["name"] == name)

    def pid(self, name: str) -> int:
        """Return the process of a host, as `mesh status` tells it, or of `registry`."""
        if name != "registry":
            return int(self.host(name)["pid"])
        return next(process.pid for process in self.processes() if "registry" in process.cmdline())

    def processes(self) -> list[psutil.Process]:
        """Return every living process that works in or for this project."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, *ENDED):
                if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and (
                    str(self.root) in " ".join(process.cmdline()) or process.cwd() == str(self.root)
                ):
                    found.append(process)
        return found

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to the process of a host or of `registry` and return its pid."""
        pid = self.pid(name)
        self.kill_pid(pid, number)
        return pid

    def kill_pid(self, pid: int, number: int) -> None:
        """Send a signal to a process that this project started; for one that is stopped and cannot be asked."""
        assert pid in {process.pid for process in self.processes()}
        os.kill(pid, number)

    def close(self) -> None:
        """End everything, at once."""
        until = time.monotonic() + 10
        while (left := self.processes()) and time.monotonic() < until:
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=1)
        for started in self._started:
            started.wait(5)


@contextlib.contextmanager
def project(root: Path, *, security: str = "curve") -> Iterator[Project]:
    """Give a project that is cleaned up in any case."""
    made = Project(root, security=security)
    try:
        yield made
    finally:
        made.close()
