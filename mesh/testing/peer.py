"""A service that answers as a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from mesh.errors import MeshError, RemoteFailure, UnknownOperation
from mesh.message import Items, Reply, Request, encode


class FakePeer:
    """Stands in for a service: each operation is a value to answer with, an error to raise, or a function to call.

    A function that yields makes a stream.
    """

    def __init__(self, service: str, host: str, operations: Mapping[str, Any]) -> None:
        self.service = service
        self.host = host
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.operations = dict(operations)

    def calls_of(self, operation: str) -> list[dict[str, Any]]:
        """Return the arguments of every call of one operation, in order."""
        return [arguments for name, arguments in self.calls if name == operation]

    async def handle(self, request: Request) -> Reply:
        """Answer one request."""
        arguments = Reply(request.body).value()
        self.calls.append((request.operation, arguments))
        if request.operation not in self.operations:
            return Reply(error=UnknownOperation(f"the fake {self.service} has no operation {request.operation}"))
        try:
            answer = self.operations[request.operation]
            if inspect.isasyncgenfunction(answer):
                return Reply(host=self.host, items=_Yielded(answer(**arguments)))
            return Reply(encode(await self._value(answer, arguments)), host=self.host)
        except Exception as error:
            if isinstance(error, MeshError) and error.code:
                return Reply(error=error, host=self.host)
            return Reply(error=RemoteFailure(f"{request.target} raised {type(error).__name__}: {error}",
                                             type=type(error).__name__), host=self.host)

    async def _value(self, answer: Any, arguments: dict[str, Any]) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        if not isinstance(answer, Callable):  # type: ignore[arg-type]
            return answer
        value = answer(**arguments)
        return await value if inspect.isawaitable(value) else value


class _Yielded(Items):
    """The items of a fake's generator."""

    def __init__(self, generator: AsyncGenerator[Any, None]) -> None:
        super().__init__()
        self._generator = generator
        self._closing: asyncio.Task[None] | None = None

    async def __anext__(self) -> bytes:
        item = encode(await self._generator.__anext__(), name="item")
        self.taken += 1
        return item

    async def aclose(self) -> None:
        await self._generator.aclose()
        self.ended(None)

    def drop(self) -> None:
        self._closing = asyncio.get_running_loop().create_task(self.aclose())
