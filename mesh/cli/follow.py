"""Following the mesh: events through one host, and through the next one when that goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from mesh.cli.operator import Operator
from mesh.cli.scope import Scope
from mesh.cli.screen import note
from mesh.errors import MeshUnreachable
from mesh.message import Event

AGAIN = 0.5


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host answered to a question asked while following, or the error that took its place."""

    host: str
    value: Any


class Follow:
    """A connection and what comes over it, in order; the queue holds None where the connection was lost."""

    def __init__(self, scope: Scope, interest: Iterable[str]) -> None:
        self.queue: asyncio.Queue[Event | Answer | None] = asyncio.Queue()
        self.operator = Operator(scope.config(), timeout=None, interest=interest, on_event=self.queue.put_nowait,
                                 on_lost=self._lost, missed=self._missed)

    async def reconnect(self) -> None:
        """Connect to whichever host answers, for as long as it takes."""
        said = False
        while True:
            try:
                await self.operator.connect()
            except MeshUnreachable as error:
                if not said:
                    note(f"{error.message}; it is tried again until it works")
                said = True
                await asyncio.sleep(AGAIN)
            else:
                return

    def _lost(self, reason: str) -> None:
        note(f"the connection to {self.operator.host} is lost ({reason})")
        self.queue.put_nowait(None)

    def _missed(self, count: int) -> None:
        note(f"{count} events were lost: they came faster than this terminal takes them")


@asynccontextmanager
async def followed(scope: Scope, interest: Iterable[str]) -> AsyncIterator[Follow]:
    """Give a command its connection and its events; raises `MeshUnreachable` if nobody answers at first."""
    follow = Follow(scope, interest)
    try:
        await follow.operator.connect()
        yield follow
    finally:
        follow.operator.close()


def run_following(scope: Scope, work: Coroutine[Any, Any, None]) -> None:
    """Run what never ends by itself until Ctrl-C, or for `--timeout` seconds."""

    async def bounded() -> None:
        try:
            async with asyncio.timeout(scope.timeout) as limit:
                await work
        except TimeoutError:
            if not limit.expired():
                raise

    asyncio.run(bounded())
