"""What agents ask to be remembered: versioned states, kept per host."""

from __future__ import annotations

from pathlib import Path

from mesh.clock import Clock
from mesh.config import MeshConfig
from mesh.connections import Connections
from mesh.state.sqlite import SqliteStates
from mesh.state.store import KEPT, StateStore, StateVersion

__all__ = ["KEPT", "SqliteStates", "StateStore", "StateVersion", "states_of"]


def states_of(host: str, config: MeshConfig, folder: Path, connections: Connections, clock: Clock) -> StateStore:
    """Return the store that config names for the states of a host; a file is in `folder`."""
    if config.state.store == "sqlite":
        return SqliteStates(folder / "state.db", clock=clock)
    from mesh.state.redis import RedisStates  # a tenth of a second, for those who name a Redis

    return RedisStates(connections, config.mesh, host, clock=clock)
