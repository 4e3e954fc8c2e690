"""What a cell's process is told when it is born: who it is, where its parent listens, and the token to get in with.

They travel over the pipe that is its standard input, never in its arguments, which every user of the machine can read.
The pipe stays open afterwards: its end is the parent's word, or death, that the process has to end.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from typing import IO

from pydantic import ValidationError

from mesh.config import MeshConfig
from mesh.errors import ConfigError, StartError

MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class Papers:
    """The papers of one process; `stacks` is the descriptor that stack dumps go to.

    `number` is that of the instance; `config` is the mesh's as JSON, with the one agent that is to run here and no
    other.
    """

    host: str
    service: str
    incarnation: int
    door: str
    token: str
    parent: int
    stacks: int
    config: str
    number: int = 1

    def mesh(self) -> MeshConfig:
        """Return the configuration; raises `ConfigError` for one that another version has written."""
        try:
            return MeshConfig.model_validate_json(self.config)
        except ValidationError as error:
            raise ConfigError(f"the papers of {self.service} do not read: {error}") from None


def write_papers(papers: Papers, pipe: IO[bytes]) -> None:
    """Put papers into a pipe that nobody reads yet, without waiting; raises `StartError` for what has no room."""
    data = json.dumps(asdict(papers)).encode() + b"\n"
    if len(data) > MAX_BYTES:
        raise StartError(f"the settings of an agent in a process of its own may take {MAX_BYTES} bytes, these take "
                         f"{len(data)}; put them into a file and name that")
    _widen(pipe, len(data))
    os.set_blocking(pipe.fileno(), False)
    if os.write(pipe.fileno(), data) < len(data):
        raise StartError("a pipe of this system does not hold the settings of the agent; put them into a file")


def _widen(pipe: IO[bytes], size: int) -> None:
    if size > 65536 and hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, size)


def read_papers(pipe: IO[bytes]) -> Papers:
    """Return the papers of this process."""
    return Papers(**json.loads(pipe.readline()))

