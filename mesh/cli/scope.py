"""What every command is given besides its own arguments: the project, the environment, how long and how to print."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mesh.config import MeshConfig


@dataclass(frozen=True, slots=True)
class Scope:
    """The options common to all commands; `timeout` is in seconds, None for a command that follows something."""

    folder: Path | None = None
    environment: str | None = None
    debug: bool = False
    timeout: float | None = None
    json: bool = False

    def root(self) -> Path:
        """Return the project's folder; raises `ConfigError` if there is none."""
        from mesh.config import find_root  # pydantic costs 0.1 s, which `mesh --help` need not pay

        return find_root(self.folder or Path.cwd())

    def config(self) -> MeshConfig:
        """Return the configuration in force; raises `ConfigError` that lists every finding."""
        from mesh.config import load  # as above

        return load(self.root(), environment=self.environment)
