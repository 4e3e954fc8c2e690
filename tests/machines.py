"""Two machines of network namespaces: each with an address of its own, a copy of the project and a `.mesh` of its own,
joined by one cable that a test may cut and a firewall that it may close."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.eventually import wait_until

START_LIMIT = 40.0
NO_ROOT = "needs root to make two machines of network namespaces"
HOSTS_FILE = """mesh: home
registry: {{host: mainpc, port: 7400}}
hosts:
  mainpc: {{address: {mainpc}, port: 7410, events_port: 7411, metrics_port: 7412}}
  pc2: {{address: {pc2}, port: 7420, events_port: 7421, metrics_port: 7422}}
environments:
  development: {{hosts: {{mainpc: {{address: 127.0.0.1}}, pc2: {{address: 127.0.0.1}}}}}}
  production: {{}}
"""


class Machine:
    """One machine; everything it runs is in its own namespace and below its own folder."""

    def __init__(self, name: str, address: str, root: Path) -> None:
        self.name = name
        self.address = address
        self.root = root
        self.space = f"mesh-{secrets.token_hex(4)}"
        self.port = f"mesh{secrets.token_hex(4)}"  # of the cable
        self._started: list[subprocess.Popen[str]] = []

    @property
    def hosts_file(self) -> Path:
        """This machine's `config/hosts.yaml`."""
        return self.root / "config" / "hosts.yaml"

    @property
    def home(self) -> Path:
        """This machine's `.mesh`."""
        return self.root / ".mesh"

    def agent(self, service: str, source: str, host: str, **config: Any) -> None:
        """Write an agent file whose class is `It`, and its config."""
        (self.root / "agents").mkdir(exist_ok=True)
        (self.root / "agents" / f"{service}.py").write_text(source)
        fields = {"class": f"agents/{service}.py:It", "hosts": [host], **config}
        (self.root / "config" / "agents" / f"{service}.yaml").write_text(
            "".join(f"{key}: {json.dumps(value)}\n" for key, value in fields.items()))

    def paste(self, line: str) -> None:
        """Put a line that `mesh keys show` printed in the place of that host's line in `config/hosts.yaml`."""
        name = line.split(":")[0].strip()
        lines = [f"  {line.strip()}" if each.startswith(f"  {name}:") else each
                 for each in self.hosts_file.read_text().splitlines()]
        self.hosts_file.write_text("\n".join(lines) + "\n")

    def key_line(self) -> str:
        """Return the line that `mesh keys show` prints for this machine's host."""
        return next(line for line in self.mesh("keys", "show").stdout.splitlines() if line.startswith("  "))

    # -- commands

    def shell(self, *command: str, limit: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run any program on this machine to its end."""
        return subprocess.run(["ip", "netns", "exec", self.space, *command], cwd=self.root, capture_output=True,
                              text=True, timeout=limit, check=False,
                              env={**os.environ, "MESH_ENVIRONMENT": "production"})

    def mesh(self, *arguments: str, limit: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run one command of the CLI on this machine to its end."""
        return self.shell(sys.executable, "-m", "mesh.cli", *arguments, limit=limit)

    def json(self, *arguments: str) -> Any:
        """Run one command with `--json` and return what it printed."""
        done = self.mesh(*arguments, "--json")
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise AssertionError(f"mesh {' '.join(arguments)} on {self.name}: {done.stdout}{done.stderr}") from None

    def spawn(self, *command: str) -> subprocess.Popen[str]:
        """Start `python -m COMMAND` on this machine; its output goes to a file in its project."""
        with (self.root / f"{len(self._started)}.out").open("w") as out:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.space, sys.executable, "-m", *command], cwd=self.root, stdout=out,
                stderr=subprocess.STDOUT, text=True, start_new_session=True,
                env={**os.environ, "MESH_ENVIRONMENT": "production"},
            )
        self._started.append(process)
        return process

    def output(self, process: subprocess.Popen[str]) -> str:
        """Return what a spawned process has printed so far."""
        return (self.root / f"{self._started.index(process)}.out").read_text()

    def start(self) -> subprocess.Popen[str]:
        """Start this machine's host and return at once."""
        return self.spawn("mesh.cli", "up", "--host", self.name, "--json")

    def ready(self, process: subprocess.Popen[str]) -> subprocess.Popen[str]:
        """Return the process once it says that its host is ready."""
        wait_until(lambda: '"event": "ready", "ready"' in self.output(process) or process.poll() is not None,
                   START_LIMIT)
        assert process.poll() is None, f"mesh up ended with {process.returncode}: {self.output(process)}"
        return process

    def stop(self, process: subprocess.Popen[str]) -> None:
        """Drain and stop what `start` started."""
        process.send_signal(signal.SIGTERM)
        process.wait(30)

    # -- what a test does to it

    def cable(self, plugged: bool) -> None:
        """Pull the cable out, or plug it in again."""
        _ip("-n", self.space, "link", "set", self.port, "up" if plugged else "down")

    def block(self, *ports: int) -> None:
        """Have the firewall drop what comes in for TCP ports."""
        rules = f"add table inet fw; add chain inet fw in {{ type filter hook input priority 0; }}; " \
                f"add rule inet fw in iif != lo tcp dport {{ {', '.join(map(str, ports))} }} drop"
        done = self.shell("nft", rules)
        assert done.returncode == 0, done.stderr

    def unblock(self) -> None:
        """Have the firewall let everything in again."""
        self.shell("nft", "delete table inet fw")

    # -- life

    def open(self, peer: Machine) -> None:
        """Make the namespace and its end of the cable, unless the peer's `open` did."""
        _ip("netns", "add", self.space)
        _ip("-n", self.space, "link", "set", "lo", "up")
        if peer._exists():
            _ip("link", "add", self.port, "netns", self.space, "type", "veth", "peer", "name", peer.port,
                "netns", peer.space)
            for one in (self, peer):
                _ip("-n", one.space, "address", "add", f"{one.address}/24", "dev", one.port)
                _ip("-n", one.space, "link", "set", one.port, "up")

    def close(self) -> None:
        """End every process of this machine, then the machine."""
        done = subprocess.run(["ip", "netns", "pids", self.space], capture_output=True, text=True, check=False)
        for pid in done.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        for started in self._started:
            started.wait(10)
        psutil.wait_procs([psutil.Process(int(pid)) for pid in done.stdout.split() if psutil.pid_exists(int(pid))], 5)
        subprocess.run(["ip", "netns", "del", self.space], capture_output=True, check=False)

    def _exists(self) -> bool:
        return Path("/run/netns", self.space).exists()


