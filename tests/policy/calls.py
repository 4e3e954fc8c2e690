"""Requests and callees of the policies' tests: callees answer when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec

from mesh.message import Reply, Request, encode
from mesh.testing.clock import settle
from mesh.tracing import Trace

P = ParamSpec("P")


def on_a_loop(scenario: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an asynchronous test on a loop of its own, within 20 s."""

    @wraps(scenario)
    def run(*fixtures: P.args, **named: P.kwargs) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await scenario(*fixtures, **named)

        asyncio.run(bounded())

    return run


def ask(name: object = None, *, target: str = "kb.find", deadline: float = 2000.0, **fields: Any) -> Request:
    """Return a request whose argument is `name`; a fake clock stands at 1000 s."""
    service, _, operation = target.partition(".")
    return Request(service, operation, encode(name), deadline, fields.pop("trace", Trace.new()), "nlu@pc2", **fields)


class Callee:
    """A handler whose calls end when the test says so."""

    def __init__(self) -> None:
        self.begun: list[object] = []
        self.ended: list[object] = []
        self.cancelled: list[object] = []
        self._open: dict[object, asyncio.Future[Reply]] = {}

    async def __call__(self, request: Request) -> Reply:
        name = Reply(request.body).value()
        self.begun.append(name)
        self._open[name] = asyncio.get_running_loop().create_future()
        try:
            return await self._open[name]
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        finally:
            self.ended.append(name)
            del self._open[name]

    @property
    def running(self) -> list[object]:
        """What has begun and not ended."""
        return list(self._open)

    async def answer(self, name: object, reply: Reply | None = None) -> None:
        """End one call, and let what follows from it happen."""
        self._open[name].set_result(reply or Reply(encode(name)))
        await settle()

    async def fail(self, name: object, error: Exception) -> None:
        """Have one call raise."""
        self._open[name].set_exception(error)
        await settle()


def code(reply: Reply) -> str:
    """Return the error code of a reply, empty for a value."""
    return reply.error.code if reply.error is not None else ""
