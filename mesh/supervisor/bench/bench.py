"""A host's part of `mesh bench`: it lends an agent that echoes, and measures calls to it, on this host or another.

The calls go the way of any agent's: through the policies of both sides, by service name, to an agent with an inbox.
Nothing is left behind: the agent goes when nobody measures any more, or at the latest when its time is over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from contextvars import Context
from pathlib import Path
from typing import Any

from mesh.client import Client
from mesh.clock import Clock
from mesh.config import AgentSpec
from mesh.errors import InvalidArgument, Unavailable, UnknownService
from mesh.supervisor.bench import echo
from mesh.supervisor.cells import Cells

SERVICE = "mesh_bench"
TARGET = f"{SERVICE}.echo"
TEXT = "x" * 76
LONGEST = 60.0
MOST_OUTSTANDING = 1024
PATIENCE = 5.0
LOOK = 0.02


class Bench:
    """The echo of one host and its callers.

    `folder` is where agents have their folders, `spawn` gives a coroutine a task with an owner.
    """

    def __init__(
        self, host: str, cells: Cells, client: Client, clock: Clock, *, folder: Path,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._host = host
        self._cells = cells
        self._client = client
        self._clock = clock
        self._folder = folder / SERVICE
        self._spawn = spawn
        self._users = 0
        self._until = 0.0

    async def begin(self, seconds: float) -> None:
        """Lend the echo for at most so many seconds; returns when it is ready."""
        if not 0 < seconds <= LONGEST:
            raise InvalidArgument(f"seconds is {seconds:g}; it is over 0 and at most {LONGEST:g}", path="seconds")
        self._users += 1
        self._until = max(self._until, self._clock.monotonic() + seconds)
        if not self._cells.roster.of(SERVICE):
            self._cells.lodge(AgentSpec(service=SERVICE, file=Path(echo.__file__), class_name="Echo",
                                        hosts=(self._host,)))
            self._spawn(self._expire())
        await asyncio.gather(*(cell.settled.wait() for cell in self._cells.roster.of(SERVICE)))

    async def end(self) -> None:
        """Say that one who began measures no more; the last one takes the echo along."""
        self._users = max(0, self._users - 1)
        if not self._users:
            self._until = 0.0
            await self._tidy()

    async def measure(self, to: str, outstanding: int, seconds: float) -> dict[str, float]:
        """Call the echo of host `to` for so many seconds, always with so many calls under way.

        Returns `calls`, `calls_per_s`, and what a call took as `p50_ms` and `p99_ms`.
        """
        if not 0 < outstanding <= MOST_OUTSTANDING:
            raise InvalidArgument(f"outstanding is {outstanding}; it is 1 to {MOST_OUTSTANDING}", path="outstanding")
        if not 0 < seconds <= LONGEST:
            raise InvalidArgument(f"seconds is {seconds:g}; it is over 0 and at most {LONGEST:g}", path="seconds")
        await self._found(to)
        latencies: list[float] = []
        began = self._clock.monotonic()

        async def work() -> None:
            now = self._clock.monotonic()
            while now < began + seconds:
                await self._client.request(TARGET, {"text": TEXT, "number": len(latencies)}, PATIENCE, to_host=to)
                before, now = now, self._clock.monotonic()
                latencies.append(now - before)

        async with asyncio.TaskGroup() as group:
            for _ in range(outstanding):
                group.create_task(work(), context=Context())  # each call is a trace of its own
        return _figures(latencies, self._clock.monotonic() - began)

    async def _found(self, host: str) -> None:
        """Return when this host's directory has the echo of the other, which has only just begun."""
        until = self._clock.monotonic() + PATIENCE
        while True:
            try:
                await self._client.request(TARGET, {"text": "", "number": 0}, PATIENCE, to_host=host)
                return
            except (Unavailable, UnknownService):
                if self._clock.monotonic() > until:
                    raise
            await self._clock.sleep(LOOK)

    async def _expire(self) -> None:
        """Take the echo away when its time is over, whoever forgot to say so."""
        while self._cells.roster.of(SERVICE) and (left := self._until - self._clock.monotonic()) > 0:
            await self._clock.sleep(left)
        self._users = 0
        await self._tidy()

    async def _tidy(self) -> None:
        await self._cells.dislodge(SERVICE)
        with contextlib.suppress(OSError):  # it is not there, or not empty
            self._folder.rmdir()


def _figures(latencies: list[float], seconds: float) -> dict[str, float]:
    ranked = sorted(latencies)
    return {"calls": len(ranked), "calls_per_s": len(ranked) / seconds, "p50_ms": ranked[len(ranked) // 2] * 1e3,
            "p99_ms": ranked[len(ranked) * 99 // 100] * 1e3}
