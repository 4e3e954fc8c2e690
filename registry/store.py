"""What must outlast the registry: desired states, overrides and the epoch. Never leases.

A write is stored when it returns; one that fails raises and has changed nothing. One contract, two stores: a SQLite
file of the registry's host, and Redis with such a file as its copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from mesh.metrics import Sample
from registry.changes import DesiredChange, OverrideChange

VERSION = 1


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store held when it was opened; epoch 0 if none was stored yet."""

    epoch: int
    desired: tuple[DesiredChange, ...]
    overrides: tuple[OverrideChange, ...]


class Store(Protocol):
    """What keeps the registry's lasting records; every method raises `StoreError` with where and what to do.

    `problem` is what is wrong with it now, None when nothing is; `kind` is its name in config.
    """

    @property
    def kind(self) -> str:
        """`sqlite` or `redis`."""

    @property
    def problem(self) -> str | None:
        """What an operator must see to, None when the store is well."""

    async def open(self) -> Stored:
        """Check what is there and return it; makes it if there is nothing."""

    async def save_epoch(self, epoch: int) -> None:
        """Keep the epoch, so that the next one is greater whatever the clock says."""

    async def save(self, change: DesiredChange | OverrideChange) -> None:
        """Keep a change; it counts only once this returns."""

    def samples(self) -> Iterator[Sample]:
        """Yield the figures it has for whoever scrapes."""

    async def close(self) -> None:
        """Finish what was begun and let go."""


def next_epoch(stored: int, wall: float) -> int:
    """Return the epoch of a registry that starts at `wall` seconds: greater than any before, even if the clock is not.

    It is taken from the clock, so that a deleted file does not make the hosts, who know the old epoch, refuse the new.
    """
    return max(stored + 1, int(wall * 1000))
