"""How a change of configuration reaches the cells of a host: as gently as what changed allows.

The instances of a service follow one after another. What only the cell reads (`limits`, `restart`, `restarts`) counts
at once. Settings are handed to the agent's `on_config`; an agent without it, or another isolation, is renewed, which
loses no call. Whoever refuses the change by an error stays as it was.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mesh.config import AgentSpec
from mesh.errorbus import kind_of
from mesh.errors import ConfigError
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cell.runner import AgentExit
from mesh.supervisor.roster import Roster

Position = tuple[int, int]
How = Literal["unchanged", "live", "restarted", "later", "refused"]
GREATEST: tuple[How, ...] = ("refused", "restarted", "later", "live", "unchanged")
"""What is said of a service when a change did this to one of its instances and that to another."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What a change did to a cell, or to those of a service; one that is stopped takes it `later`, at its next start.
    """

    how: How
    reason: str = ""


class Adjustments:
    """Brings the cells of each service to its configuration in force, one change at a time.

    `in_force` returns it and may raise `ConfigError`, `wanted` tells whether the operator wants a cell to run, `scale`
    brings their number to that of a spec and returns the new ones, and `position` is the epoch and revision of the
    table that all of this is read from.
    """

    def __init__(
        self, roster: Roster, in_force: Callable[[str], AgentSpec], wanted: Callable[[Cell], bool],
        scale: Callable[[AgentSpec], Awaitable[Sequence[Cell]]], position: Callable[[], Position],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._roster = roster
        self._in_force = in_force
        self._wanted = wanted
        self._scale = scale
        self._position = position
        self._spawn = spawn
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._due: set[str] = set()
        self._last: dict[str, tuple[Position, Adjustment]] = {}

    def follow(self, service: str) -> None:
        """Adjust a service some time soon; once, however often this is asked before."""
        if self._roster.of(service) and service not in self._due:
            self._due.add(service)
            self._spawn(self._follow(service))

    async def _follow(self, service: str) -> None:
        async with self._turns[service]:
            if service in self._due:
                await self._adjust(service)

    async def adjust(self, service: str, since: Position) -> Adjustment:
        """Bring a service to its configuration in force; returns what that did, or has done `since` a revision."""
        async with self._turns[service]:
            position, done = self._last.get(service, ((0, 0), Adjustment("unchanged")))
            return done if position >= since and service not in self._due else await self._adjust(service)

    async def again(self, service: str) -> Adjustment:
        """Bring a service to its configuration in force, which the files have changed."""
        self._due.add(service)
        return await self.adjust(service, (0, 0))

    async def _adjust(self, service: str) -> Adjustment:
        self._due.discard(service)
        position = self._position()
        try:
            done = await self._all_adjusted(service, self._in_force(service))
        except ConfigError as error:
            done = self._refused(self._roster.of(service)[0], error)
        self._last[service] = (position, done)
        return done

    async def _all_adjusted(self, service: str, fresh: AgentSpec) -> Adjustment:
        """Bring the instances to `fresh` one after another, until one refuses; then bring their number to it."""
        done: list[Adjustment] = []
        for cell in self._roster.of(service):
            done.append(await self._adjusted(cell, fresh))
            if done[-1].how == "refused":
                return done[-1]
        before = len(self._roster.of(service))
        started = await self._scale(fresh)
        if started or len(self._roster.of(service)) != before:
            down = [f"{cell.name} is {cell.state}: {cell.lifecycle.reason}" for cell in started
                    if self._wanted(cell) and not cell.state.serving]
            done.append(Adjustment("live", "; ".join(down)))
        return min(done, key=lambda one: (GREATEST.index(one.how), not one.reason), default=Adjustment("unchanged"))

    async def _adjusted(self, cell: Cell, fresh: AgentSpec) -> Adjustment:
        now = cell.spec
        if _parts(now) == _parts(fresh):
            cell.resize(fresh)  # only where its values come from is another
            return Adjustment("unchanged")
        if cell.at_rest:
            cell.resize(fresh)
            return Adjustment("later")
        if not cell.state.serving:
            return await self._started_anew(cell, fresh)
        try:
            stays = fresh.isolation in (now.isolation, cell.isolation)  # an operator may have moved it there already
            if now.settings == fresh.settings and stays:
                cell.resize(fresh)
                return Adjustment("live")
            if stays and await cell.reconfigure(fresh):
                return Adjustment("live")
            await cell.renew(fresh)
            return Adjustment("restarted")
        except AgentExit as error:
            cell.crash(error)
            return Adjustment("refused", f"AgentExit: {error}")
        except Exception as error:  # the agent's own code: whatever it raises is its refusal
            return self._refused(cell, error)

    async def _started_anew(self, cell: Cell, fresh: AgentSpec) -> Adjustment:
        """Stop and start a cell that does not serve; nobody's call can be lost by that."""
        await cell.stop("its settings have changed")
        cell.resize(fresh)
        if not self._wanted(cell):
            return Adjustment("later")
        cell.launch(by_operator=True)
        await cell.settled.wait()
        # one that did not run before may need a second change as well: it keeps this one
        return Adjustment("restarted", "" if cell.state.serving else f"it is {cell.state}: {cell.lifecycle.reason}")

    def _refused(self, cell: Cell, error: Exception) -> Adjustment:
        text = str(error) if isinstance(error, ConfigError) else f"{kind_of(error)}: {error}"
        cell.say(f"its new configuration was refused, the old one stays in force: {text}")
        return Adjustment("refused", text)


def _parts(spec: AgentSpec) -> tuple[Any, ...]:
    """Return what counts of a spec for an agent that runs."""
    return spec.settings, spec.limits, spec.restart, spec.restarts, spec.policies, spec.isolation
