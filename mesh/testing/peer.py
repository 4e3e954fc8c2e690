"""A service that answers as a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from mesh.errors import MeshError, RemoteFailure, UnknownOperation
from mesh.message import Reply, Request, encode


class FakePeer:
    """Stands in for a service: each operation is a value to answer with, an error to raise, or a function to call."""

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
            return Reply(encode(await self._value(self.operations[request.operation], arguments)), host=self.host)
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
