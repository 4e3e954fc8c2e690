"""`python -m benchmarks.death`: kill -9 of a host and of the registry while calls run, with the launcher and without.

Prints for each what the caller saw, when the death was known, how long a call in flight took to end, and how long it
was until calls went through again, beside what is promised.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks import calls
from mesh.cli.operator import Operator
from mesh.config import load
from mesh.errors import MeshError
from mesh.message import Event

PAUSE = 0.005
QUIET = 2.0
START_LIMIT = 30.0


@dataclass
class Seen:
    """What one caller saw: outcomes with their moments, and the critical events of the error bus."""

    outcomes: list[tuple[float, float, str]] = field(default_factory=list)
    told: list[tuple[float, str]] = field(default_factory=list)

    def hear(self, event: Event) -> None:
        """Note a host's death as the error bus tells it."""
        message = str(event.value().get("message", ""))
        if " is dead" in message:
            self.told.append((time.monotonic(), message))


async def main() -> None:
    """Measure all four cases and print a line for each."""
    print("| what was killed | launcher | what the caller saw | in flight ended after | death known after "
          "| calls again after | failed calls |")
    print("|---|---|---|---|---|---|---|")
    for launcher in (True, False):
        for victim in ("pc2", "registry"):
            print(await _case(victim, launcher), flush=True)


async def _case(victim: str, launcher: bool) -> str:
    with tempfile.TemporaryDirectory(prefix="mesh-death-") as name:
        folder = Path(name)
        calls.write_project(folder, "curve", "coroutine")
        processes = _start(folder, launcher)
        seen = Seen()
        operator = None
        try:
            operator = await _connected(folder, seen)
            working = asyncio.get_running_loop().create_task(_call_on(operator, seen))
            await asyncio.sleep(QUIET)
            killed = time.monotonic()
            os.kill(_pid(folder, victim), signal.SIGKILL)
            if not launcher:
                await asyncio.sleep(QUIET)
                processes.append(_spawn(folder, *_COMMANDS[victim]))
                started = time.monotonic()
            await _until(lambda: _recovered(operator, seen, victim, killed), 30.0)
            await asyncio.sleep(QUIET)
            working.cancel()
            return _line(victim, launcher, seen, killed, killed if launcher else started)
        finally:
            if operator is not None:
                operator.close()
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)


_COMMANDS = {"pc2": ("mesh.supervisor", "--host", "pc2"), "mainpc": ("mesh.supervisor", "--host", "mainpc"),
             "registry": ("registry",)}


def _start(folder: Path, launcher: bool) -> list[subprocess.Popen[bytes]]:
    if launcher:
        return [_spawn(folder, "mesh.cli", "up")]
    return [_spawn(folder, *command) for command in _COMMANDS.values()]


def _spawn(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", *command], cwd=folder, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


async def _connected(folder: Path, seen: Seen) -> Operator:
    """Return a connection to mainpc once a call from there to pc2 goes through."""
    until = time.monotonic() + START_LIMIT
    while True:
        operator = Operator(load(folder), timeout=None, interest=("errors.#",), on_event=seen.hear)
        try:
            await operator.connect()
            await operator.ask("bench_caller.measure", {"calls": 1, "outstanding": 1})
            if operator.host == "mainpc":
                return operator
        except MeshError:
            if time.monotonic() > until:
                raise
        operator.close()
        await asyncio.sleep(0.1)


async def _call_on(operator: Operator, seen: Seen) -> None:
    """Have mainpc call pc2 over and over, one call at a time."""
    while True:
        started = time.monotonic()
        try:
            await operator.ask("bench_caller.measure", {"calls": 1, "outstanding": 1}, limit=3.0)
            outcome = "ok"
        except MeshError as error:
            outcome = error.code
        seen.outcomes.append((started, time.monotonic(), outcome))
        await asyncio.sleep(PAUSE)


def _pid(folder: Path, victim: str) -> int:
    """Return the process of a host or of the registry that works for the project in `folder`."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = process.info["cmdline"] or []
        ours = str(folder) in command or process.info["cwd"] == str(folder)
        if ours and victim in command and ("mesh.supervisor" in command or victim == "registry"):
            return process.pid
    raise RuntimeError(f"no process of {victim}")


async def _recovered(operator: Operator, seen: Seen, victim: str, killed: float) -> bool:
    if victim == "registry":
        try:
            table = await operator.ask("registry.table")
        except MeshError:
            return False
        return {row["name"] for row in table["hosts"]} == {"mainpc", "pc2"}
    return any(outcome == "ok" and start > killed + 0.1 for start, _, outcome in seen.outcomes)


async def _until(condition: Callable[[], Awaitable[bool]], limit: float) -> None:
    end = time.monotonic() + limit
    while not await condition():
        if time.monotonic() > end:
            raise RuntimeError(f"not so within {limit:g} s")
        await asyncio.sleep(0.02)


def _line(victim: str, launcher: bool, seen: Seen, killed: float, restarted: float) -> str:
    after = [(start, end, outcome) for start, end, outcome in seen.outcomes if end >= killed]
    failed = [entry for entry in after if entry[2] != "ok"]
    kinds = ", ".join(f"{count} {code}" for code, count in Counter(entry[2] for entry in failed).items())
    flight = [end - killed for start, end, _ in after if start <= killed]
    known = [moment - killed for moment, _ in seen.told if moment >= killed]
    again = [end for start, end, outcome in after if outcome == "ok" and start > (failed[-1][0] if failed else killed)]
    return (f"| {victim} | {'yes' if launcher else 'no'} | {kinds or 'nothing'} "
            f"| {f'{max(flight) * 1000:.0f} ms' if flight else 'none was'} "
            f"| {f'{known[0] * 1000:.0f} ms' if known else '-'} "
            f"| {f'{again[0] - restarted:.2f} s' if again and failed else 'at once'} | {len(failed)} |")


if __name__ == "__main__":
    asyncio.run(main())
