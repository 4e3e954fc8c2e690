"""Where a call comes from: which limits hold for it, and who is held to them.

What a connection proves counts: `via` is the peer whose key or token was checked. A host vouches for the names of its
agents; of whoever comes from outside the mesh every name is a mere claim, so it is told apart by its connection alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mesh.message import Request

Origin = Literal["agent", "operator", "client", "gateway"]

OPERATOR = "operator"
CLIENT = "client:"

LIMITS: Mapping[Origin, tuple[float, float] | None] = {
    "agent": None,
    "operator": None,
    "client": (100, 60.0),
    "gateway": (60, 60.0),
}
"""Calls in so many seconds that one caller may make, by where it calls from; None is no limit.

Those of `gateway` are for each of its own callers, whom nobody but the gateway can tell apart.
"""


def origin(request: Request) -> Origin:
    """Return where a call comes from: an agent of the mesh, an operator, or another program outside."""
    if request.via == OPERATOR:
        return "operator"
    return "client" if request.via.startswith(CLIENT) else "agent"


def identity(request: Request) -> str:
    """Return who is held to a limit: the agent that its host names, or whatever a connection from outside proves."""
    via = request.via
    return via if via == OPERATOR or via.startswith(CLIENT) else request.caller
