"""`python -m benchmarks.idle`: what the project's own mesh costs while nobody uses it: CPU time and memory per process.

Copies the project's agents and config to a folder of its own, with free ports, so a mesh that runs is left alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

ROOT = Path(__file__).resolve().parent.parent
SETTLED = 30.0
START_LIMIT = 60.0


class Thread(NamedTuple):
    """One thread of the mesh: process, number, and the name the kernel has of it."""

    pid: int
    tid: int
    name: str


def main() -> None:
    """Measure and print a line per process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to watch it")
    parser.add_argument("--settled", type=float, default=SETTLED, help="how long to wait after the ready line")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mesh-idle-") as name, _mesh(Path(name)) as (up, seconds):
        time.sleep(chosen.settled)
        processes = [psutil.Process(up), *psutil.Process(up).children(recursive=True)]
        before, began = _threads(processes), time.monotonic()
        time.sleep(chosen.seconds)
        after, watched = _threads(processes), time.monotonic() - began
        print(f"ready after {seconds:.1f} s; {watched:.0f} s watched")
        print("| process | CPU % | MB PSS | its threads |")
        print("|---|---|---|---|")
        shares = {thread: (used - before.get(thread, 0.0)) / watched * 100 for thread, used in after.items()}
        for process in processes:
            print(_line(process, {thread: share for thread, share in shares.items() if thread.pid == process.pid}))
        memory = sum(process.memory_full_info().pss for process in processes) / 2**20
        print(f"| all | {sum(shares.values()):.2f} | {memory:.0f} | promised: at most 1 % of one core, 150 MB |")


@contextlib.contextmanager
def _mesh(folder: Path) -> Iterator[tuple[int, float]]:
    """Run the project's mesh in a folder; gives the launcher's pid and how long it took to be ready."""
    for part in ("agents", "config"):
        shutil.copytree(ROOT / part, folder / part)
    hosts = folder / "config" / "hosts.yaml"
    hosts.write_text(re.sub(r"(?<=port: )\d+", lambda _: str(_free_port()), hosts.read_text()))
    command = [sys.executable, "-m", "mesh.cli", "up", "--json"]
    began = time.monotonic()
    up = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert up.stdout is not None
        first = json.loads(up.stdout.readline() or "{}")
        if first.get("event") != "ready":
            raise SystemExit(f"the mesh did not start: {first}")
        yield up.pid, time.monotonic() - began
    finally:
        up.terminate()
        up.wait(START_LIMIT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _threads(processes: list[psutil.Process]) -> dict[Thread, float]:
    """Return the CPU seconds of every thread so far."""
    found = {}
    for process in processes:
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            with contextlib.suppress(OSError):  # the thread ended meanwhile
                name = (task / "comm").read_text().strip()
                used = int((task / "schedstat").read_text().split()[0]) / 1e9
                found[Thread(process.pid, int(task.name), name)] = used
    return found


def _line(process: psutil.Process, shares: Mapping[Thread, float]) -> str:
    words = process.cmdline()
    name = words[words.index("--host") + 1] if "--host" in words else "registry" if "registry" in words else "launcher"
    threads = ", ".join(f"{thread.name} {share:.2f}" for thread, share in
                        sorted(shares.items(), key=lambda item: -item[1]) if share >= 0.01)
    memory = process.memory_full_info().pss / 2**20
    return f"| {name} | {sum(shares.values()):.2f} | {memory:.0f} | {threads} |"


if __name__ == "__main__":
    main()
