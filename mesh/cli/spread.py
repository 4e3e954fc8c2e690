"""Waiting until the whole mesh knows what one host did: the next command may talk to another one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from mesh.cli.operator import Operator
from mesh.errors import MeshError

LIMIT = 2.0
STEP = 0.03


async def spread(operator: Operator, service: str, home: str) -> list[str]:
    """Return once every host that is well sees the agent as `home`, its host, does; after 2 s those that do not yet."""
    listed = (await operator.directory())["hosts"]
    hosts = {home, *(row["name"] for row in listed if row["state"] == "ok")}
    loop = asyncio.get_running_loop()
    until = loop.time() + LIMIT
    while True:
        tables = await operator.ask_each("supervisor.directory", hosts, limit=LIMIT)
        truth = _seen(tables[home], service, home)
        unaware = [host for host, table in tables.items()
                   if not isinstance(table, MeshError) and _seen(table, service, home) != truth]
        if not unaware or loop.time() > until:
            return unaware
        await asyncio.sleep(STEP)


def _seen(table: Mapping[str, Any] | MeshError, service: str, home: str) -> list[tuple[int, int, str]]:
    """Return number, incarnation and state of the instances in a host's directory, none if they are not there."""
    if isinstance(table, MeshError):
        return []
    return sorted((row["number"], row["incarnation"], row["state"]) for row in table["instances"]
                  if (row["service"], row["host"]) == (service, home))
