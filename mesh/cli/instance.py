"""An instance on the screen, from its row: what it is called, and where it stands among the others."""

from __future__ import annotations

from typing import Any

from mesh.address import instance_name

Row = dict[str, Any]


def named(row: Row) -> str:
    """Return what an instance is called: its service, and its number if it is not the first on its host."""
    return instance_name(row["service"], row.get("instance", 1))


def ordered(row: Row) -> tuple[str, int]:
    """Return what instances are sorted by: service and number."""
    return row["service"], row.get("instance", 1)
