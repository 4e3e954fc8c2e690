"""`python -m benchmarks.bodies`: big bodies there and back, against pyzmq alone, and small calls beside them on a link.

`raw` is a blocking DEALER and a ROUTER in two processes over TCP loopback, without CURVE, the same bytes packed and
unpacked by msgpack at each end. Raw and mesh are measured in turn. Five minutes with the defaults.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import psutil
import zmq

from benchmarks import cable, calls

KIB, MIB = 1024, 1024 * 1024
SIZES = (10 * KIB, 64 * KIB, 256 * KIB, MIB, 16 * MIB, 64 * MIB)
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


LAYOUTS = (
    Layout("plain", "none", "coroutine", "pc2", 0.70),
    Layout("CURVE", "curve", "coroutine", "pc2", 0.35),
    Layout("inside one host", "none", "coroutine", "mainpc"),
    Layout("to a process, one host", "none", "process", "mainpc"),
    Layout("to a process, remote", "none", "process", "pc2"),
)


@dataclass(frozen=True)
class Passage:
    """Bodies per second, and the processor microseconds per MB of body and direction, by process."""

    rate: float
    spent: dict[str, float]


@dataclass
class Rounds:
    """What the rounds of one layout, size and number of outstanding calls found."""

    raw: list[Passage] = field(default_factory=list)
    mesh: list[Passage] = field(default_factory=list)

    @property
    def shares(self) -> list[float]:
        """The share of raw of each round."""
        return [mesh.rate / raw.rate for mesh, raw in zip(self.mesh, self.raw, strict=True)]

    @property
    def processor_shares(self) -> list[float]:
        """What raw's busier process spends on a body over what the mesh's busiest does: the share on idle cores."""
        return [max(raw.spent.values()) / max(mesh.spent.values())
                for mesh, raw in zip(self.mesh, self.raw, strict=True)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bodies", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=128, help="how much a measurement sends each way")
    parser.add_argument("--only", nargs="*", help=", ".join(one.name for one in LAYOUTS) + ", link")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--smoke", action="store_true", help="only show that the programs run")
    chosen = parser.parse_args()
    if chosen.smoke:
        chosen.rounds, chosen.megabytes, chosen.sizes, chosen.only = 1, 1, (MIB,), ["plain", "link"]
    for layout in LAYOUTS:
        if chosen.only is None or layout.name in chosen.only:
            _tell(layout, measured(layout, chosen.rounds, chosen.megabytes * MIB, chosen.sizes))
    if chosen.only is None or "link" in chosen.only:
        print(_link(*((2 * MIB, 20) if chosen.smoke else (BULK, LINK_CALLS))))


def measured(
    layout: Layout, rounds: int, amount: int, sizes: tuple[int, ...]
) -> dict[tuple[int, int], Rounds]:
    """Measure a layout against raw, in turn; returns what was found by size and number of outstanding calls."""
    found: dict[tuple[int, int], Rounds] = {}
    with tempfile.TemporaryDirectory(prefix="mesh-bodies-") as name, raw() as dealer:
        folder = Path(name)
        write_project(folder, layout)
        with calls.started(folder):
            for _ in range(rounds):
                for size in sizes:
                    for outstanding in (1, 4):
                        count = max(1, min(2000, amount // size // outstanding)) * outstanding
                        one = found.setdefault((size, outstanding), Rounds())
                        one.raw.append(_raw_passage(dealer, size, count, outstanding))
                        one.mesh.append(_mesh_passage(folder, size, count, outstanding))
    return found


def _tell(layout: Layout, found: dict[tuple[int, int], Rounds]) -> None:
    print(f"\n{layout.name}\n| size, KiB | outstanding | raw MB/s | mesh MB/s | share of raw | least | most | by "
          "processor time | µs per MB, by process | promise |\n|---|---|---|---|---|---|---|---|---|---|")
    for (size, outstanding), one in found.items():
        raw_rate, rate = (statistics.median(each.rate for each in some) * size / 1e6 for some in (one.raw, one.mesh))
        share = statistics.median(one.shares)
        promised = ""
        if size == MIB and layout.promise is not None:
            promised = f"{layout.promise:.2f}, {'pass' if share >= layout.promise else 'short'}"
        spent = "; ".join(
            f"{name} {statistics.median(each.spent[name] for each in some):.0f}"
            for some in (one.mesh, one.raw) for name in some[0].spent
        )
        print(f"| {size // KIB} | {outstanding} | {raw_rate:.0f} | {rate:.0f} | {share:.2f} | {min(one.shares):.2f} | "
              f"{max(one.shares):.2f} | {statistics.median(one.processor_shares):.2f} | {spent} | {promised} |",
              flush=True)


# --- raw --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dealer:
    """The asking end of raw, and the process at the other end."""

    socket: zmq.Socket[bytes]
    peer: psutil.Process


@contextlib.contextmanager
def raw() -> Iterator[Dealer]:
    """Run the baseline's answering process."""
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.raw", "serve"], stdin=subprocess.PIPE,
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


def _link(size: int, small: int) -> str:
    """Return a paragraph: small calls on a link of 1 Gbit/s that is idle, and while `size` bytes pass."""
    reason = cable.missing()
    if reason:
        return f"\nsmall calls beside bulk on a link of 1 Gbit/s: not measured, {reason}"
    with tempfile.TemporaryDirectory(prefix="mesh-bodies-") as name, cable.plugged() as ends:
        folder = Path(name)
        write_project(folder, Layout("link", "none", "coroutine", "pc2"), (ends[0].address, ends[1].address))
        most = cable.rate(ends, size)
        with cable.hosts(folder, ends) as here:
            idle = _told(folder, "small", here.command(), calls=small)
            _told(folder, "bulk", here.command(), size=2 * MIB)
            bulk = _told(folder, "bulk", here.command(), size=size)
    share = (size // (16 * MIB) * 16 * MIB or 16 * MIB) / bulk["seconds"] / most
    calm, busy = (_late(one["latencies"]) for one in (idle, bulk))
    return (
        f"\na link of 1 Gbit/s: one TCP connection brings {most / 1e6:.0f} MB/s\n"
        "| | measured | promise | |\n|---|---|---|---|\n"
        f"| small call, link idle, p99 | {calm * 1e3:.2f} ms | | |\n"
        f"| small call while {size // 10**6} MB pass, p99 | {busy * 1e3:.2f} ms | 5 ms | "
        f"{'pass' if busy <= 0.005 else 'short'} |\n"
        f"| bulk, share of the link | {share:.2f} | 0.90 | {'pass' if share >= 0.9 else 'short'} |"
    )


def _late(latencies: list[float]) -> float:
    return sorted(latencies)[len(latencies) * 99 // 100]


if __name__ == "__main__":
    main()
