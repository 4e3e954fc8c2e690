"""What a cell does unasked: hears events, in order and within bounds, and runs its timers.

A handler that raises is reported and goes on hearing: neither a subscription nor a timer ever dies of its handler.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context

from mesh.agent.reaction import Subscription, Timer
from mesh.clock import Clock
from mesh.message import Event

WAITING = 1024


class Hearing:
    """One subscription of one cell: its events wait here, are handled one after the other, the oldest make room."""

    def __init__(
        self, subscription: Subscription, handle: Callable[[Subscription, Event], Awaitable[object]],
        dropped: Callable[[Subscription, int], Awaitable[None]],
    ) -> None:
        self.subscription = subscription
        self._handle = handle
        self._dropped = dropped
        self._waiting: deque[Event] = deque()
        self._task: asyncio.Task[None] | None = None
        self._lost = 0

    def hear(self, event: Event) -> None:
        """Take an event; when 1,024 wait the oldest is lost, and that is said when the handler comes round."""
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append(event)
        if self._task is None:
            # a context of its own: the publisher may be a call, whose deadline and path are no concern of the handler
            self._task = asyncio.get_running_loop().create_task(self._work(), context=Context())

    async def _work(self) -> None:
        try:
            while self._waiting:
                if self._lost:
                    lost, self._lost = self._lost, 0
                    await self._dropped(self.subscription, lost)
                await self._handle(self.subscription, self._waiting.popleft())
        finally:
            self._task = None

    async def finish(self) -> None:
        """Return when all that it has taken is handled."""
        while self._task is not None:
            await asyncio.wait([self._task])

    def close(self) -> None:
        """Forget what waits and cancel what is being handled."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()


class Ticking:
    """One timer of one cell; a tick waits for the one before it to end."""

    def __init__(self, timer: Timer, run: Callable[[Timer], Awaitable[None]], clock: Clock) -> None:
        self._timer = timer
        self._run = run
        self._clock = clock
        self._waits = True
        self._over = False
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while self._waits:
            await self._clock.sleep(self._timer.seconds)
            self._waits = False
            await self._run(self._timer)
            self._waits = not self._over

    async def finish(self) -> None:
        """Tick no more; return when the tick that was begun has ended."""
        self._over = True
        if self._waits:
            self._task.cancel()
        await asyncio.wait([self._task])

    def close(self) -> None:
        """Stop ticking."""
        self._task.cancel()