@contextlib.contextmanager
def two_machines(folder: Path) -> Iterator[tuple[Machine, Machine]]:
    """Give `mainpc` and `pc2`, joined and without agents; skips where the user may not make them."""
    if not _allowed():
        pytest.skip(NO_ROOT)
    net = f"10.{77 + secrets.randbelow(100)}.{secrets.randbelow(250)}"
    machines = [Machine(name, f"{net}.{number}", folder / name) for number, name in enumerate(("mainpc", "pc2"), 1)]
    addresses = {each.name: each.address for each in machines}
    for each in machines:
        (each.root / "config" / "agents").mkdir(parents=True)
        each.hosts_file.write_text(HOSTS_FILE.format(**addresses))
    try:
        machines[0].open(machines[1])
        machines[1].open(machines[0])
        yield machines[0], machines[1]
    finally:
        for each in machines:
            each.close()


def run_both(machines: tuple[Machine, Machine]) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
    """Start both hosts at the same time and return when both are ready."""
    first, second = (each.start() for each in machines)
    return machines[0].ready(first), machines[1].ready(second)


def _allowed() -> bool:
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    trial = f"mesh-{secrets.token_hex(4)}"  # a container's root may lack the right
    made = subprocess.run(["ip", "netns", "add", trial], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", trial], capture_output=True, check=False)
    return made.returncode == 0


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
