"""The agent that a cell holds: how it is brought up, asked how it is, drained and taken down.

Nothing here knows of states or of time to come: what follows from an end is the business of the cell's life.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from typing import Any, TypeVar

from mesh.address import instance_name
from mesh.agent.agent import Agent
from mesh.config import AgentSpec, Isolation, Rung
from mesh.errors import MeshError, StartError, Unavailable, Unreachable
from mesh.message import Event, Request
from mesh.policy.deadline import Batch, DeadlineGuard
from mesh.policy.inbox import Inbox
from mesh.policy.measure import CallStats
from mesh.supervisor.cell.house import House
from mesh.supervisor.cell.loader import Edition
from mesh.supervisor.cell.lodging import Lodging
from mesh.supervisor.cell.resident import Resident
from mesh.supervisor.cell.tenancy import Landlord, Offer, Tenancy
from mesh.supervisor.cell.timed import in_time
from mesh.supervisor.loop.patience import patience
from mesh.supervisor.process.proxy import Proxy

CHECK_LIMIT = 5.0
DRAIN_TICK = 0.02
CLEANUP_MARGIN = 0.1
MAX_UNHEARD = 1024
RETRY_AFTER = 1.0

T = TypeVar("T")

Moved = tuple[Isolation, str] | None
"""Where an agent was moved, unlike its config says, and by whom."""


class Tenure:
    """One agent after the other, each in a tenancy of its own; the calls and events of all of them are counted here.

    `edition` is its code, the same for each start. One that serves may be succeeded by one that is set up already;
    while `moving` there is none of them: events wait until `release`, calls where the inbox holds them.
    """

    def __init__(self, spec: AgentSpec, house: House, landlord: Landlord, load: Callable[[AgentSpec], type[Agent]],
                 number: int) -> None:
        self.spec = spec
        self.service = spec.service
        self.name = instance_name(spec.service, number)
        self.incarnation = 0
        self.offer = Offer()
        self.stats = CallStats()
        self.inbox = Inbox(waiting=spec.limits.inbox, concurrency=spec.limits.concurrency, clock=house.clock,
                           patience=self._patience)
        self.guard = DeadlineGuard(house.deadlines, house.clock)
        self.edition = Edition(load)
        self.tenancy: Tenancy | None = None
        self.moved: Moved = None
        self.moving = False
        self.runs_as: Rung | None = None
        self.own_reason: str | None = None
        self.endings: set[asyncio.Task[Any]] = set()
        self._dismissing: list[Batch] = []
        self._number = number
        self._house = house
        self._landlord = landlord
        self._unheard: deque[Event] = deque()

    def _patience(self, operation: str) -> float | None:
        rule = self._house.rules.of(self.service, operation).shed
        return None if rule is None else rule.wait_s

    @property
    def isolation(self) -> Rung:
        """Where the agent runs, or will at its next start; `auto` begins as a coroutine."""
        wanted = self.spec.isolation if self.moved is None else self.moved[0]
        return "coroutine" if wanted == "auto" else wanted

    @property
    def isolation_origin(self) -> str:
        """Why it runs there: where config says so, or who has moved it."""
        return self.spec.origin.get("isolation", "default") if self.moved is None else self.moved[1]

    def context(self, more: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Return what is told beside an error: which instance it is of, if it is not the first."""
        return more if self._number == 1 else {"instance": self._number, **(more or {})}

    def task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` on behalf of nobody: whoever asks for it may be a call, whose deadline and path end with it."""
        return asyncio.get_running_loop().create_task(work, name=f"cell {self.name}", context=Context())

    # -- brought up

    def make(self, spec: AgentSpec, incarnation: int, edition: Edition | None = None) -> Tenancy:
        """Return a tenancy for an agent of `spec`, where it was moved to; raises `StartError` if it cannot be there."""
        lodging = Lodging(self._landlord)
        tenancy = self._made(spec, incarnation, edition or self.edition, lodging)
        lodging.serves = lambda: self.tenancy is tenancy
        return tenancy

    def _made(self, spec: AgentSpec, incarnation: int, edition: Edition, lodging: Lodging) -> Tenancy:
        if self.moved is not None:
            spec = spec.model_copy(update={"isolation": self.moved[0]})
        if spec.isolation != "process":
            return Resident(spec, self._house, lodging, self.stats, edition, self._number)
        self.allow(spec.isolation)
        assert self._house.nursery is not None
        return Proxy(spec, incarnation, self._house.nursery, lodging, self.stats, self._number)

    def allow(self, isolation: Isolation) -> None:
        """Raise `StartError` if no agent can be isolated so here."""
        if isolation == "process" and self._house.nursery is None:
            raise StartError(f"{self.name}: `isolation: process` needs a running host; a test in memory takes "
                             "`coroutine` or `thread`")

    async def come_up(self, incarnation: int) -> None:
        """Load, bind and set up the agent, each within `start_s`, and ask it how it is; raises what it raises."""
        self.incarnation = incarnation
        self._settle_in()
        tenancy = self.tenancy = self.make(self.spec, incarnation)
        self.offer = await self.timed(tenancy.load(), self.spec, tenancy, "loading")
        self.stats.known = {*self.offer.operations, *self.offer.traits}
        await self.timed(tenancy.set_up(), self.spec, tenancy, "setup()")
        await self.examine()

    async def loaded(self, spec: AgentSpec, tenancy: Tenancy) -> Offer:
        """Load a tenancy that is not the cell's yet; it is closed if that fails."""
        try:
            return await self.timed(tenancy.load(), spec, tenancy, "loading")
        except BaseException:
            await tenancy.close()
            raise

    async def set_up(self, spec: AgentSpec, tenancy: Tenancy) -> None:
        """Set a loaded tenancy up that is not the cell's yet; it is closed if that fails."""
        try:
            await self.timed(tenancy.set_up(), spec, tenancy, "setup()")
        except BaseException:
            await tenancy.close()
            raise

    def take_over(self, spec: AgentSpec, incarnation: int, tenancy: Tenancy, offer: Offer) -> Tenancy | None:
        """Have every call and event from now on go to a tenancy that is set up; returns the one before it."""
        before, self.tenancy = self.tenancy, tenancy
        self.offer, self.incarnation = offer, incarnation
        self.resize(spec)
        self._settle_in()
        self.stats.known = {*offer.operations, *offer.traits}
        return before

    async def timed(self, work: Coroutine[Any, Any, T], spec: AgentSpec, tenancy: Tenancy, step: str) -> T:
        """Run a step of the agent's code within `start_s`; raises `Unavailable` that says where it was then."""

        async def late() -> Unavailable:
            where = await tenancy.where()
            return Unavailable(f"{step} of {self.name} did not end within {spec.limits.start_s:g} s "
                               f"(limits: start_s)" + (f"; it is in {where}" if where else ""))

        return await in_time(work, spec.limits.start_s, spec.limits.cleanup_s, late)

    def _settle_in(self) -> None:
        """Note where the agent runs; one on the host's loop begins its calls as that has time for them."""
        self.runs_as = self.isolation
        self.inbox.turn = self._house.turn if self.runs_as == "coroutine" else None

    # -- while it is there

    async def examine(self) -> None:
        """Ask the agent how it is; raises `AgentExit`."""
        self.own_reason = None if self.tenancy is None else await self.asked(self.tenancy)

    async def asked(self, tenancy: Tenancy) -> str | None:
        """Ask the agent of a tenancy how it is; returns what limits it. Raises `AgentExit`."""
        try:
            async with patience(CHECK_LIMIT):
                return await tenancy.check()
        except TimeoutError:
            return f"check() did not answer within {CHECK_LIMIT:g} s"

    def why_degraded(self) -> str | None:
        """Say what is wrong with the agent, by its last check and by who it depends on; None if nothing is."""
        reasons = (self._house.missing(self.spec), self.own_reason)
        return "; ".join(reason for reason in reasons if reason) or None

    def resize(self, spec: AgentSpec) -> None:
        """Take over a `spec`: its limits count from now on, the rest from the next start."""
        self.spec = spec
        if self.moved is not None and self.moved[0] == spec.isolation:
            self.moved = None  # config says so itself now
        self.inbox.resize(waiting=spec.limits.inbox, concurrency=spec.limits.concurrency)

    async def accept(self, spec: AgentSpec) -> None:
        """Raise `ConfigError` if the agent's `Config` does not take the settings of `spec`; changes nothing."""
        tenancy = self.tenancy or self.make(spec, self.incarnation)
        try:
            await tenancy.accept(spec.settings)
        finally:
            if tenancy is not self.tenancy:
                await tenancy.close()

    def hear(self, event: Event) -> None:
        """Take an event to the agent, or keep it for the next one."""
        if not self.moving:
            if self.tenancy is not None:
                self.tenancy.hear(event)
        elif len(self._unheard) < MAX_UNHEARD:
            self._unheard.append(event)
        else:
            self.stats.events_lost += 1

    def release(self) -> None:
        """Let begin what has waited for the agent."""
        self.inbox.release()
        while self._unheard:
            self.hear(self._unheard.popleft())

    # -- taken down

    async def drain(self, grace: float | None = None) -> None:
        """Give calls, streams and handlers their time, `stop_s` unless it is given; then cancel them, and tell who has
        waited in vain.

        What is cancelled may clean up for `cleanup_s`; what goes on then goes on without its agent, named.
        """
        await self._outlast(lambda: self._runs() or bool(len(self.inbox)), self.tenancy, grace)
        self.inbox.hold()
        self.inbox.refuse(lambda: Unavailable(f"{self.service} stopped before the call had begun",
                                              retry_after=RETRY_AFTER))
        self.guard.cancel_all()
        await self._clean_up(lambda: bool(self.inbox.streams or self.guard))

    async def vacate(self) -> int:
        """Give what runs its time, then cancel it, and take the agent down; what waits is for the next one.

        Returns how many calls and streams were cut short.
        """
        await self._outlast(self._runs, self.tenancy)
        cut = len(self.guard)
        self.guard.cancel_all(self._succeeded())
        await self._clean_up(lambda: bool(self.inbox.streams or self.guard))
        await self.close()
        return cut

    def dismiss(self, tenancy: Tenancy) -> asyncio.Task[int]:
        """Let a tenancy that was succeeded finish what it runs, then take it down, in a task that is returned.

        It returns how many calls and streams were cut short. Call it right after `take_over`: what runs now is its.
        """
        return self._ends(self.task(self._dismissed(tenancy, self.guard.running())))

    async def _dismissed(self, tenancy: Tenancy, batch: Batch) -> int:
        self._dismissing.append(batch)
        await self._outlast(lambda: self.guard.left_of(batch) > 0, tenancy)
        self._dismissing.remove(batch)
        cut = self.guard.left_of(batch)
        self.guard.cancel_all(self._succeeded(), batch)
        await self._clean_up(lambda: self.guard.left_of(batch) > 0)
        await tenancy.close()
        return cut

    def crashed(self, error: Exception) -> None:
        """End the calls of the agent that serves, which is gone; one that was dismissed still ends its own."""
        others = Batch().union(*self._dismissing)
        self.guard.cancel_all(ending(str(error)), self.guard.running() - others)

    def _succeeded(self) -> Callable[[Request], MeshError]:
        return ending(f"{self.service} is replaced by a new one")

    def _runs(self) -> bool:
        """Tell whether a call runs, or was given its turn just now and begins with the next step of its task."""
        return bool(self.guard or self.inbox.running)

    async def _outlast(self, busy: Callable[[], bool], tenancy: Tenancy | None, grace: float | None = None) -> None:
        """Return when nothing is busy and the agent has retired, at the latest after `grace`, or `stop_s`."""
        clock = self._house.clock
        until = clock.monotonic() + (self.spec.limits.stop_s if grace is None else grace)
        retiring = None if tenancy is None else self.task(tenancy.retire())
        while busy() and clock.monotonic() < until:
            await clock.sleep(DRAIN_TICK)
        if retiring is not None:
            timer = self.task(clock.sleep(max(0.0, until - clock.monotonic())))
            await asyncio.wait([retiring, timer], return_when=asyncio.FIRST_COMPLETED)
            for task in (retiring, timer):
                task.cancel()

    async def _clean_up(self, busy: Callable[[], bool]) -> None:
        until = self._house.clock.monotonic() + self.spec.limits.cleanup_s + CLEANUP_MARGIN
        while busy() and self._house.clock.monotonic() < until:
            await self._house.clock.sleep(DRAIN_TICK)

    async def close(self) -> None:
        """Take the agent down, whatever state it is in; returns when it is, also if that was begun before."""
        tenancy, self.tenancy = self.tenancy, None
        if tenancy is not None:
            self._ends(self.task(tenancy.close()))
        for task in list(self.endings):
            try:
                await asyncio.shield(task)  # a teardown that was begun is not broken off by a new wish
            except Exception as error:  # a fault of ours: told, for the agent is to be started again all the same
                await self._landlord.report(error, severity="error", operation="teardown")

    def _ends(self, task: asyncio.Task[T]) -> asyncio.Task[T]:
        self.endings.add(task)
        task.add_done_callback(self.endings.discard)
        return task


def ending(why: str) -> Callable[[Request], MeshError]:
    """Return what makes the error of a call that ends because its agent does."""
    return lambda request: Unreachable(f"{request.target}: {why}; whether the call did its work is unknown",
                                       began="unknown")
