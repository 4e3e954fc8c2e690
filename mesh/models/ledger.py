"""Who holds how much of which device, and who has to go for a newcomer: decided from figures and `now`.

A model counts as in use for `IDLE_S` after it was last asked for, which is as long as a call lasts that names no time
of its own: the ledger does not see when a caller is done with it. What it lets go of is the shelf's to forget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.config import Budget
from mesh.errors import EngineMissing, Overloaded

CPU = "cpu"
IDLE_S = 30.0

Key = tuple[str, str]
"""Service and name of a model; the service is empty for one that is shared."""


@dataclass(slots=True)
class Model:
    """One line of the ledger; `memory_mb` is what it was declared to take, or was measured to, MiB."""

    key: Key
    device: str
    memory_mb: float
    used_at: float
    owners: set[str] = field(default_factory=set)
    loaded: bool = False
    measured: bool = False
    declared_mb: float | None = None

    def to_wire(self) -> dict[str, object]:
        """Return the line as a plain map."""
        return {"name": self.key[1], "shared": not self.key[0], "device": self.device,
                "memory_mb": round(self.memory_mb, 1), "measured": self.measured, "loaded": self.loaded,
                "owners": sorted(self.owners)}


class Ledger:
    """The models of one process against its budget."""

    def __init__(self, budget: Budget) -> None:
        self.models: dict[Key, Model] = {}
        self._limits: Mapping[str, float] = {
            **({CPU: budget.memory_mb} if budget.memory_mb is not None else {}), **budget.devices
        }
        self._named = bool(budget.devices)

    @property
    def limits(self) -> Mapping[str, float]:
        """MiB of each device that has a limit."""
        return self._limits

    def held(self, device: str) -> float:
        """Return the MiB that models take of a device."""
        return sum(model.memory_mb for model in self.models.values() if model.device == device)

    def room_for(self, name: str, device: str, memory_mb: float, now: float, keep: Key | None = None) -> list[Key]:
        """Return the models that have to go, the least recently used first, before another of `memory_mb` fits.

        `keep` is not among them. Raises `Overloaded` when those that are idle are not enough, and `EngineMissing` for a
        device that the budget does not name or that is too small for it alone.
        """
        if self._named and device not in self._limits and device != CPU:
            raise EngineMissing(
                f"model {name} wants the device {device}, and the budget of this host names "
                f"{', '.join(sorted(self._limits))}", command=f"add {device} to `budget: devices:` of the host",
            )
        limit = self._limits.get(device)
        if limit is None:
            return []
        if memory_mb > limit:
            raise EngineMissing(
                f"model {name} takes {memory_mb:.0f} MiB of {device}, and the budget has {limit:.0f}; raise it, or "
                "take a smaller model", command=f"raise the budget of {device} in config/hosts.yaml",
            )
        excess = self.held(device) + memory_mb - limit
        going: list[Key] = []
        others = sorted((one for one in self.models.values() if one.device == device and one.key != keep),
                        key=lambda one: one.used_at)
        for model in others:
            if excess <= 0:
                break
            if model.loaded and now - model.used_at >= IDLE_S and model.memory_mb > 0:
                going.append(model.key)
                excess -= model.memory_mb
        if excess > 0:
            raise self._refusal(name, device, memory_mb, limit, others, now)
        return going

    def _refusal(
        self, name: str, device: str, memory_mb: float, limit: float, others: list[Model], now: float
    ) -> Overloaded:
        holders = ", ".join(
            f"{one.key[1]} of {', '.join(sorted(one.owners)) or 'nobody'} {one.memory_mb:.0f} MiB" for one in others
            if one.memory_mb > 0
        )
        busy = [one.used_at + IDLE_S - now for one in others if one.loaded and now - one.used_at < IDLE_S]
        return Overloaded(
            f"model {name} takes {memory_mb:.0f} MiB of {device}, whose budget of {limit:.0f} MiB is held by {holders}",
            retry_after=round(max(0.1, min(busy)), 1) if busy else 1.0,
        )
