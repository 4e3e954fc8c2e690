"""`python -m benchmarks.reliability`: the figures of the reliability promises, each measured on a running mesh.

A line says what was done, what is promised, what was measured, and whether the promise was kept. The mesh is that of
the fault matrix; its history is judged as well.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.history import Circumstances, check, lateness, summary
from benchmarks.trial import ASKERS, TICK, Trial, running
from mesh.cli.operator import Operator
from mesh.config import load
from mesh.errors import MeshError, Overloaded, UnknownService
from mesh.policy.options import CallOptions

LIMIT = 15.0
OVER_FULL = 300
UNDER_WAY = 20
FULL = 1.5
FROZEN = 3.5
SETTLE = 1.0


@dataclass(frozen=True)
class Row:
    """One promise in seconds, or in failed calls, with what was measured."""

    what: str
    promise: float
    measured: float
    unit: str = "s"

    def line(self) -> str:
        """Return the row of the table."""
        kept = "pass" if self.measured <= self.promise else "short"
        if self.unit == "s":
            return f"| {self.what} | ≤ {_time(self.promise)} | {_time(self.measured)} | {kept} |"
        return f"| {self.what} | {self.promise:g} {self.unit} | {self.measured:g} {self.unit} | {kept} |"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


class Measured:
    """Makes the faults and keeps when each of them was, so that the history can be judged at the end."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.rows: list[Row] = []
        self._notes: list[str] = []
        self._troubles: list[tuple[float, float]] = []
        self._operator = Operator(load(trial.folder), timeout=None)

    async def all(self) -> bool:
        """Measure everything; returns whether every promise was kept."""
        self._troubles.append((0.0, await self.trial.well(0.0)))
        await self._operator.connect()
        try:
            for step in (self._unknown, self._full, self._registry, self._crash, self._frozen, self._killed):
                began = time.monotonic()
                await step()
                self._troubles.append((began, await self.trial.well(time.monotonic())))
                await asyncio.sleep(SETTLE)
        finally:
            self._operator.close()
        return await self._judged()

    # -- each promise

    async def _unknown(self) -> None:
        slowest = max([await self._took(UnknownService, "nobody_at_all.work", 1.0) for _ in range(50)])
        self._row("a call to a service that nobody has, until it is told (slowest of 50)", 0.05, slowest)

    async def _full(self) -> None:
        """Fill an inbox, and see how soon one call more is told, while it is full and no breaker has opened."""
        waiting = [asyncio.ensure_future(self._outcome("worker.work", 20.0, call=f"full-{number}", seconds=FULL))
                   for number in range(OVER_FULL)]
        await asyncio.sleep(0.5)
        took: list[float] = []
        while len(took) < 50:
            reply, milliseconds = await self._operator.timed("worker.work", {"call": "over-full", "seconds": 0.0},
                                                             options=CallOptions(retry=False))
            if not isinstance(reply.error, Overloaded):
                break
            took.append(milliseconds / 1000)
        await asyncio.gather(*waiting)
        if not took:
            raise RuntimeError(f"the inbox was never full: {reply.error or 'a call was answered'}")
        self._row(f"a call to a service whose queue is full, until it is told (median of {len(took)})", 0.005,
                  sorted(took)[len(took) // 2])

    async def _registry(self) -> None:
        epoch = (await self._operator.ask("registry.status"))["epoch"]
        killed = self.trial.kill("registry")
        back = await self._until(lambda: self._registry_is_back(epoch)) - killed
        self._computed("the new registry", self.trial.pid("registry"), back)
        await asyncio.sleep(SETTLE)
        failed = [call for call in self.trial.calls() if call.began > killed - SETTLE and call.outcome is not None
                  and call.outcome.code not in call.meant]
        self._row("the registry is killed: until the new one knows all hosts and agents", 2.0, back)
        self.rows.append(Row("the same: calls that fail meanwhile", 0, len(failed), "calls"))

    async def _registry_is_back(self, epoch: int) -> bool:
        table = await self._operator.ask("registry.table", limit=1.0)
        status = await self._operator.ask("registry.status", limit=1.0)
        return bool(status["epoch"] > epoch and len(table["hosts"]) == 2 and len(table["instances"]) >= 5)

    async def _crash(self) -> None:
        calls = await self._under_way("worker_apart.work")
        killed = self.trial.kill("callee")
        again = await self._until(lambda: self._started_after("worker_apart", killed)) - killed
        self._computed("the agent's new process", self.trial.pid("callee"), again)
        self._row("an agent's process is killed: until the agent runs again", 1.0, again)
        await self._in_flight(calls, killed)

    async def _started_after(self, service: str, moment: float) -> bool:
        self.trial.read()
        return any(line["kind"] == "start" and line["at"] > moment for line in self.trial.lines[service])

    async def _frozen(self) -> None:
        pid = self.trial.pid("pc2")
        began = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        try:
            suspect = await self._until(lambda: self._seen("pc2", "suspect", "dead")) - began
            await asyncio.sleep(max(0.0, began + FROZEN - time.monotonic()))
        finally:
            os.kill(pid, signal.SIGCONT)
        resumed = time.monotonic()
        await self._until(lambda: self._seen("pc2", "ok"))
        self._row("a host is frozen: until it is suspect", 3.0, suspect)
        self._row("it goes on: until calls to it are answered again", 3.0, await self.trial.well(resumed) - resumed)

    async def _killed(self) -> None:
        calls = await self._under_way("worker.work")
        killed = self.trial.kill("pc2")
        known = await self._until(lambda: self._not_seen("pc2")) - killed
        self._row("a host is killed: until the other one knows", 0.5, known)
        await self.trial.well(time.monotonic())
        await self._in_flight(calls, killed)

    async def _under_way(self, target: str) -> list[asyncio.Task[float]]:
        """Have calls run that nobody makes again; each returns when it had ended."""
        calls = [asyncio.ensure_future(self._ended(target, f"under-way-{number}")) for number in range(UNDER_WAY)]
        await asyncio.sleep(SETTLE)
        return calls

    async def _ended(self, target: str, call: str) -> float:
        with contextlib.suppress(MeshError):
            await self._operator.exchange(target, {"call": call, "seconds": LIMIT}, limit=LIMIT,
                                          options=CallOptions(retry=False))
        return time.monotonic()

    async def _in_flight(self, calls: list[asyncio.Task[float]], killed: float) -> None:
        ends = [ended - killed for ended in await asyncio.gather(*calls)]
        self._row(f"the same: until calls in flight to it have ended (slowest of {len(ends)})", 0.5, max(ends))

    async def _judged(self) -> bool:
        await asyncio.gather(*(self.trial.ask(f"{asker}.rest") for asker in ASKERS))
        calls = self.trial.calls()
        late = max(lateness(call, call.outcome) for call in calls if call.outcome is not None)
        self._row(f"{len(calls)} calls through all of this: latest end after the deadline", 0.1, max(0.0, late))
        names = {call.id for call in calls}
        runs = [run for run in self.trial.executions() if run.id in names]
        broken = check(calls, runs, Circumstances(time.monotonic(), self.trial.deaths, tuple(self._troubles),
                                                  await self.trial.strays()))
        self.rows.append(Row("the same: promises broken by their history", 0, len(broken), "calls"))
        for each in broken:
            print(each, file=sys.stderr)
        print("| what | promise | measured | |\n|---|---|---|---|")
        for row in self.rows:
            print(row.line())
        print("\n" + "\n".join(self._notes))
        print(f"broken by the history: {summary(broken)}\na process that only imports what an agent's own imports "
              f"takes {_time(_bare_start())} to do so here and now")
        return all(row.measured <= row.promise for row in self.rows)

    # -- how it is measured

    def _row(self, what: str, promise: float, measured: float) -> None:
        self.rows.append(Row(what, promise, measured))

    def _computed(self, who: str, pid: int, seconds: float) -> None:
        """Note how much of a time somebody new had computed; the rest is waiting, be it for a core."""
        times = psutil.Process(pid).cpu_times()
        self._notes.append(f"{who} had computed for {_time(times.user + times.system)} of the {_time(seconds)} until "
                           "it was there")

    async def _took(self, expected: type[MeshError], target: str, limit: float, **arguments: Any) -> float:
        """Return the seconds until a call has failed as expected; raises for one that ends otherwise."""
        began = time.monotonic()
        try:
            await self._operator.ask(target, arguments, limit=limit)
        except expected:
            return time.monotonic() - began
        raise RuntimeError(f"{target} was answered")

    async def _outcome(self, target: str, limit: float, **arguments: Any) -> str:
        try:
            await self._operator.ask(target, arguments, limit=limit)
        except MeshError as error:
            return error.code
        return "ok"

    async def _seen(self, host: str, *states: str) -> bool:
        directory = await self._operator.directory()
        return any(row["name"] == host and row["state"] in states for row in directory["hosts"])

    async def _not_seen(self, host: str) -> bool:
        """Tell whether a host is not well, or is a new one."""
        directory = await self._operator.directory()
        return not any(row["name"] == host and row["state"] == "ok" for row in directory["hosts"])

    async def _until(self, condition: Callable[[], Awaitable[bool]]) -> float:
        """Return when a condition has come true; a question that fails says no."""
        until = time.monotonic() + LIMIT
        while time.monotonic() < until:
            try:
                if await condition():
                    return time.monotonic()
            except MeshError:
                pass
            await asyncio.sleep(TICK)
        raise TimeoutError(f"not so within {LIMIT:g} s: {condition}")


def _bare_start() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import mesh.supervisor.process.tenant"], check=True)
    return time.monotonic() - began


async def measure(trial: Trial) -> bool:
    """Measure every promise on a running mesh and print the table; returns whether all were kept."""
    return await Measured(trial).all()


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="mesh-reliability-") as name, running(Path(name), 1) as trial:
        kept = asyncio.run(measure(trial))
    sys.exit(not kept)


if __name__ == "__main__":
    main()
