"""New code of an agent beside the old, under a name of its own: `nlu:v2` is called by who asks for it, and no one else.

It shares config, folder and saved state with its service, hears no events, and is gone when it is stopped or its host
is; `promote` puts its code in the place of the old.
"""

from __future__ import annotations

from collections.abc import Sequence

from mesh.address import split_version, version_name
from mesh.errors import InvalidArgument, RemoteFailure
from mesh.supervisor.adjusting.editions import Editions, Reloaded
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cells import Cells


class Versions:
    """The versions that run beside services of one host."""

    def __init__(self, host: str, cells: Cells, editions: Editions) -> None:
        self._host = host
        self._cells = cells
        self._editions = editions

    async def begin(self, service: str, version: str) -> Cell:
        """Start the code on disk as a version beside a service; one that does not come up is gone again.

        Raises `InvalidArgument` for a name that is none or taken, `RemoteFailure` with what it failed with.
        """
        name = version_name(service, version)
        if self._cells.roster.of(name):
            raise InvalidArgument(f"{name} runs on {self._host} already; `mesh agent promote {name}` puts it in the "
                                  f"place of {service}, `mesh agent stop {name}` ends it", path="version")
        return await self._editions.fresh(self._cells.filed(service).file, lambda: self._begun(name))

    async def _begun(self, name: str) -> Cell:
        cell = self._cells.add_version(name)
        cell.launch()
        await cell.settled.wait()
        if cell.state.serving:
            return cell
        failure = cell.last_error or cell.lifecycle.reason
        await self._cells.remove(name)
        raise RemoteFailure(f"{name} did not come up on {self._host} and is gone again: {failure}", type="StartError")

    async def promote(self, name: str, *, force: bool) -> tuple[Sequence[Cell], Reloaded]:
        """Put the code of a version in the place of its service's; no call is lost, and the version is gone then.

        Whatever fails leaves both as they are. Raises `InvalidArgument` for what is no version here.
        """
        service, version = split_version(name)
        found = self._cells.roster.of(name)
        if not version or not found:
            raise InvalidArgument(f"{name} is no version that runs on {self._host}; "
                                  f"`mesh agent reload {service} --as v2` starts one", path="service")
        cells, chosen, cut = self._cells.roster.of(service), found[0], 0
        for cell in cells:
            done = await self._editions.take(cell, chosen.tenure.edition, force=force, version=chosen.offer.version)
            cut += done.cut
            if not done.taken:
                return cells, done
        await self._cells.remove(name)
        return cells, Reloaded(True, done.how, cut, done.breaks)
