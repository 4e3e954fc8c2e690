"""Agents that call each other by service name: what an agent's author imports.

Names are loaded on first use, so the command line and the registry do not pay for the agent layer.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mesh.agent import (
        Agent,
        AgentConfig,
        Answer,
        Batched,
        Cache,
        ChatClient,
        Completion,
        DataAgent,
        Database,
        Engine,
        EngineConfig,
        IntegrationAgent,
        MLAgent,
        Peer,
        StateVersion,
        TypedPeer,
        Usage,
        Written,
        every,
        operation,
        subscribe,
    )
    from mesh.errors import (
        CallCycle,
        Cancelled,
        CircuitOpen,
        DeadlineExceeded,
        EngineMissing,
        InvalidArgument,
        InvalidResult,
        MeshError,
        MessageTooLarge,
        Overloaded,
        PermissionDenied,
        ProtocolError,
        RateLimited,
        RemoteFailure,
        Unavailable,
        UnknownOperation,
        UnknownService,
        Unreachable,
    )

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 - grouped by use, not by letter
    # writing an agent
    "Agent",
    "AgentConfig",
    "DataAgent",
    "IntegrationAgent",
    "MLAgent",
    "Cache",
    "every",
    "operation",
    "subscribe",
    # what an agent is handed
    "Answer",
    "Batched",
    "ChatClient",
    "Completion",
    "Database",
    "Engine",
    "EngineConfig",
    "Peer",
    "StateVersion",
    "TypedPeer",
    "Usage",
    "Written",
    # what a call may raise
    "CallCycle",
    "Cancelled",
    "CircuitOpen",
    "DeadlineExceeded",
    "EngineMissing",
    "InvalidArgument",
    "InvalidResult",
    "MeshError",
    "MessageTooLarge",
    "Overloaded",
    "PermissionDenied",
    "ProtocolError",
    "RateLimited",
    "RemoteFailure",
    "Unavailable",
    "UnknownOperation",
    "UnknownService",
    "Unreachable",
]

_AGENT = frozenset(__all__[: __all__.index("CallCycle")])


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mesh' has no name {name!r}")
    return getattr(importlib.import_module("mesh.agent" if name in _AGENT else "mesh.errors"), name)
