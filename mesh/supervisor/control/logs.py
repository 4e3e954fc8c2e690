"""The logs of a host, as they lie on its disk."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from mesh.address import nearest
from mesh.agent.operation import operation
from mesh.errors import InvalidArgument
from mesh.supervisor.control.ruled import Family
from mesh.supervisor.showing.logbook import LEVELS, Wanted


class Logs(Family):
    """Reading, by pages of bounded size; a thread does it, so that a slow disk holds up no call."""

    @operation(idempotent=True)
    async def logs(
        self, cursor: dict[str, list[Any]] | None = None, service: str | None = None, trace: str | None = None,
        level: str | None = None, since: float | None = None, limit: int = 1000,
    ) -> dict[str, Any]:
        """The lines after a cursor (all for {}); without one the last `limit`. `now` is this host's time."""
        wanted = Wanted(service, trace, _level(level), since)
        book, now = self._ruled.logbook, self._ruled.clock.time()
        if cursor is None:
            page = await asyncio.to_thread(book.latest, wanted, limit)
        else:
            page = await asyncio.to_thread(book.after, _checked(cursor), wanted, limit)
        return {**asdict(page), "now": now}


def _level(name: str | None) -> str | None:
    if name is None or name in LEVELS:
        return name
    like = nearest(name, LEVELS)
    raise InvalidArgument(f"level is {name!r}{f', did you mean {like}?' if like else ''}; there are "
                          f"{', '.join(LEVELS)}", path="level")


def _checked(cursor: dict[str, list[Any]]) -> dict[str, list[Any]]:
    for place in cursor.values():
        match place:
            case [str(), int(offset)] if offset >= 0:
                continue
        raise InvalidArgument("cursor is none that this operation returned", path="cursor")
    return cursor
