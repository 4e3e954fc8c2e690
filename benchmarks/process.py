"""What processes cost, read from the kernel: processor time, memory without counting shared pages twice, contexts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import psutil

MIB = 2**20
REAPER = "ZMQbg/Reaper"
"""The name of the thread of which each ZeroMQ context has one."""


class Thread(NamedTuple):
    """One thread of the mesh: process, number, and the name the kernel has of it."""

    pid: int
    tid: int
    name: str


def family_of(pid: int) -> list[psutil.Process]:
    """Return a process and all that it and they have started."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def name_of(process: psutil.Process) -> str:
    """Return which process of a mesh this is: a host's name, `registry`, or `launcher`."""
    words = process.cmdline()
    if "--host" in words:
        return words[words.index("--host") + 1]
    return "registry" if "registry" in words else "launcher"


def threads(processes: Iterable[psutil.Process]) -> dict[Thread, float]:
    """Return the processor seconds of every thread that lives."""
    found = {}
    for process in processes:
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            with contextlib.suppress(OSError):  # the thread ended meanwhile
                name = (task / "comm").read_text().strip()
                used = int((task / "schedstat").read_text().split()[0]) / 1e9
                found[Thread(process.pid, int(task.name), name)] = used
    return found


def seconds(processes: Iterable[psutil.Process]) -> float:
    """Return the processor seconds of processes, with those of threads that have ended."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def pss(process: psutil.Process) -> float:
    """Return the MiB of a process: pages of its own, and its share of those that others have too."""
    return float(process.memory_full_info().pss) / MIB


def contexts(process: psutil.Process) -> int:
    """Return how many ZeroMQ contexts a process has."""
    return sum(thread.name == REAPER for thread in threads([process]))
