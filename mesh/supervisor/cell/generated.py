"""What an agent's generator yields, as the items of a stream: checked, encoded, its errors told as those of a call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from mesh.agent.schema import Operation
from mesh.client import CURRENT
from mesh.clock import Clock
from mesh.errors import Cancelled, MeshError
from mesh.message import Items, Request
from mesh.supervisor.cell.steps import Steps

Caught = Callable[[Exception, Request], Awaitable[MeshError]]


class Generated(Items):
    """The items of one running generator.

    `begin` is given what is to run before each step: what the agent calls while it makes an item has as long as the
    opening had, from the moment it began to make it. `caught` turns what the agent raises into the caller's error;
    `cleanup` bounds, in seconds, how long the generator may take to end when nobody reads on.
    """

    def __init__(
        self, request: Request, operation: Operation, clock: Clock, begin: Callable[[Callable[[], None]], Steps],
        caught: Caught, cleanup: float,
    ) -> None:
        super().__init__()
        self._request = request
        self._operation = operation
        self._clock = clock
        self._patience = request.deadline - clock.monotonic()
        self._caught = caught
        self._cleanup = cleanup
        self._error: MeshError | None = Cancelled(f"{request.target} was cancelled before it ended")
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._steps = begin(self._renew)

    def _renew(self) -> None:
        """Give the calls that the next step makes their time; runs where the generator does."""
        now = self._clock.monotonic()
        if self._request.deadline - now < self._patience / 2:
            self._request = self._request._replace(deadline=now + self._patience)
        CURRENT.set(self._request)

    async def __anext__(self) -> bytes:
        """Return the next item."""
        made: list[bytes] = []

        def keep(body: bytes) -> bool:
            made.append(body)
            return False

        if not await self.pour(keep):
            raise StopAsyncIteration
        return made[0]

    async def pour(self, emit: Callable[[bytes], bool]) -> bool:
        """Give each item to `emit`."""
        encode = self._operation.encode_result

        def take(value: Any) -> bool:
            self.taken += 1
            return emit(encode(value))

        try:
            more = await self._steps.pour(take)
        except Exception as error:
            self._error = await self._caught(error, self._request)
            raise self._error from None
        if not more:
            self._error = None
        return more

    async def aclose(self) -> None:
        """End the generator; one whose `finally` takes too long is left to itself, and reported."""
        if self._closed:
            return
        self._closed = True
        limit = asyncio.timeout(self._cleanup)
        try:
            async with limit:
                await self._steps.close()
        except Exception as error:
            late = TimeoutError(f"its generator did not end within {self._cleanup:g} s of being closed (limits: "
                                "stop_s); let its `finally` be short")
            await self._caught(late if limit.expired() else error, self._request)
        finally:
            self.ended(self._error)

    def drop(self) -> None:
        """Close it without waiting."""
        self._closing = asyncio.get_running_loop().create_task(self.aclose())
