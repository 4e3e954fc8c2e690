"""What changes about an agent while it serves: new settings, a new agent in its place, another place to run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mesh.config import AgentSpec, Isolation
from mesh.errorbus import kind_of
from mesh.errors import RemoteFailure, Unavailable
from mesh.supervisor.cell.house import House
from mesh.supervisor.cell.life import Life
from mesh.supervisor.cell.tenure import Moved, Tenure, ending

Before = tuple[AgentSpec, Moved]


class Renewal:
    """Changes the agent of a tenure under a life that goes on; one change at a time."""

    def __init__(self, tenure: Tenure, life: Life, house: House) -> None:
        self._tenure = tenure
        self._life = life
        self._house = house
        self._running: asyncio.Task[None] | None = None

    async def reconfigure(self, spec: AgentSpec) -> bool:
        """Hand the settings of `spec` to the running agent; returns False if it must start anew for them.

        Raises what the agent refuses them with; its settings are then as they were.
        """
        tenure = self._tenure
        async with self._life.turn:
            if tenure.tenancy is None or not self._life.serving:
                return False
            async with tenure.within(tenure.spec.limits.start_s, "on_config()"):
                if not await tenure.tenancy.reconfigure(spec.settings):
                    return False
            tenure.resize(spec)
            return True

    async def renew(self, spec: AgentSpec, *, undo: Callable[[], None] = lambda: None) -> None:
        """Put a new agent of `spec` in the place of the one that runs; no call is lost.

        Calls that run have `stop_s`, those that come meanwhile wait. Raises what the new one fails with: the old one
        goes on if the new one does not load; it is started again, after `undo`, if only its setup fails.
        """
        tenure = self._tenure
        await self._replace(spec, tenure.moved if spec.isolation == tenure.spec.isolation else None, undo)

    async def isolate(self, isolation: Isolation, reason: str) -> None:
        """Have the agent run elsewhere from now on, as `renew` does it; one that does not run, from its next start.

        Raises `RemoteFailure` if it does not come up there; it goes on where it was.
        """
        tenure = self._tenure
        tenure.allow(isolation)
        moved = None if isolation == tenure.spec.isolation else (isolation, reason)
        goal = "coroutine" if isolation == "auto" else isolation
        if self._life.serving and goal != tenure.runs_as:
            try:
                await self._replace(tenure.spec, moved)
            except Exception as error:  # the agent's own code, in part
                raise RemoteFailure(f"{tenure.service} did not come up as a {goal} and goes on as a "
                                    f"{tenure.isolation}: {kind_of(error)}: {error}", type=kind_of(error)) from error
        else:
            tenure.moved = moved
        self._house.changed(tenure.service)

    def cancel(self) -> None:
        """Break off what is under way, for the agent is to stop."""
        if self._running is not None:
            self._running.cancel()

    async def _replace(self, spec: AgentSpec, moved: Moved, undo: Callable[[], None] = lambda: None) -> None:
        self._running = self._tenure.task(self._renewed(spec, moved, undo))
        self._running.add_done_callback(self._over)
        await asyncio.shield(self._running)

    def _over(self, done: asyncio.Task[None]) -> None:
        if self._running is done:
            self._running = None
        if not done.cancelled():
            done.exception()  # whoever asked may be gone

    async def _renewed(self, spec: AgentSpec, moved: Moved, undo: Callable[[], None]) -> None:
        tenure = self._tenure
        async with self._life.turn:
            if not self._life.serving:
                raise self._away()
            before = tenure.spec, tenure.moved
            tenure.moved = moved
            try:
                await self._replaced(spec, undo, before)
            finally:
                if tenure.moving:
                    tenure.resize(tenure.spec)
                    self._life.serve()
                    self._house.changed(tenure.service)

    async def _replaced(self, spec: AgentSpec, undo: Callable[[], None], before: Before) -> None:
        tenure = self._tenure
        incarnation = self._house.next_incarnation()
        tenancy = tenure.make(spec, incarnation)
        try:
            offer = await tenure.loaded(spec, tenancy)
        except BaseException:
            tenure.moved = before[1]
            raise
        tenure.moving = True
        tenure.inbox.hold()
        await tenure.drain(ending(f"{tenure.service} is replaced by a new one"))
        if not self._life.serving:  # it crashed meanwhile
            await tenancy.close()
            raise self._away()
        await tenure.close()
        try:
            await tenure.move_in(spec, incarnation, tenancy, offer)
        except Exception:
            tenure.moved = before[1]
            undo()
            await self._move_back(before[0])
            raise

    async def _move_back(self, old: AgentSpec) -> None:
        """Start the agent again as it was; if it does not start any more, that is a crash like any other."""
        tenure = self._tenure
        incarnation = self._house.next_incarnation()
        try:
            tenancy = tenure.make(old, incarnation)
            await tenure.move_in(old, incarnation, tenancy, await tenure.loaded(old, tenancy))
        except Exception as error:
            self._life.crash(error)

    def _away(self) -> Unavailable:
        return Unavailable(f"{self._tenure.service} is {self._life.state}: {self._life.lifecycle.reason}",
                           retry_after=1.0)
