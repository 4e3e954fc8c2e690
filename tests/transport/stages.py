"""Every way of carrying calls and streams, for suites that hold all of them to the same contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from mesh.clock import Clock
from mesh.message import Handler, Reply, Request, Responder, replied
from mesh.transport.deadlines import Deadlines
from mesh.transport.exchange import Exchange
from mesh.transport.loop import fastest_loop
from mesh.transport.loopback import Loopback
from mesh.transport.pending import Pending
from tests.eventually import eventually
from tests.transport.ends import host, two_hosts
from tests.transport.resources import nothing_left

LIMIT = 30.0


class Line:
    """A way to the callee: `exchange` makes a call; `quiet` tells whether neither end remembers any.

    `carrier` is the calling end; `running` the answering one, which is the carrier itself in memory.
    """

    def __init__(self, exchange: Responder, carrier: Exchange | Loopback, running: Any,
                 callee: Exchange | None = None) -> None:
        self._exchange = exchange
        self.carrier = carrier
        self.callee = callee
        self._running = running

    async def exchange(self, request: Request) -> Reply:
        """Make a call."""
        return await replied(self._exchange(request))

    def stop(self) -> None:
        """Have the callee end what it answers, as a host that stops does."""
        self._running.cancel_all()

    def quiet(self) -> bool:
        return not self.carrier.waiters and not self.carrier.inflows and len(self._running) == 0


@asynccontextmanager
async def in_memory(handler: Handler) -> AsyncIterator[Line]:
    deadlines = Deadlines(Clock())
    loopback = Loopback(handler, Pending(deadlines))
    yield Line(loopback.exchange, loopback, loopback._running)
    loopback.cancel_all()
    deadlines.close()


@asynccontextmanager
async def over_tcp(handler: Handler) -> AsyncIterator[Line]:
    async with two_hosts(handler) as (callee, caller):
        session = callee.session_of("pc2")
        yield Line(lambda request: caller.pool.exchange(request, "mainpc"), caller.pool.links["mainpc"], session,
                   session)


@asynccontextmanager
async def down_to_a_cell(handler: Handler) -> AsyncIterator[Line]:
    async with host("mainpc") as parent, host("pc2", handler, kind="cell", listens=False) as cell:
        link = await cell.join(parent)
        session = parent.session_of("pc2")
        yield Line(session.exchange, session, link, link)


class Stage:
    """One way of carrying calls on one kind of loop."""

    def __init__(self, opened: Callable[[Handler], Any], loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._opened = opened
        self._loop = loop
        with asyncio.Runner(loop_factory=loop) as runner:  # uvloop opens descriptors of its own the first time
            runner.run(asyncio.sleep(0))

    def play(self, handler: Handler, scenario: Callable[[Line], Coroutine[Any, Any, None]]) -> None:
        """Run a scenario against a callee; in the end nobody remembers a call and nothing is left open."""

        async def bounded() -> None:
            async with asyncio.timeout(LIMIT), self._opened(handler) as line:
                await scenario(line)
                await eventually(line.quiet)

        with nothing_left(), asyncio.Runner(loop_factory=self._loop) as runner:
            runner.run(bounded())


STAGES = {
    "in memory": Stage(in_memory, asyncio.new_event_loop),
    "over tcp": Stage(over_tcp, asyncio.new_event_loop),
    "down to a cell": Stage(down_to_a_cell, asyncio.new_event_loop),
    "over tcp, fastest loop": Stage(over_tcp, fastest_loop()),
}
