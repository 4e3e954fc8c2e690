"""How a host reaches the others: the state of each link, a real round trip, the other's clock; a plain TCP connect
where there is no link, which tells a closed port from a silent one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mesh.address import endpoint
from mesh.client import Client
from mesh.clock import Clock
from mesh.config import MeshConfig
from mesh.errors import MeshError
from mesh.policy.resolve import REGISTRY, SUPERVISOR
from mesh.transport.pool import Pool

ROUNDS = 3
CALL_LIMIT = 1.0
DIAL_LIMIT = 1.5

Row = dict[str, Any]


class Reach:
    """Asks every other host, and the registry, from one host; `registry` gives where that one is looked for."""

    def __init__(self, config: MeshConfig, name: str, pool: Pool, client: Client, clock: Clock,
                 registry: Callable[[], str]) -> None:
        self._config = config
        self._name = name
        self._pool = pool
        self._client = client
        self._clock = clock
        self._registry = registry

    async def rows(self) -> list[Row]:
        """Return a row for every other configured host, and one for the registry; takes 3 s at most.

        `link` is the link's state, `rtt_ms` the shortest of three round trips and `ahead_s` by how much the other's
        clock is ahead, both None without one; `dialled` is what a TCP connect found where there is none.
        """
        return list(await asyncio.gather(
            *(self._row(host.name, endpoint(host.address, host.port), host.address, host.port)
              for host in self._config.hosts.values() if host.name != self._name),
            self._row(REGISTRY, self._registry(), self._config.hosts[self._config.registry.host].address,
                      self._config.registry.port),
        ))

    async def _row(self, peer: str, at: str, address: str, port: int) -> Row:
        link = self._pool.links.get(peer)
        row: Row = {"host": peer, "from": self._name, "endpoint": at, "port": port,
                    "link": "none" if link is None else link.state, "reason": "" if link is None else link.reason,
                    "rtt_ms": None, "ahead_s": None, "dialled": None}
        if link is not None and link.state == "up":
            await self._measure(peer, row)
        if row["rtt_ms"] is None:
            row["dialled"] = await dial(address, port)
        return row

    async def _measure(self, peer: str, row: Row) -> None:
        """Add the shortest round trip and what the other's clock said in the middle of it."""
        target = f"{REGISTRY}.status" if peer == REGISTRY else f"{SUPERVISOR}.clock"
        best: float | None = None
        for _ in range(ROUNDS):
            began, wall = self._clock.monotonic(), self._clock.time()
            try:
                answer = await self._client.request(target, {}, CALL_LIMIT, to_host=None if peer == REGISTRY else peer)
            except MeshError as error:
                row["reason"] = error.message
                return
            seconds = self._clock.monotonic() - began
            if best is None or seconds < best:
                best = seconds
                row["rtt_ms"] = round(seconds * 1000, 2)
                if isinstance(answer, dict) and "time" in answer:
                    row["ahead_s"] = round(answer["time"] - wall - seconds / 2, 4)


async def dial(address: str, port: int, limit: float = DIAL_LIMIT) -> str:
    """Return what a TCP connect finds: `open`, `closed` (nothing listens), `silent` (no answer in time), or words."""
    try:
        async with asyncio.timeout(limit):
            _, writer = await asyncio.open_connection(address, port)
    except TimeoutError:
        return "silent"
    except ConnectionRefusedError:
        return "closed"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return "open"
