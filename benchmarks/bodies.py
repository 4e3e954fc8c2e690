"""The family `bodies`: big bodies there and back, against pyzmq alone, and small calls beside them on a link.

`raw` is a blocking DEALER and a ROUTER in two processes over TCP loopback, without CURVE, the same bytes packed and
unpacked by msgpack at each end. Raw and mesh are measured in turn. Four minutes with the defaults.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import psutil
import zmq

from benchmarks import cable, calls
from benchmarks.effort import Effort, number_of
from benchmarks.row import Curve, Row

KIB, MIB = 1024, 1024 * 1024
SIZES = (10 * KIB, 64 * KIB, 256 * KIB, MIB, 16 * MIB, 64 * MIB)
AMOUNT = 64 * MIB
MOST = 200 * MIB  # a host lets 256 MiB wait for a peer
BULK = 200 * 1_000_000
LINK_CALLS = 300


@dataclass(frozen=True)
class Layout:
    """Where the answering agent is, and how connections are secured; `promise` is the share of raw at 1 MiB."""

    name: str
    security: str
    isolation: str
    host: str
    promise: float | None = None
    sizes: tuple[int, ...] = (MIB,)


LAYOUTS = (
    Layout("plain", "none", "coroutine", "pc2", 0.70, SIZES),
    Layout("CURVE", "curve", "coroutine", "pc2", 0.35, SIZES),
    Layout("inside one host", "none", "coroutine", "mainpc"),
    Layout("to a process, one host", "none", "process", "mainpc"),
    Layout("to a process, other host", "none", "process", "pc2"),
)


@dataclass(frozen=True)
class Passage:
    """Bodies per second, and the processor microseconds per MB of body and direction, by process."""

    rate: float
    spent: dict[str, float]


Rounds = list[tuple[Passage, Passage]]
"""What raw and the mesh did in each round."""


def rows(effort: Effort) -> Iterator[Row | Curve]:
    """Yield the rows of each layout, its curve, and the rows of the link."""
    for layout in LAYOUTS[:1] if effort.smoke else LAYOUTS:
        found = _measured(layout, effort)
        for outstanding in (1, 4):
            yield from _rows_of(layout, outstanding, found[MIB, outstanding])
        if len(layout.sizes) > 1:
            yield from _curves(layout, found)
    yield from _link(effort)


def _measured(layout: Layout, effort: Effort) -> dict[tuple[int, int], Rounds]:
    """Measure a layout against raw, in turn; returns what was found by size and number of outstanding calls."""
    found: dict[tuple[int, int], Rounds] = {}
    with tempfile.TemporaryDirectory(prefix="mesh-bodies-") as name, raw() as dealer:
        folder = Path(name)
        write_project(folder, layout)
        with calls.started(folder):
            for _ in range(effort.rounds):
                for size in (MIB,) if effort.smoke else layout.sizes:
                    for outstanding in (1, 4) if size == MIB else (4,) if 4 * size < MOST else (1,):
                        most = effort.of(AMOUNT, MIB) // size // outstanding
                        count = max(1, min(500, most)) * outstanding
                        one = (_raw_passage(dealer, size, count, outstanding),
                               _mesh_passage(folder, size, count, outstanding))
                        found.setdefault((size, outstanding), []).append(one)
                        effort.say(f"{layout.name}, {size // KIB} KiB, {outstanding} outstanding: " + "; ".join(
                            f"{number_of(each.rate * size / 1e6)} MB/s" for each in one) + " (raw; mesh)")
    return found


def _rows_of(layout: Layout, outstanding: int, found: Rounds) -> Iterator[Row]:
    figures = {
        "raw, bodies/s": [one.rate for one, _ in found], "mesh, bodies/s": [one.rate for _, one in found],
        **{f"{name}, µs per MB": [one.spent.get(name, 0.0) for pair in found for one in pair if name in one.spent]
           for one in found[0] for name in one.spent},
    }
    name = f"1 MB there and back, {layout.name}, {outstanding} outstanding"
    yield Row(f"{name}, share of raw", [mesh.rate / base.rate for base, mesh in found], layout.promise, figures=figures)
    yield Row(f"{name}, processor, times raw",  # of the busiest process
              [max(mesh.spent.values()) / max(base.spent.values()) for base, mesh in found],
              higher_is_better=False, figures=figures)


def _curves(layout: Layout, found: dict[tuple[int, int], Rounds]) -> Iterator[Curve]:
    """Yield MB per second against size, of a layout and of raw in the same rounds."""
    for index, name in ((1, layout.name), (0, f"raw beside {layout.name}")):
        points = [(size / 1e6, [pair[index].rate * size / 1e6 for pair in some])
                  for (size, outstanding), some in found.items() if outstanding == 4 or size != MIB]
        yield Curve("bodies there and back", name, "MB of a body", "MB/s each way", points, "log", "log")


# --- raw --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dealer:
    """The asking end of raw, and the process at the other end."""

    socket: zmq.Socket[bytes]
    peer: psutil.Process


@contextlib.contextmanager
def raw() -> Iterator[Dealer]:
    """Run the baseline's answering process."""
    server = subprocess.Popen([sys.executable, "-m", "mesh.cli.baseline"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True, cwd=calls.ROOT)
    assert server.stdout is not None and server.stdin is not None
    context = zmq.Context()
    try:
        dealer = context.socket(zmq.DEALER)
        dealer.connect(f"tcp://127.0.0.1:{int(server.stdout.readline())}")
        yield Dealer(dealer, psutil.Process(server.pid))
    finally:
        context.destroy(linger=0)
        server.stdin.close()
        server.stdout.close()
        server.wait(10)


def _raw_passage(dealer: Dealer, size: int, count: int, outstanding: int) -> Passage:
    body = {"data": bytes(range(256)) * (size // 256)}
    processes = {"raw asking": psutil.Process(), "raw answering": dealer.peer}
    before, began = _used(processes), time.perf_counter()
    sent = received = 0
    while received < count:
        while sent < count and sent - received < outstanding:
            dealer.socket.send(msgpack.packb(body))
            sent += 1
        msgpack.unpackb(dealer.socket.recv())
        received += 1
    return Passage(count / (time.perf_counter() - began), _per_megabyte(processes, before, size * count))


# --- the mesh ---------------------------------------------------------------------------------------------------------


def write_project(folder: Path, layout: Layout, addresses: tuple[str, str] = ("127.0.0.1", "127.0.0.1")) -> None:
    """Write a project of two hosts on free ports with the benchmark's agents."""
    ports = iter(calls.free_ports(8))
    hosts = "\n".join(
        f"  {name}: {{address: {address}, port: {next(ports)}, events_port: {next(ports)}, "
        f"metrics_port: {next(ports)}}}" for name, address in zip(("mainpc", "pc2"), addresses, strict=True)
    )
    (folder / "config" / "agents").mkdir(parents=True)
    (folder / "config" / "hosts.yaml").write_text(
        f"mesh: bench\nsecurity: {layout.security}\nhosts:\n{hosts}\n"
        f"registry: {{host: mainpc, port: {next(ports)}, metrics_port: {next(ports)}, store: sqlite}}\n"
    )
    for name, host, isolation in (("sender", "mainpc", "coroutine"), ("mirror", layout.host, layout.isolation)):
        (folder / f"{name}.py").write_text((calls.ROOT / "benchmarks" / "agents" / f"{name}.py").read_text())
        (folder / "config" / "agents" / f"bench_{name}.yaml").write_text(
            f"class: {name}.py:{name.capitalize()}\nhosts: [{host}]\nisolation: {isolation}\n"
        )


def _mesh_passage(folder: Path, size: int, count: int, outstanding: int) -> Passage:
    processes = dict(_processes(folder))
    before = _used(processes)
    passed = _told(folder, "there_and_back", size=size, count=count, outstanding=outstanding)
    return Passage(count / passed["seconds"], _per_megabyte(processes, before, size * count))


def _processes(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Yield what calls and answers: the hosts, and processes of agents."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if "mesh.supervisor" in command and str(folder) in command:
                host = next(name for name in ("mainpc", "pc2") if name in command)
                yield host, process
                for child in process.children():
                    yield f"process of {host}", child


def _used(processes: dict[str, psutil.Process]) -> dict[str, float]:
    return {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}


def _per_megabyte(processes: dict[str, psutil.Process], before: dict[str, float], size: int) -> dict[str, float]:
    """Return the microseconds of processor time each process has used per MB that went by, both directions counted."""
    return {name: max(1e-9, (used - before[name]) * 1e6 / (2 * size / 1e6)) for name, used in _used(processes).items()}


def _told(folder: Path, operation: str, prefix: list[str] | None = None, **arguments: int) -> Any:
    done = subprocess.run(
        [*(prefix or []), sys.executable, "-m", "mesh.cli", "--config", str(folder), "call",
         f"bench_sender.{operation}", *(f"{name}={value}" for name, value in arguments.items()), "--timeout", "120",
         "--json"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(calls.ROOT)}, check=False,
    )
    answer = json.loads(done.stdout or "{}")
    if not answer.get("ok"):
        raise RuntimeError(f"the call failed: {done.stdout}{done.stderr}")
    return answer["result"]


# --- beside each other on one link ------------------------------------------------------------------------------------


def _link(effort: Effort) -> Iterator[Row]:
    """Yield the rows of a link of 1 Gbit/s: small calls while a lot passes, and how much does."""
    reason = cable.missing()
    if reason:
        effort.say(f"small calls beside bulk on a link of 1 Gbit/s: not measured, {reason}")
        return
    size, found = effort.of(BULK, 2 * MIB), dict[str, list[float]]()
    with tempfile.TemporaryDirectory(prefix="mesh-bodies-") as name, cable.plugged() as ends:
        folder = Path(name)
        write_project(folder, Layout("link", "none", "coroutine", "pc2"), (ends[0].address, ends[1].address))
        with cable.hosts(folder, ends) as here:
            for _ in range(effort.rounds):
                idle = _told(folder, "small", here.command(), calls=effort.of(LINK_CALLS, 20))
                bulk = _told(folder, "bulk", here.command(), size=size)
                for what, value in (
                    ("one TCP connection, MB/s", cable.rate(ends, size) / 1e6),
                    ("bulk, MB/s", bulk["bytes"] / bulk["seconds"] / 1e6),
                    ("link idle, p99, ms", _late(idle["latencies"]) * 1e3),
                    ("link busy, p99, ms", _late(bulk["latencies"]) * 1e3),
                ):
                    found.setdefault(what, []).append(value)
                effort.say("; ".join(f"{what} {number_of(values[-1])}" for what, values in found.items()))
    shares = [bulk / most for bulk, most in zip(found["bulk, MB/s"], found["one TCP connection, MB/s"], strict=True)]
    yield Row("small call beside bulk on 1 Gbit/s, p99", found["link busy, p99, ms"], 5.0, higher_is_better=False,
              unit="ms", figures=found)
    yield Row("bulk on 1 Gbit/s beside small calls, share of the link", shares, 0.90, figures=found)


def _late(latencies: list[float]) -> float:
    return sorted(latencies)[len(latencies) * 99 // 100]
