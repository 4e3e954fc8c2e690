"""Looks now and then whether a server outside the mesh is well, sooner after a failure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from mesh.clock import Clock
from mesh.connections.health import Health
from mesh.errors import MeshError

log = logging.getLogger("mesh.connections")

CANCEL_S = 0.2


class Watched(Protocol):
    """A server that can be well or not."""

    name: str
    clock: Clock
    health: Health

    def succeeded(self) -> None:
        """Note that the server answered."""

    def failed(self, error: MeshError) -> None:
        """Note that the server could not be used."""


class Lookout:
    """Asks `check` for a server, which raises `MeshError` when that is not well, and notes what was found."""

    def __init__(self, watched: Watched, check: Callable[[], Awaitable[None]]) -> None:
        self._watched = watched
        self._check = check
        self._looking: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    def start(self) -> None:
        """Begin to look; a second start does nothing."""
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look(), name=f"look at {self._watched.name}")

    async def stop(self) -> None:
        """Stop looking."""
        looking, self._looking = self._looking, None
        while looking is not None and not looking.done():  # a client library may swallow a cancellation
            looking.cancel()
            await asyncio.wait({looking}, timeout=CANCEL_S)

    def wake(self) -> None:
        """Find anew when to look next: there was a failure."""
        self._wake.set()

    async def look(self) -> None:
        """Check once and note what was found."""
        try:
            await self._check()
        except MeshError as error:
            self._watched.failed(error)
        else:
            self._watched.succeeded()

    async def _look(self) -> None:
        clock, health = self._watched.clock, self._watched.health
        while True:
            while (wait := health.due(clock.monotonic())) > 0:
                self._wake.clear()
                await self._woken(wait)
            try:
                await self.look()
            except Exception as error:  # the next look must come, whatever this was
                log.exception("looking at %s failed", self._watched.name)
                health.failed(f"{type(error).__name__}: {error}", clock.monotonic())

    async def _woken(self, limit: float) -> None:
        """Wait `limit` seconds, or until a failure calls for a look sooner."""
        timer = self._watched.clock.call_later(limit, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()
