"""`python -m benchmarks.soak`: a cell is restarted over and over; what its host holds has to stay flat.

That is descriptors, threads and memory of the supervisor, after the first tenth and at the end, medians of ten looks.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import calls
from mesh.cli.operator import Operator
from mesh.config import load

LOOKS = 10
GROWTH_MB = 8.0
INTERRUPTED = 130
SERVICE = "bench_echo"


@dataclass(frozen=True)
class Stand:
    """What a process holds: open descriptors, threads, children, and resident MiB."""

    descriptors: float
    threads: float
    children: float
    memory_mb: float

    def __str__(self) -> str:
        return (f"{self.descriptors:.0f} descriptors, {self.threads:.0f} threads, {self.children:.0f} children, "
                f"{self.memory_mb:.1f} MiB")


def stand_of(process: psutil.Process) -> Stand:
    """Return what a process holds now."""
    return Stand(process.num_fds(), process.num_threads(), len(process.children(recursive=True)),
                 process.memory_info().rss / 2**20)


async def restart(
    operator: Operator, process: psutil.Process, restarts: int, tell: Callable[[str], None] = print
) -> tuple[Stand, Stand]:
    """Restart the cell so often; returns what its host held after the first tenth and at the end."""
    early: list[Stand] = []
    late: list[Stand] = []
    began = time.monotonic()
    for number in range(1, restarts + 1):
        await operator.ask("supervisor.agent_restart", {"service": SERVICE}, limit=60.0)
        if restarts // 10 <= number < restarts // 10 + LOOKS:
            early.append(stand_of(process))
        if number > restarts - LOOKS:
            late.append(stand_of(process))
        if number % max(1, restarts // 10) == 0:
            tell(f"{number} restarts, {(time.monotonic() - began) / number * 1000:.0f} ms each: {stand_of(process)}")
    return _median(early), _median(late)


def _median(stands: list[Stand]) -> Stand:
    return Stand(*(statistics.median(getattr(each, name) for each in stands) for name in Stand.__dataclass_fields__))


async def soak(folder: Path, restarts: int) -> tuple[Stand, Stand]:
    """Restart the agent of a running mesh."""
    operator = Operator(load(folder), timeout=None)
    try:
        await operator.connect()
        status = await operator.ask("supervisor.status", host="mainpc")
        return await restart(operator, psutil.Process(status["pid"]), restarts)
    finally:
        operator.close()


def grown(early: Stand, late: Stand) -> list[str]:
    """Return what a host holds more of at the end than it may; a count moves by one or two while something ends."""
    more = {"descriptors": late.descriptors - early.descriptors - 2, "threads": late.threads - early.threads - 1,
            "children": late.children - early.children, "memory": late.memory_mb - early.memory_mb - GROWTH_MB}
    return [name for name, over in more.items() if over > 0]


def main() -> None:
    """Restart, print, and judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--restarts", type=int, default=1000)
    parser.add_argument("--isolation", choices=("coroutine", "thread", "process"), default="process")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mesh-soak-") as name, \
            calls.running(Path(name), security="curve", isolation=chosen.isolation, echo_host="mainpc") as folder:
        try:
            early, late = asyncio.run(soak(folder, chosen.restarts))
        except KeyboardInterrupt:
            print("ended by Ctrl-C before it was through", file=sys.stderr)
            sys.exit(INTERRUPTED)
    print(f"{chosen.isolation}, after {chosen.restarts // 10}: {early}")
    print(f"{chosen.isolation}, after {chosen.restarts}: {late}")
    more = grown(early, late)
    print(f"grown: {', '.join(more) or 'nothing'}")
    sys.exit(bool(more))


if __name__ == "__main__":
    main()
