"""Trying the port of a host whose heartbeat link is lost: a refused connection proves that nobody lives there.

libzmq does not say why a connection could not be made, so this is a plain TCP one. Anything but a refusal (it answers,
or nothing comes back) proves nothing: a frozen process still has a port.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable

from mesh.clock import Clock
from mesh.records import HostRecord

LIMIT = 0.5
"""Seconds a probe waits; a refusal comes within one round trip."""
AGAIN = 0.5
"""Seconds between two probes of a host: a port may close a moment after the link did."""


class Probes:
    """Probes under way, one per host; `refused` is told name and incarnation of whom nobody answers for."""

    def __init__(self, refused: Callable[[str, int], None], clock: Clock) -> None:
        self._refused = refused
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._next: dict[tuple[str, int], float] = {}

    @property
    def under_way(self) -> int:
        """How many probes wait for an answer."""
        return len(self._tasks)

    def probe(self, lost: Iterable[HostRecord]) -> None:
        """Begin a probe of each lost host that is due for one; call it when a link is lost and now and then."""
        now = self._clock.monotonic()
        records = {(record.name, record.incarnation): record for record in lost}
        self._next = {key: moment for key, moment in self._next.items() if key in records}
        for key, record in records.items():
            if record.name not in self._tasks and now >= self._next.get(key, now):
                self._next[key] = now + AGAIN
                self._tasks[record.name] = asyncio.get_running_loop().create_task(self._try(record))

    async def close(self) -> None:
        """Give up every probe."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _try(self, record: HostRecord) -> None:
        try:
            if await refuses(record.address, record.port):
                self._refused(record.name, record.incarnation)
        finally:
            del self._tasks[record.name]


async def refuses(address: str, port: int) -> bool:
    """Tell whether a connection to `address` is refused."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as trial:
        trial.setblocking(False)
        try:
            async with asyncio.timeout(LIMIT):
                await asyncio.get_running_loop().sock_connect(trial, (address, port))
        except ConnectionRefusedError:
            return True
        except OSError:  # no route, no name, no answer in time
            return False
    return False
