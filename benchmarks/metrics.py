"""What figures cost: calls counted against not counted, scraped against not, and the price of a scrape.

`python -m benchmarks.metrics`. Two meshes run side by side, one of them with its hosts started by
`benchmarks.uncounted`; they have work in turn. What is compared is the processor time that both hosts spend on a call,
which other work on the machine disturbs less than it does calls per second.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import timeit
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from benchmarks import calls
from mesh.metrics import Latency, Metrics, Sample
from mesh.policy.inbox import Inbox
from mesh.policy.measure import CallStats
from mesh.scrape import Families

SERVICES = 84
OPERATIONS = 5


@dataclass(frozen=True)
class Mesh:
    """A running mesh of two hosts."""

    folder: Path
    hosts: tuple[psutil.Process, ...]

    def spent(self, number: int) -> float:
        """Return the seconds of processor time of a call, from `number` calls at 64 outstanding."""
        before = self._processor()
        calls.measure(self.folder, calls=number, outstanding=64)
        return (self._processor() - before) / number

    def _processor(self) -> float:
        times = [host.cpu_times() for host in self.hosts]
        return sum(time.user + time.system for time in times)


@contextlib.contextmanager
def running(folder: Path, host_program: str) -> Iterator[Mesh]:
    """Run the benchmark's mesh of two hosts, each started by `host_program`, without a launcher."""
    calls.write_project(folder, "none", "coroutine")
    environment = {**os.environ, "PYTHONPATH": str(calls.ROOT)}
    with (folder / "mesh.log").open("w") as log:
        processes = [subprocess.Popen([sys.executable, "-m", *command, "--config", str(folder)], env=environment,
                                      stdout=log, stderr=log)
                     for command in (["registry"], [host_program, "--host", "mainpc"], [host_program, "--host", "pc2"])]
        try:
            _await(folder)
            yield Mesh(folder, tuple(psutil.Process(process.pid) for process in processes[1:]))
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)


def _await(folder: Path) -> None:
    until = time.monotonic() + calls.START_SECONDS
    while True:
        try:
            calls.measure(folder, calls=64, outstanding=64)
            return
        except RuntimeError:
            if time.monotonic() > until:
                raise


@contextlib.contextmanager
def scraped(folder: Path) -> Iterator[None]:
    """Scrape both hosts each second meanwhile, as often as anybody would."""
    hosts = yaml.safe_load((folder / "config" / "hosts.yaml").read_text())["hosts"].values()
    pages = [f"http://127.0.0.1:{host['metrics_port']}/metrics" for host in hosts]
    over = threading.Event()

    def work() -> None:
        while not over.wait(1.0):
            for page in pages:
                with urllib.request.urlopen(page, timeout=10) as answer:
                    answer.read()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=40_000, help="calls of a round at 64 outstanding")
    parser.add_argument("--smoke", action="store_true", help="only show that the programs run")
    chosen = parser.parse_args()
    if chosen.smoke:
        chosen.rounds, chosen.calls = 1, 640
    counted, watched = _ratios(chosen.rounds, chosen.calls)
    print(f"{'processor time of a call':<46} {'median':>7} {'least':>7} {'most':>7}")
    rows = {"counted, times not counted": counted, "scraped each second, times never": watched}
    for name, ratios in rows.items():
        print(f"{name:<46} {statistics.median(ratios):>7.2f} {min(ratios):>7.2f} {max(ratios):>7.2f}")
    print(f"counting one call: {_observe() * 1e6:.2f} µs")
    on_loop, page, size = _scrape()
    print(f"a scrape of {SERVICES} agents with {OPERATIONS} operations in use each: {on_loop * 1e3:.1f} ms of the "
          f"loop, {page * 1e3:.0f} ms in the scraping thread, {size / 1024:.0f} KiB")


def _ratios(rounds: int, number: int) -> tuple[list[float], list[float]]:
    """Return the time of a call with figures as a multiple of that without, and scraped of that not scraped."""
    counted, watched = [], []
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as name, \
            running(Path(name) / "with", "mesh.supervisor") as whole, \
            running(Path(name) / "without", "benchmarks.uncounted") as bare:
        for _ in range(rounds):
            without = bare.spent(number)
            figures = whole.spent(number)
            with scraped(whole.folder):
                seen = whole.spent(number)
            counted.append(figures / without)
            watched.append(seen / figures)
    return counted, watched


def _observe() -> float:
    """Return the seconds that finding an operation's figures and counting one duration takes."""
    operations = {"find": Latency()}
    number = 200_000
    spent = timeit.repeat(lambda: operations["find"].observe(0.000123), timer=time.thread_time, number=number, repeat=5)
    empty = timeit.repeat(lambda: None, timer=time.thread_time, number=number, repeat=5)
    return (min(spent) - min(empty)) / number


def _scrape() -> tuple[float, float, int]:
    """Return seconds on the loop, seconds in the scraping thread, and bytes of a page of many agents."""
    cells = [(f"service_{number}", CallStats(), Inbox(waiting=1024, concurrency=64)) for number in range(SERVICES)]
    for _, stats, _ in cells:
        for number in range(OPERATIONS):
            stats.of(f"operation_{number}").latency.observe(0.001)

    def samples() -> Iterator[Sample]:
        for service, stats, inbox in cells:
            yield from stats.samples(service)
            yield from inbox.samples(service)

    metrics = Metrics()
    metrics.read(samples)
    gc.collect()
    on_loop = min(timeit.repeat(metrics.taken, timer=time.thread_time, number=1, repeat=9))
    taken = metrics.taken()
    registry = CollectorRegistry()
    registry.register(Families(lambda: taken))
    page = min(timeit.repeat(lambda: generate_latest(registry), timer=time.thread_time, number=1, repeat=5))
    return on_loop, page, len(generate_latest(registry))


if __name__ == "__main__":
    main()
