"""A running generator of an agent, taken a step further wherever the agent lives."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

AHEAD = 64


class Steps(Protocol):
    """The values that a generator yields."""

    def next(self) -> Awaitable[Any]:
        """Return the next value; raises `StopAsyncIteration` at the end, and whatever the generator raises."""

    def pour(self, take: Callable[[Any], bool]) -> Awaitable[bool]:
        """Give each value to `take` at once, until that says no; returns False when the generator has ended."""

    def close(self) -> Awaitable[Any]:
        """End the generator: it stops where it is, and its `finally` runs."""


class ThreadSteps:
    """A generator on the loop of a thread cell; it runs up to 64 values ahead, so that not each costs a hand-over.

    Both threads look at `_values` and `_ended` only after they have said what they wait for, so neither misses the
    other's news.
    """

    def __init__(self, inner: Steps, there: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._here = asyncio.get_running_loop()
        self._there = there
        self._values: deque[Any] = deque()
        self._error: Exception | None = None
        self._ended = self._closing = False
        self._awaited: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._running = asyncio.run_coroutine_threadsafe(self._run(), there)

    # -- here, on the host's loop

    async def next(self) -> Any:
        """Return the next value the generator has yielded."""
        while not self._values:
            self._awaited = self._here.create_future()
            if self._values:
                break
            if self._ended:
                raise self._told() or StopAsyncIteration
            await self._awaited
        value = self._values.popleft()
        if len(self._values) == AHEAD // 2:
            self._there.call_soon_threadsafe(self._room.set)
        return value

    async def pour(self, take: Callable[[Any], bool]) -> bool:
        """Give each value to `take`, until that says no; returns False when the generator has ended."""
        try:
            while take(await self.next()):
                pass
        except StopAsyncIteration:
            return False
        return True

    async def close(self) -> None:
        """Stop the generator where it is, and wait until it has ended."""
        self._closing = True
        self._running.cancel()
        finishing = self._finish()
        try:
            done = asyncio.run_coroutine_threadsafe(finishing, self._there)
        except RuntimeError:  # the cell's loop is closed, and what ran there has ended with it
            finishing.close()
            return
        await asyncio.wrap_future(done)

    def _rouse(self) -> None:
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(None)

    # -- there, on the cell's loop

    async def _run(self) -> None:
        self._task = asyncio.current_task()
        try:
            while not self._closing:  # the generator may swallow its cancellation
                value = await self._inner.next()
                self._values.append(value)
                if self._awaited is not None and not self._awaited.done():
                    self._here.call_soon_threadsafe(self._rouse)
                while len(self._values) >= AHEAD:
                    self._room.clear()
                    if len(self._values) >= AHEAD:
                        await self._room.wait()
        except StopAsyncIteration:
            pass
        except Exception as error:
            self._error = error
        finally:
            self._ended = True
            self._here.call_soon_threadsafe(self._rouse)

    async def _finish(self) -> None:
        """End the generator once nothing steps it any more."""
        if not self._ended and self._task is not None:
            await asyncio.wait({self._task})
        await self._inner.close()
        error = self._told()
        if error is not None:
            raise error

    def _told(self) -> Exception | None:
        """Return what the generator has raised, once."""
        error, self._error = self._error, None
        return error
