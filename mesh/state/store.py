"""What keeps the states that agents save: one contract, kept by a SQLite file of each host or by Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from mesh.errors import InvalidArgument, ProtocolError, StoreError
from mesh.message import decode, encode

KEPT = 1000


@dataclass(frozen=True, slots=True)
class StateVersion:
    """One saved state; `time` is wall-clock seconds, `version` grows by one with each save of a service."""

    version: int
    time: float
    state: dict[str, Any]


class StateStore(Protocol):
    """The saved states of all services of a host; the last `kept` versions of each remain.

    Every method raises `StoreError` with where and what to do when the store cannot be read or written.
    """

    async def save(self, service: str, state: dict[str, Any]) -> int:
        """Keep `state` as the newest of `service` and return its version; raises `InvalidArgument` for what may not
        be encoded."""

    async def latest(self, service: str) -> StateVersion | None:
        """Return the newest state of `service`, None when none was saved."""

    async def history(self, service: str, limit: int = 10) -> list[StateVersion]:
        """Return up to `limit` states of `service`, the newest first."""

    async def close(self) -> None:
        """Finish what was started and let go."""


def packed(state: dict[str, Any]) -> bytes:
    """Return a state as it is stored; raises `InvalidArgument` for what may not be encoded."""
    if not isinstance(state, dict):
        raise InvalidArgument(f"a state is a dict, found {type(state).__name__}", path="state")
    return encode(state, name="state")


def unpacked(body: bytes, where: str, service: str, version: int) -> dict[str, Any]:
    """Return a stored state; raises `StoreError` that names `where` it is."""
    try:
        state: dict[str, Any] = decode(body)
    except ProtocolError as error:
        raise StoreError(f"{where}: version {version} of {service} does not decode; restore a copy, or move the file "
                         f"away and a new one is made ({error.message})") from error
    return state
