"""The calling side of the fault matrix: calls without a pause, and writes down what was asked and how it ended."""

import asyncio
import contextlib
import ctypes
import os
import time
from collections import deque
from contextvars import Context
from random import Random
from typing import Any

from benchmarks.history import Journal
from mesh import Agent, AgentConfig, MeshError, operation

TICK = 0.01
LEAST = 0.005
TIMEOUT = 1.0
LONGEST = 0.15


class Asker(Agent):
    """Asks every worker, by a plan that a seed decides: most calls plainly, some with too little time or given up."""

    class Config(AgentConfig):
        """Whom to ask, so many seconds after each other."""

        workers: list[str]
        pace_s: float = 0.06
        seed: int = 0

    config: Config

    async def setup(self) -> None:
        """Begin to ask."""
        self.journal = Journal(self.folder / "journal")
        self.journal.write("start", "-", time.monotonic())
        self.random = Random(f"{self.config.seed} {self.service}")
        self.fault, self.until = "", 0.0
        self.asked = 0
        self.next_tick = time.monotonic() + TICK
        self.late: deque[tuple[float, float]] = deque(maxlen=1000)
        loop = asyncio.get_running_loop()
        self.asking: set[asyncio.Task[None]] = set()
        self.ticking = loop.create_task(self._tick(), context=Context())
        self.load = loop.create_task(self._go_on(), context=Context())

    async def teardown(self) -> None:
        """End what runs."""
        own = [self.load, self.ticking, *self.asking]
        for task in own:
            task.cancel()
        await asyncio.gather(*own, return_exceptions=True)
        self.journal.close()

    @operation
    async def misbehave(self, fault: str, seconds: float) -> None:
        """Have calls go wrong for a while: give them up (`cancel`), fail beside them (`exception`), make too many at
        once (`overload`); `hold` keeps the interpreter for itself."""
        if fault == "hold":
            ctypes.PyDLL(None).usleep(int(seconds * 1e6))
        elif fault == "overload":
            for number in range(300):
                self._ask(self.config.workers[number % len(self.config.workers)], "work", LONGEST, TIMEOUT, None,
                          {"ok", "overloaded", "deadline_exceeded"})
        else:
            self.fault, self.until = fault, time.monotonic() + seconds

    @operation
    async def rest(self) -> None:
        """Ask nothing more, and return when all that was asked has ended."""
        self.load.cancel()
        while self.asking:
            await asyncio.wait(list(self.asking))

    # -- the load

    async def _go_on(self) -> None:
        while True:
            for worker in self.config.workers:
                self._plan(worker)
            await asyncio.sleep(self.config.pace_s)

    def _plan(self, worker: str) -> None:
        operation = self.random.choice(("work", "work", "look"))
        seconds = self.random.uniform(0.0, LONGEST)
        given_up = self.random.uniform(0.0, seconds)
        kind = self.random.random()
        fault = self.fault if time.monotonic() < self.until else ""
        if fault or kind < 0.1:
            self._ask(worker, operation, seconds, TIMEOUT, given_up, {"ok", "cancelled"}, fails=fault == "exception")
        elif kind < 0.2:
            self._ask(worker, operation, seconds, max(0.02, seconds / 2), None, {"ok", "deadline_exceeded"})
        else:
            self._ask(worker, operation, seconds, TIMEOUT, None, {"ok"})

    def _ask(self, worker: str, operation: str, seconds: float, timeout: float, given_up: float | None,
             meant: set[str], fails: bool = False) -> None:
        self.asked += 1
        name = f"{self.service}-{os.getpid()}-{self.asked}"
        task = asyncio.get_running_loop().create_task(
            self._one(name, f"{worker}.{operation}", seconds, timeout, given_up, meant, fails), context=Context())
        self.asking.add(task)
        task.add_done_callback(self.asking.discard)

    async def _one(self, name: str, target: str, seconds: float, timeout: float, given_up: float | None,
                   meant: set[str], fails: bool) -> None:
        began = time.monotonic()
        self.journal.write("asked", name, began, target=target, deadline=began + timeout,
                           idempotent=target.endswith(".look"), meant=sorted(meant))
        told: dict[str, Any] = {"code": "ok"}
        try:
            told["answer"] = await self._answer(name, target, seconds, timeout, given_up, fails)
        except MeshError as error:
            told = {"code": error.code, "began": error.details.get("began")}
        except asyncio.CancelledError:
            told = {"code": "cancelled"}
        ended = time.monotonic()
        lag = sum((late for at, late in self.late if at > began), start=max(0.0, ended - self.next_tick))
        self.journal.write("ended", name, ended, lag=lag, **told)

    async def _answer(self, name: str, target: str, seconds: float, timeout: float, given_up: float | None,
                      fails: bool) -> str:
        asking: asyncio.Future[str] = asyncio.ensure_future(
            self.request(target, timeout=timeout, call=name, seconds=seconds))
        if given_up is None:
            return await asking
        if fails:  # what runs beside the call raises, and takes it along
            with contextlib.suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(_joined(asking))
                    group.create_task(_fails(given_up))
            asking.cancel()
        else:
            asyncio.get_running_loop().call_later(given_up, asking.cancel)
        return await asking

    async def _tick(self) -> None:
        """Note how late the loop is, again and again."""
        while True:
            self.next_tick = time.monotonic() + TICK
            await asyncio.sleep(TICK)
            late = time.monotonic() - self.next_tick
            if late > LEAST:  # less is what any timer is late by
                self.late.append((time.monotonic(), late))


async def _joined(asking: asyncio.Future[str]) -> None:
    await asking


async def _fails(after: float) -> None:
    await asyncio.sleep(after)
    raise ValueError("made to fail beside a call")
