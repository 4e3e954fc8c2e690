"""The few values of the configuration that a launcher holds, so that it need not hold what reads the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:  # which loads pydantic
    from mesh.config import MeshConfig


@dataclass(frozen=True, slots=True)
class Outline:
    """A project as its launcher knows it; `registry_host` is the host that the registry belongs to."""

    mesh: str
    environment: str
    root: Path
    home: Path
    registry_host: str
    log_megabytes: int

    @classmethod
    def of(cls, config: MeshConfig) -> Self:
        """Return the outline of a configuration."""
        return cls(config.mesh, config.environment, config.root, config.home, config.registry.host,
                   config.logs.megabytes)

    def told(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**asdict(self), "root": str(self.root), "home": str(self.home)}

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """Return the outline that `told` told of."""
        return cls(**{**told, "root": Path(told["root"]), "home": Path(told["home"])})
