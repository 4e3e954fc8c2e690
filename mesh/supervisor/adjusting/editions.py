"""New code for one agent of a host, read from disk while its old code serves: `mesh agent reload`.

What the new code would break for its callers is found before any of it runs; who does not want that keeps the old.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mesh.agent.compatibility import Break, breaks
from mesh.errorbus import kind_of
from mesh.errors import ConfigError, LoadError, MeshError
from mesh.supervisor.adjusting.sources import Sources
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cell.house import Report
from mesh.supervisor.cell.loader import Edition, Forgotten, forget
from mesh.supervisor.cell.tenancy import Offer

T = TypeVar("T")

TOPIC = "agent.reloaded"
GOES_ON = "the old code goes on"


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What came of a reload: whether the new code is `taken`, what it breaks, and why it is not taken.

    `how` says where the new agent was set up, `beside` the old one or `after` it; it is empty for one that does not
    run. `cut` counts calls and streams of the old one that did not end in time.
    """

    taken: bool
    how: str = ""
    cut: int = 0
    breaks: tuple[Break, ...] = ()
    failure: str | None = None

    def row(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"taken": self.taken, "how": self.how, "cut": self.cut, "failure": self.failure,
                "breaks": [each.row() for each in self.breaks]}


class _Broken(Exception):
    """The new code would break callers, and nobody said that it may."""


@dataclass(slots=True)
class Judge:
    """Compares what new code offers with what the old one does; `found` is what callers lose.

    Unless it is `forced`, new code that breaks somebody is refused; other code than that of `version` always is.
    """

    cell: Cell
    forced: bool
    version: str | None = None
    found: list[Break] = field(default_factory=list)

    def __call__(self, offer: Offer) -> None:
        """Look at what new code offers."""
        if self.version not in (None, offer.version):
            raise LoadError(f"{self.cell.spec.file.name} was changed since that version was started, and a process "
                            "loads what is there now; end it and begin it anew")
        old = {name: one.describe() for name, one in self.cell.offer.operations.items()}
        self.found = breaks(old, {name: one.describe() for name, one in offer.operations.items()})
        if self.found and not self.forced:
            raise _Broken


class Editions:
    """Reloads the agents of one host, one at a time; `agents` is the folder of the agent folders."""

    def __init__(
        self, host: str, agents: Path, report: Report, publish: Callable[[str, Any, str], None]
    ) -> None:
        self._host = host
        self._sources = Sources(agents)
        self._report = report
        self._publish = publish
        self._turn = asyncio.Lock()

    async def reload(self, cell: Cell, *, force: bool) -> Reloaded:
        """Put an agent of the code on disk in the place of the one that runs; whatever it fails with, that goes on.

        One that failed is started with it, one that is stopped takes it at its next start.
        """
        return await self.fresh(cell.spec.file, lambda: self.take(cell, cell.tenure.edition.next(), force=force))

    async def fresh(self, file: Path, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` does, which finds the code of `file` as it is on disk now."""
        async with self._turn:
            forgotten = await asyncio.to_thread(self._forget, file)
            try:
                return await work()
            finally:
                forgotten.keep_importable()

    async def take(self, cell: Cell, edition: Edition, *, force: bool, version: str | None = None) -> Reloaded:
        """Put an agent of an edition in the place of the one that runs, as `reload` does it; only if it is `version`.
        """
        done = await self._taken(cell, edition, Judge(cell, force, version))
        if done.taken:
            self._publish(TOPIC, {"service": cell.service, "host": self._host, "version": cell.offer.version,
                                  "how": done.how, "cut": done.cut}, f"supervisor@{self._host}")
        return done

    def _forget(self, file: Path) -> Forgotten:
        return forget(self._sources.of(file))

    async def _taken(self, cell: Cell, edition: Edition, judge: Judge) -> Reloaded:
        if not cell.state.serving:
            cell.tenure.edition = edition
            return Reloaded(True) if cell.at_rest else await self._started(cell)
        try:
            renewed = await cell.renew(cell.spec, edition=edition, judge=judge)
        except _Broken:
            return Reloaded(False, breaks=tuple(judge.found), failure="it would break its callers")
        except Exception as error:  # the agent's own code: whatever it raises is why it does not come up
            self._report(error, severity="error", service=cell.service, operation="reload", decision=GOES_ON)
            return Reloaded(False, breaks=tuple(judge.found), failure=_told(error))
        cell.life.note(f"reloaded: the new code was set up {renewed.how} the old")
        return Reloaded(True, renewed.how, renewed.cut, tuple(judge.found))

    async def _started(self, cell: Cell) -> Reloaded:
        """Start an agent that does not serve with its new code."""
        await cell.stop("its code is read anew")
        cell.launch(by_operator=True)
        await cell.settled.wait()
        return Reloaded(True) if cell.state.serving else Reloaded(False, failure=cell.last_error)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, (LoadError, ConfigError)) or (
        isinstance(error, MeshError) and not error.code) else f"{kind_of(error)}: {error}"
