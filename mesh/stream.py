"""The items of one operation as its caller reads them: `async for item in stream`.

The operation is asked when the first item is. Leaving the loop ends it at the callee, too: a stream that nobody holds
any more is closed. Whoever keeps it for longer than the loop closes it by hand, or with `async with`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self, TypeVar

from mesh.errors import MeshError
from mesh.message import Items, Reply, decode

T = TypeVar("T")

Home = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Awaitable[Any]]


async def _here(make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return await make()


class Stream:
    """Items as plain values; an operation that gives one result is a stream of that one.

    `home` runs a coroutine of the mesh where the mesh is, for a reader that is elsewhere. Raises the error of the
    opening, or the one that ended the items, after those that came before it. `host` is who answered the opening,
    `target` what is asked.
    """

    def __init__(self, opening: Callable[[], Coroutine[Any, Any, Reply]], home: Home = _here, target: str = "") -> None:
        self.host = ""
        self._target = target
        self._opening: Callable[[], Coroutine[Any, Any, Reply]] | None = opening
        self._home = home
        self._items: Items | None = None
        self._bodies: deque[bytes] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        bodies = self._bodies
        if not bodies:
            await self._refill()
        return decode(bodies.popleft())

    async def _refill(self) -> None:
        """Get what has come, at least one item; raises `StopAsyncIteration` at the end."""
        if self._opening is not None:
            await self._open(self._opening)
        if self._items is not None and not self._bodies:
            try:
                self._bodies.extend(await self._home(self._items.some))
            except BaseException as error:
                if isinstance(error, MeshError):
                    error.asked = self._target
                await self.aclose()
                raise
        if not self._bodies:
            self._items = None
            raise StopAsyncIteration

    async def _open(self, opening: Callable[[], Coroutine[Any, Any, Reply]]) -> None:
        self._opening = None

        async def opened() -> Reply:
            reply = await opening()
            self._loop = asyncio.get_running_loop()
            self._items = reply.items
            return reply

        reply: Reply = await self._home(opened)
        self.host = reply.host
        if reply.error is not None:
            raise reply.error
        if reply.items is None:
            self._bodies.append(reply.body)

    async def aclose(self) -> None:
        """Have no more items made."""
        self._opening = None
        self._bodies.clear()
        self._let_go()

    def _let_go(self) -> None:
        items, self._items = self._items, None
        if items is not None and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and with it all that came over it
                self._loop.call_soon_threadsafe(items.drop)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._let_go()
