"""How an agent calls others: by target, or through a peer whose operations read like methods."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

from mesh.agent.context import AgentContext
from mesh.policy.options import CallOptions
from mesh.stream import Stream

P = TypeVar("P", bound="TypedPeer")


@dataclass(frozen=True, slots=True)
class Caller:
    """The verbs of calling under fixed options; `Agent.options(...)` makes one."""

    context: AgentContext
    options: CallOptions

    def request(self, target: str, /, *, timeout: float | None = None, **arguments: Any) -> Coroutine[Any, Any, Any]:
        """Call `service.operation` with `arguments` and return its result as plain values.

        `timeout` is in seconds; without it the deadline is what is left of the call being answered, or 30 s.
        """
        return self.context.request(target, arguments, timeout, self.options)

    def stream(self, target: str, /, *, timeout: float | None = None, **arguments: Any) -> Stream:
        """Return the items of `service.operation`, for `async for`."""
        return self.context.stream(target, arguments, timeout, self.options)

    @overload
    def peer(self, service: str) -> Peer: ...

    @overload
    def peer(self, service: type[P]) -> P: ...

    def peer(self, service: str | type[P]) -> Peer | P:
        """Return `service` as an object whose methods are its operations; a class that `mesh stubs` wrote has types."""
        return Peer(service, self) if isinstance(service, str) else service(service.SERVICE, self)


class TypedPeer:
    """Base of the classes that `mesh stubs` writes: a `Peer` of one service whose operations have types."""

    SERVICE: ClassVar[str]

    __slots__ = ("_caller", "_service")

    def __init__(self, service: str, caller: Caller) -> None:
        self._service = service
        self._caller = caller

    if not TYPE_CHECKING:  # a checker must not take a name it does not know for an operation

        def __getattr__(self, operation: str) -> PeerOperation:
            return Peer.__getattr__(self, operation)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._service!r})"


class Peer:
    """Another service: `await peer.operation(name=value, timeout=seconds)`, for items `peer.operation.stream(...)`."""

    __slots__ = ("_caller", "_service")

    def __init__(self, service: str, caller: Caller) -> None:
        self._service = service
        self._caller = caller

    def __getattr__(self, operation: str) -> PeerOperation:
        if operation.startswith("_"):  # copy, pickle and debuggers ask for these
            raise AttributeError(operation)
        return PeerOperation(f"{self._service}.{operation}", self._caller)

    def __repr__(self) -> str:
        return f"Peer({self._service!r})"


@dataclass(frozen=True, slots=True)
class PeerOperation:
    """One operation of a peer, ready to be called with keyword arguments."""

    target: str
    caller: Caller

    def __call__(
        self, /, *positional: Any, timeout: float | None = None, **arguments: Any
    ) -> Coroutine[Any, Any, Any]:
        self._refuse(positional)
        return self.caller.context.request(self.target, arguments, timeout, self.caller.options)

    def stream(self, /, *positional: Any, timeout: float | None = None, **arguments: Any) -> Stream:
        """Return the items of this operation, for `async for`."""
        self._refuse(positional)
        return self.caller.context.stream(self.target, arguments, timeout, self.caller.options)

    def _refuse(self, positional: tuple[Any, ...]) -> None:
        if positional:
            raise TypeError(
                f"{self.target} takes keyword arguments only, found {len(positional)} without a name; "
                f"write {self.target.partition('.')[2]}(name=value)"
            )
