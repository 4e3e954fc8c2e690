"""`mesh up --watch`: agents whose files were saved are replaced by new ones, while the author goes on writing.

What does not load leaves the agent that runs as it was; what loads and does not come up makes room for it again. New,
changed and removed files of `config/agents` are followed as well. For development only.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter
from typing import Any

from mesh.clock import Clock
from mesh.config import MeshConfig, load
from mesh.errorbus import Passed
from mesh.errors import ConfigError, LoadError, MeshError
from mesh.supervisor.adjusting.editions import Judge
from mesh.supervisor.adjusting.saves import Saves
from mesh.supervisor.adjusting.sources import Sources, Stamp, stamp
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cell.house import Report
from mesh.supervisor.cell.loader import forget
from mesh.supervisor.cells import Cells

EVERY = 0.25

log = logging.getLogger("mesh.supervisor")

Tell = Callable[[dict[str, Any]], None]


class Reload:
    """Looks at the files of one host's agents, and has its cells follow them."""

    def __init__(
        self, config: MeshConfig, host: str, cells: Cells, *, clock: Clock, report: Report, tell: Tell
    ) -> None:
        self._root = config.root
        self._environment = config.environment
        self._hosts_file = config.root / "config" / "hosts.yaml"
        self._agents = config.root / "config" / "agents"
        self._host = host
        self._cells = cells
        self._clock = clock
        self._report = report
        self._tell = tell
        self._sources = Sources(config.root / "agents")
        self._saves = Saves()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                seen = await asyncio.to_thread(self._look)
                saved = self._saves.look(seen, self._clock.monotonic())
                if saved:
                    await self._follow(saved)
            except Exception as error:  # one odd file must not end the watch
                log.exception("a look at the agents' files failed")
                self._report(error, severity="error", service="supervisor", operation="watch")
            await self._clock.sleep(EVERY)

    def _look(self) -> dict[Path, Stamp | None]:
        """Return the stamp of every file that counts."""
        files = {self._hosts_file, *self._agents.glob("*.yaml")}
        for cell in list(self._cells.roster.by_name.values()):
            files |= self._sources.of(cell.spec.file)
        return {file: stamp(file) for file in files}

    async def _follow(self, saved: set[Path]) -> None:
        if self._hosts_file in saved:
            self._say("config/hosts.yaml was saved: what it says counts after `mesh up` was started anew")
        new: set[str] = set()
        if any(file.parent == self._agents for file in saved):
            new = await self._follow_config()
        made_of = {name: self._sources.of(cell.spec.file) for name, cell in self._cells.roster.by_name.items()}
        touched = [name for name, files in made_of.items() if files & saved and name.partition("#")[0] not in new]
        if touched:
            await self._renew_all(touched, saved, self._stale(made_of.values(), saved))

    def _stale(self, made_of: Iterable[frozenset[Path]], saved: set[Path]) -> set[Path]:
        """Return the files that were saved, and those that are made of them."""
        return {file for files in made_of for file in files if self._sources.of(file) & saved}

    # -- code

    async def _renew_all(self, names: list[str], saved: set[Path], stale: set[Path]) -> None:
        forgotten = await asyncio.to_thread(forget, stale)
        for name in names:
            cell = self._cells.roster.by_name[name]
            began = perf_counter()
            why = ", ".join(sorted(self._below(file) for file in self._sources.of(cell.spec.file) & saved))
            try:
                if not await self._renewed(cell):
                    continue
            except Exception as error:
                self._complain(cell, error, why)
            else:
                self._say(f"{name} was loaded anew in {perf_counter() - began:.2f} s: {why} was saved", cell.service)
        forgotten.keep_importable()

    async def _renewed(self, cell: Cell) -> bool:
        """Have a new agent in the place of the old, or start one that failed; returns False for one that is stopped."""
        edition = cell.tenure.edition.next()
        if cell.state.serving:
            judge = Judge(cell, forced=True)
            await cell.renew(cell.spec, edition=edition, judge=judge)
            for each in judge.found:
                self._say(f"{cell.service}.{each.operation} {each.message}: that breaks who calls it so", cell.service,
                          "reloaded")
            return True
        cell.tenure.edition = edition
        if cell.at_rest:
            return False
        await cell.stop("its file was saved")
        cell.launch(by_operator=True)
        await cell.settled.wait()
        if not cell.state.serving:
            raise LoadError(cell.last_error or cell.lifecycle.reason)
        return True

    def _complain(self, cell: Cell, error: Exception, why: str) -> None:
        """Say what is wrong with a save, with file and line, on the terminal and on the error bus."""
        place = "" if isinstance(error, (LoadError, ConfigError)) else self._place(error)
        kind = "" if isinstance(error, MeshError) else f"{type(error).__name__}: "
        rest = "goes on as it was" if cell.state.serving else f"is {cell.state}; the next save starts it again"
        text = f"{cell.name} {rest}: {why} was saved, but {place}{kind}{error}"
        self._say(text, cell.service, "not_reloaded")
        self._report(error, severity="error", service=cell.service, operation="reload", decision=rest)

    def _place(self, error: Exception) -> str:
        """Return the last line of the project that an error passed, as `agents/mainpc/notes.py:12: `."""
        if isinstance(error, Passed):
            return ""
        passed = [frame for frame in traceback.extract_tb(error.__traceback__)
                  if Path(frame.filename).is_relative_to(self._root / "agents")]
        return f"{self._below(Path(passed[-1].filename))}:{passed[-1].lineno}: " if passed else ""

    # -- config

    async def _follow_config(self) -> set[str]:
        """Have the cells follow the agent files; returns the services that are new or were replaced for it."""
        try:
            config = await asyncio.to_thread(load, self._root, environment=self._environment)
        except ConfigError as error:
            self._say(f"the agents go on as they were: {error}", event="not_reloaded")
            self._report(error, severity="error", service="supervisor", operation="reload")
            return set()
        before = {service: self._cells.roster.of(service)[0] for service in self._cells.roster.services()}
        self._cells.take(config)
        here = config.on(self._host)
        for service in sorted(before.keys() - here.keys()):
            await self._cells.remove(service)
            self._say(f"{service} was stopped: it is not configured here any more", service)
        for service in sorted(here.keys() - before.keys()):
            await self._added(service)
        replaced = [service for service in sorted(here.keys() & before.keys())
                    if (before[service].spec.file, before[service].spec.class_name)
                    != (here[service].file, here[service].class_name)]
        for service in sorted(here.keys() & before.keys()):
            await (self._replaced(service) if service in replaced else self._adjusted(service))
        return {*replaced, *(here.keys() - before.keys())}

    async def _added(self, service: str) -> None:
        cells = self._cells.add(service)
        await asyncio.gather(*(cell.settled.wait() for cell in cells))
        cell = min(cells, key=lambda cell: cell.state.serving)
        if cell.state.serving:
            self._say(f"{service} is new and {cell.state}", service)
        else:
            self._say(f"{service} is new and {cell.state}: {cell.last_error or cell.lifecycle.reason}", service,
                      "not_reloaded")

    async def _replaced(self, service: str) -> None:
        fresh = self._cells.in_force(service)
        try:
            for cell in self._cells.roster.of(service):
                if cell.state.serving:
                    await cell.renew(fresh)
                else:
                    cell.resize(fresh)
                    await self._renewed(cell)
            await self._cells.scale(fresh)
        except Exception as error:
            self._complain(cell, error, f"config/agents/{service}.yaml")
        else:
            self._say(f"{service} is {fresh.class_name} of {self._below(fresh.file)} now", service)

    async def _adjusted(self, service: str) -> None:
        done = await self._cells.adjustments.again(service)
        if done.how == "refused":
            self._say(f"{service} goes on with its old settings: {done.reason}", service, "not_reloaded")
        elif done.how != "unchanged":
            self._say(f"{service} has taken its new configuration over ({done.how})", service)

    # -- told

    def _below(self, file: Path) -> str:
        return str(file.relative_to(self._root)) if file.is_relative_to(self._root) else str(file)

    def _say(self, text: str, service: str = "", event: str = "reloaded") -> None:
        log.log(logging.INFO if event == "reloaded" else logging.WARNING, "%s", text)
        self._tell({"event": event, "host": self._host, "service": service, "message": text})
