"""How many instances of a service run on each host: one number for all of its hosts, or one for each that differs."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

INSTANCES = "instances"
MOST = 64
"""Instances of one service on one host; each has its share of memory, and none more helps than there are cores."""


def _counted(value: Any) -> Any:
    """Let a number pass, and a map of hosts to numbers."""
    counts = value.values() if isinstance(value, dict) and value else (value,)
    if all(type(count) is int and 1 <= count <= MOST for count in counts):
        return value
    raise PydanticCustomError(INSTANCES, f"takes a whole number from 1 to {MOST}, or one for each host "
                                         "as {mainpc: 2, pc2: 1}")


Instances = Annotated[int | dict[str, int], BeforeValidator(_counted)]


def count_on(instances: int | dict[str, int], host: str) -> int:
    """Return how many run on a host; one where a map does not name it."""
    return instances if isinstance(instances, int) else instances.get(host, 1)
