"""One cable of 1 Gbit/s between two machines: network namespaces, a veth pair, and tc's token bucket on both ends."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BITS = 1_000_000_000
BURST = 128 * 1024
QUEUE_MS = 20

_SINK = """
import socket
with socket.create_server(("", 7399)) as server:
    print("there", flush=True)
    with server.accept()[0] as one:
        while one.recv(1 << 20):
            pass
        one.send(b"all")
"""
_SOURCE = """
import socket, sys, time
part, count = bytes(1 << 20), int(sys.argv[2]) >> 20
with socket.create_connection((sys.argv[1], 7399)) as one:
    began = time.perf_counter()
    for _ in range(count):
        one.sendall(part)
    one.shutdown(socket.SHUT_WR)
    one.recv(3)
    print((count << 20) / (time.perf_counter() - began))
"""


@dataclass(frozen=True)
class End:
    """One machine at the cable: the name of its namespace, and its address there."""

    space: str
    address: str

    def command(self, *words: str) -> list[str]:
        """Return the command that runs `words` on this machine."""
        return ["ip", "netns", "exec", self.space, *words]


def missing() -> str:
    """Return why no cable can be made here, nothing if one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need root on Linux"
    try:
        with plugged():
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no cable can be made here: {error}"


@contextlib.contextmanager
def plugged() -> Iterator[tuple[End, End]]:
    """Give both ends of a new cable; at the end whatever runs there is killed and the cable taken away."""
    net, name = f"10.{177 + secrets.randbelow(70)}.{secrets.randbelow(250)}", secrets.token_hex(3)
    ends = End(f"mesh-bench-{name}a", f"{net}.1"), End(f"mesh-bench-{name}b", f"{net}.2")
    try:
        for end in ends:
            _ip("netns", "add", end.space)
            _ip("-n", end.space, "link", "set", "lo", "up")
        _ip("link", "add", "cable", "netns", ends[0].space, "type", "veth", "peer", "name", "cable",
            "netns", ends[1].space)
        for end in ends:
            _ip("-n", end.space, "address", "add", f"{end.address}/24", "dev", "cable")
            _ip("-n", end.space, "link", "set", "cable", "up")
            _done(end.command("tc", "qdisc", "add", "dev", "cable", "root", "tbf", "rate", str(BITS), "burst",
                              str(BURST), "latency", f"{QUEUE_MS}ms"))
        yield ends
    finally:
        for end in ends:
            pids = subprocess.run(["ip", "netns", "pids", end.space], capture_output=True, text=True, check=False)
            for pid in pids.stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", end.space], capture_output=True, check=False)


def rate(ends: tuple[End, End], size: int) -> float:
    """Return how many bytes per second one plain TCP connection brings over the cable."""
    sink = subprocess.Popen(ends[1].command(sys.executable, "-c", _SINK), stdout=subprocess.PIPE, text=True)
    assert sink.stdout is not None
    with sink, sink.stdout:
        sink.stdout.readline()
        return float(_done(ends[0].command(sys.executable, "-c", _SOURCE, ends[1].address, str(size))))


@contextlib.contextmanager
def hosts(folder: Path, ends: tuple[End, End]) -> Iterator[End]:
    """Run the project in `folder`, `mainpc` on one machine and `pc2` on the other; gives where commands are run."""
    started = [
        subprocess.Popen(end.command(sys.executable, "-m", "mesh.cli", "--config", str(folder), "up", "--host", host,
                                     "--json"),
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder)
        for end, host in zip(ends, ("mainpc", "pc2"), strict=True)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            if not any('"event": "ready"' in line for line in process.stdout):
                raise RuntimeError("a host at the cable did not start")
        yield ends[0]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)
            assert process.stdout is not None
            process.stdout.close()


def _ip(*words: str) -> None:
    _done(["ip", *words])


def _done(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
