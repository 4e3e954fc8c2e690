"""What changes about an agent while it serves: new settings, a new agent in its place, another place to run.

A new agent is set up beside the old one, which serves until the moment in which all calls and events go to the new
one, and then finishes what it has begun: nobody waits, and whoever fails to come up was never called. What cannot be
there twice comes after the old one has ended; calls wait meanwhile, and the old one is started again if it fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mesh.config import AgentSpec, Isolation
from mesh.errorbus import kind_of
from mesh.errors import RemoteFailure, StartError, Unavailable
from mesh.supervisor.cell.house import House
from mesh.supervisor.cell.life import Life
from mesh.supervisor.cell.loader import Edition
from mesh.supervisor.cell.tenancy import Offer, Tenancy
from mesh.supervisor.cell.tenure import Moved, Tenure


@dataclass(frozen=True, slots=True)
class Renewed:
    """How a new agent took the place of the old one, and how many calls and streams of the old were cut short."""

    how: Literal["beside", "after"]
    cut: int = 0


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The agent that shall be: of a new `edition` it must be as well as the one before, which `judge` may refuse."""

    spec: AgentSpec
    moved: Moved
    edition: Edition
    renewed: bool
    judge: Callable[[Offer], None]


class Renewal:
    """Changes the agent of a tenure under a life that goes on; one change at a time."""

    def __init__(self, tenure: Tenure, life: Life, house: House) -> None:
        self._tenure = tenure
        self._life = life
        self._house = house
        self._running: asyncio.Task[Renewed] | None = None

    async def reconfigure(self, spec: AgentSpec) -> bool:
        """Hand the settings of `spec` to the running agent; returns False if it must start anew for them.

        Raises what the agent refuses them with; its settings are then as they were.
        """
        tenure = self._tenure
        async with self._life.turn:
            if tenure.tenancy is None or not self._life.serving:
                return False
            work = tenure.tenancy.reconfigure(spec.settings)
            if not await tenure.timed(work, tenure.spec, tenure.tenancy, "on_config()"):
                return False
            tenure.resize(spec)
            return True

    async def renew(
        self, spec: AgentSpec, *, edition: Edition | None = None, judge: Callable[[Offer], None] = lambda offer: None
    ) -> Renewed:
        """Put a new agent of `spec` in the place of the one that runs; no call is lost.

        With an `edition` its code is new, too. Raises what it fails with, or what `judge` raises when it is shown what
        the new one offers: the old one goes on.
        """
        tenure = self._tenure
        moved = tenure.moved if spec.isolation == tenure.spec.isolation else None
        return await self._replace(_Wanted(spec, moved, edition or tenure.edition, edition is not None, judge))

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
                await self._replace(_Wanted(tenure.spec, moved, tenure.edition, False, lambda offer: None))
            except Exception as error:  # the agent's own code, in part
                raise RemoteFailure(f"{tenure.name} did not come up as a {goal} and goes on as a "
                                    f"{tenure.isolation}: {kind_of(error)}: {error}", type=kind_of(error)) from error
        else:
            tenure.moved = moved
        self._house.changed(tenure.name)

    def cancel(self) -> None:
        """Break off what is under way, for the agent is to stop."""
        if self._running is not None:
            self._running.cancel()

    async def _replace(self, wanted: _Wanted) -> Renewed:
        self._running = self._tenure.task(self._renewed(wanted))
        self._running.add_done_callback(self._over)
        return await asyncio.shield(self._running)

    def _over(self, done: asyncio.Task[Renewed]) -> None:
        if self._running is done:
            self._running = None
        if not done.cancelled():
            done.exception()  # whoever asked may be gone

    async def _renewed(self, wanted: _Wanted) -> Renewed:
        tenure = self._tenure
        async with self._life.turn:
            if not self._life.serving:
                raise self._away()
            before, tenure.moved = tenure.moved, wanted.moved
            incarnation = self._house.next_incarnation()
            try:
                tenancy = tenure.make(wanted.spec, incarnation, wanted.edition)
                offer = await tenure.loaded(wanted.spec, tenancy)
                await self._judged(wanted, tenancy, offer)
                if wanted.spec.reload == "after" or (wanted.spec.reload == "auto" and offer.single):
                    return await self._after(wanted, incarnation, tenancy, offer, before)
                return await self._beside(wanted, incarnation, tenancy, offer)
            except BaseException:
                if tenure.incarnation != incarnation:
                    tenure.moved = before
                raise

    async def _judged(self, wanted: _Wanted, tenancy: Tenancy, offer: Offer) -> None:
        try:
            wanted.judge(offer)
        except BaseException:
            await tenancy.close()
            raise

    # -- beside the one that serves

    async def _beside(self, wanted: _Wanted, incarnation: int, tenancy: Tenancy, offer: Offer) -> Renewed:
        tenure = self._tenure
        await tenure.set_up(wanted.spec, tenancy)
        try:
            reason = await self._as_well(wanted, tenancy)
            if not self._life.serving:  # the old one crashed meanwhile
                raise self._away()
        except BaseException:
            await tenancy.close()
            raise
        before = tenure.take_over(wanted.spec, incarnation, tenancy, offer)
        tenure.edition, tenure.own_reason = wanted.edition, reason
        leaving = None if before is None else tenure.dismiss(before)
        self._life.serve()
        self._house.changed(tenure.name)
        return Renewed("beside", 0 if leaving is None else await asyncio.shield(leaving))

    async def _as_well(self, wanted: _Wanted, tenancy: Tenancy) -> str | None:
        """Ask a new agent how it is; raises `StartError` if new code is not well in the place of one that was."""
        reason = await self._tenure.asked(tenancy)
        if reason and wanted.renewed and not self._tenure.own_reason:
            raise StartError(f"its first check() says: {reason}")
        return reason

    # -- after it

    async def _after(
        self, wanted: _Wanted, incarnation: int, tenancy: Tenancy, offer: Offer, before: Moved
    ) -> Renewed:
        tenure, old = self._tenure, self._tenure.spec
        tenure.moving = True
        tenure.inbox.hold()
        try:
            cut = await tenure.vacate()
            if not self._life.serving:  # it crashed meanwhile
                await tenancy.close()
                raise self._away()
            try:
                await tenure.set_up(wanted.spec, tenancy)
                reason = await self._checked(wanted, tenancy)
            except Exception:
                tenure.moved = before
                await self._move_back(old)
                raise
            tenure.take_over(wanted.spec, incarnation, tenancy, offer)
            tenure.edition, tenure.own_reason = wanted.edition, reason
            return Renewed("after", cut)
        finally:
            if tenure.moving:
                tenure.resize(tenure.spec)
                self._life.serve()
                self._house.changed(tenure.name)

    async def _checked(self, wanted: _Wanted, tenancy: Tenancy) -> str | None:
        try:
            return await self._as_well(wanted, tenancy)
        except BaseException:
            await tenancy.close()
            raise

    async def _move_back(self, old: AgentSpec) -> None:
        """Start the agent again as it was; if it does not start any more, that is a crash like any other."""
        tenure = self._tenure
        incarnation = self._house.next_incarnation()
        try:
            tenancy = tenure.make(old, incarnation)
            offer = await tenure.loaded(old, tenancy)
            await tenure.set_up(old, tenancy)
            tenure.take_over(old, incarnation, tenancy, offer)
            await tenure.examine()
        except Exception as error:
            self._life.crash(error)

    def _away(self) -> Unavailable:
        return Unavailable(f"{self._tenure.name} is {self._life.state}: {self._life.lifecycle.reason}",
                           retry_after=1.0)
