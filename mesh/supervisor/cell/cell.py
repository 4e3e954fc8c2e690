"""One running instance of a service: its life from load to teardown, and the calls it answers meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextvars import Context
from typing import Any

from mesh.agent.agent import Agent
from mesh.config import AgentSpec, Isolation, Rung
from mesh.errorbus import kind_of
from mesh.errors import MeshError, RemoteFailure, StartError, Unavailable, Unreachable
from mesh.message import Event, Reply, Request
from mesh.metrics import Sample, counter, gauge
from mesh.policy.deadline import DeadlineGuard
from mesh.policy.inbox import Inbox
from mesh.policy.measure import CallStats
from mesh.policy.stack import incoming
from mesh.restart import Backoff, Restarts
from mesh.supervisor.cell.house import House
from mesh.supervisor.cell.lifecycle import Lifecycle, State
from mesh.supervisor.cell.loader import load_agent_class
from mesh.supervisor.cell.resident import Resident
from mesh.supervisor.cell.runner import AgentExit
from mesh.supervisor.cell.tenancy import Offer, Tenancy
from mesh.supervisor.process.proxy import Proxy

CHECK_SECONDS = 5.0
CHECK_LIMIT = 5.0
DRAIN_TICK = 0.02
CLEANUP_SECONDS = 1.0
START_PATIENCE = 2.0
HISTORY = 12
MAX_UNHEARD = 1024

STATE = gauge("mesh_agent_state", "1 for the state an agent is in, 0 for the others.", "service", "state")
RESTARTS = counter("mesh_agent_restarts_total", "Starts after a failure.", "service")
MEMORY = gauge("mesh_agent_memory_bytes", "Memory of an agent's own process, shared pages in shares.", "service")
LOOP = counter("mesh_agent_loop_seconds_total", "Time of the event loop that the agent's code has used.", "service")
EVENTS_LOST = counter("mesh_handler_events_dropped_total", "Events that an agent's handlers were too slow for.",
                      "service")


Moved = tuple[Isolation, str] | None
Before = tuple[AgentSpec, Moved]


class Cell:
    """A service on this host, running or not; restarted within its budget while it is desired to run."""

    def __init__(self, spec: AgentSpec, house: House, load: Callable[[AgentSpec], type[Agent]] = load_agent_class
                 ) -> None:
        self.spec = spec
        self.service = spec.service
        self.lifecycle = Lifecycle(State.STOPPED, "not started yet")
        self.incarnation = 0
        self.restarts = 0
        self.stats = CallStats()
        self.inbox = Inbox(waiting=spec.limits.inbox, concurrency=spec.limits.concurrency, clock=house.clock)
        self.offer = Offer()
        self.last_error: str | None = None
        self.settled = asyncio.Event()
        self.history: deque[dict[str, Any]] = deque(maxlen=HISTORY)
        self._house = house
        self._load = load
        self._budget = Restarts()
        self._desired = True
        self._tenancy: Tenancy | None = None
        self._moved: Moved = None
        self._runs_as: Rung | None = None
        self._moving = False
        self._unheard: deque[Event] = deque()
        self._renewal: asyncio.Task[None] | None = None
        self._life: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._left_start = asyncio.Event()
        self._turn = asyncio.Lock()
        self._guard = DeadlineGuard(house.deadlines, house.clock)
        self._own_reason: str | None = None
        self._serving = False
        self._answer = incoming(self._execute, stats=self.stats, spans=house.spans, host=house.name,
                                inbox=self.inbox, guard=self._guard, clock=house.clock)

    @property
    def state(self) -> State:
        """Where the cell stands."""
        return self.lifecycle.state

    @property
    def at_rest(self) -> bool:
        """Tell whether it neither runs nor is about to."""
        return self.state is State.STOPPED and self._life is None

    @property
    def failures(self) -> int:
        """How many failures count against the budget now."""
        return self._budget.failures(self._house.clock.monotonic())

    def samples(self) -> Iterator[Sample]:
        """Yield the figures of this cell."""
        for state in State:
            yield STATE.sample(state is self.state, self.service, state.value)
        yield RESTARTS.sample(self.restarts, self.service)
        if self.offer.subscriptions:
            yield EVENTS_LOST.sample(self.stats.events_lost, self.service)
        if self.memory_mb is not None:
            yield MEMORY.sample(self.memory_mb * 2**20, self.service)
        yield LOOP.sample(self.stats.loop_seconds, self.service)
        yield from self.stats.samples(self.service)
        yield from self.inbox.samples(self.service)

    def settings(self) -> dict[str, Any]:
        """Return the settings in force, secrets hidden; what the file says while the agent is not bound."""
        settings = self._tenancy.settings() if self._tenancy is not None else None
        return dict(self.spec.settings) if settings is None else settings

    @property
    def isolation(self) -> Rung:
        """Where the agent runs, or will at its next start; `auto` begins as a coroutine."""
        wanted = self.spec.isolation if self._moved is None else self._moved[0]
        return "coroutine" if wanted == "auto" else wanted

    @property
    def isolation_origin(self) -> str:
        """Why it runs there: where config says so, or who has moved it."""
        return self.spec.origin.get("isolation", "default") if self._moved is None else self._moved[1]

    @property
    def tenancy(self) -> Tenancy | None:
        """What holds the agent, while it runs or starts."""
        return self._tenancy

    @property
    def pid(self) -> int:
        """The process the agent runs in."""
        return (self._tenancy.pid if self._tenancy is not None else None) or os.getpid()

    @property
    def memory_mb(self) -> float | None:
        """The memory of the agent's own process in MiB, None while it has none."""
        return self._tenancy.memory_mb if self._tenancy is not None else None

    # -- life, asked for

    def launch(self, *, by_operator: bool = False) -> None:
        """Start the cell, unless it runs or is about to; an operator's start renews the budget.

        One that is stopping starts again when it has stopped; only an operator starts one in backoff or quarantine.
        """
        self._desired = True
        if by_operator:
            self._budget.renew()
        if self.state is State.DRAINING:
            self.settled.clear()
        elif self.at_rest:
            self._begin(by_operator)
        elif self.state in (State.BACKOFF, State.QUARANTINED) and by_operator:
            self._end_life()
            self._begin(by_operator)

    def _begin(self, by_operator: bool) -> None:
        self.settled.clear()
        self._life = self._task(self._live(by_operator))

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` on behalf of nobody: whoever asks for it may be a call, whose deadline and path end with it."""
        return asyncio.get_running_loop().create_task(work, name=f"cell {self.service}", context=Context())

    def rest(self, reason: str) -> None:
        """Stay stopped, because an operator wants it so."""
        self._desired = False
        self.lifecycle.explain(reason)
        self.settled.set()
        self._house.changed(self.service)

    async def stop(self, reason: str) -> None:
        """Drain and stop: running calls have `stop_s`, then they are cancelled; returns when all has ended."""
        if self._renewal is not None:
            self._renewal.cancel()
        async with self._turn:
            self._desired = False
            starting = self.state is State.STARTING
            self._end_life()
            if self.state.serving:
                self._to(State.DRAINING, reason)
                await self._drain()
            elif starting:
                self._to(State.STOPPED, reason)
            if self.state in (State.BACKOFF, State.FAILED, State.QUARANTINED):
                self._to(State.STOPPED, reason, by_operator=True)
            await self._close()
            if self.state is State.DRAINING:
                self._to(State.STOPPED, reason)
            if not self._desired:
                self.settled.set()
            elif self._life is None:  # somebody wanted it back meanwhile
                self._begin(False)

    def _end_life(self) -> None:
        if self._life is not None:
            self._life.cancel()
            self._life = None

    async def _drain(self, end: Callable[[Request], MeshError] | None = None) -> None:
        """Give running calls and streams their time, then cancel them; `end` makes the error they are answered with.

        Generators may clean up for a moment.
        """
        until = self._house.clock.monotonic() + self.spec.limits.stop_s
        while self._guard and self._house.clock.monotonic() < until:
            await self._house.clock.sleep(DRAIN_TICK)
        self._guard.cancel_all(end)
        until = self._house.clock.monotonic() + CLEANUP_SECONDS
        while self.inbox.streams and self._house.clock.monotonic() < until:
            await self._house.clock.sleep(DRAIN_TICK)

    # -- life, lived

    async def _live(self, by_operator: bool) -> None:
        """Start, and start again after each failure, until it works or the budget is spent."""
        while True:
            self._to(State.STARTING, "starting", by_operator=by_operator)
            self.incarnation = self._house.next_incarnation()
            try:
                await self._close()  # who was here before has ended by then
                await self._house.dependencies_ready(self.spec)
                reason = await self._come_up()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                await self._close()
                delay, _ = self._failed(error)
                self.settled.set()
                if delay is None:
                    self._life = None
                    return
                await self._house.clock.sleep(delay)
                by_operator = False
                self.restarts += 1
                continue
            self._budget.ready()
            self._serve(reason)
            self.settled.set()
            await self._keep_checking()

    async def _come_up(self) -> str | None:
        """Load, bind and set up the agent, each within `start_s`; returns why it is degraded, None if it is not."""
        self._runs_as = self.isolation
        tenancy = self._tenancy = self._new_tenancy(self.spec, self.incarnation)
        async with self._within(self.spec.limits.start_s, "loading"):
            self.offer = await tenancy.load()
        self.stats.known = self.offer.operations
        async with self._within(self.spec.limits.start_s, "setup()"):
            await tenancy.set_up()
        self._own_reason = await self._examine()
        return self._why_degraded()

    @contextlib.asynccontextmanager
    async def _within(self, seconds: float, step: str) -> AsyncIterator[None]:
        """Give the agent's code a time limit, whose end is told apart from a TimeoutError of its own."""
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise Unavailable(f"{step} of {self.service} did not end within {seconds:g} s (limits: start_s)") from None

    def _new_tenancy(self, spec: AgentSpec, incarnation: int) -> Tenancy:
        if self._moved is not None:
            spec = spec.model_copy(update={"isolation": self._moved[0]})
        if spec.isolation != "process":
            return Resident(spec, self._house, self, self.stats, self._load)
        if self._house.nursery is None:
            raise self._no_nursery()
        return Proxy(spec, incarnation, self._house.nursery, self, self.stats)

    def _no_nursery(self) -> StartError:
        return StartError(f"{self.service}: `isolation: process` needs a running host; a test in memory takes "
                          "`coroutine` or `thread`")

    def _failed(self, error: Exception) -> tuple[float | None, str]:
        """Note a crash and decide what follows: seconds until the next start, None to give up, and the error's id."""
        self.last_error = f"{kind_of(error)}: {error}"
        self._to(State.FAILED, self.last_error)
        decision = self._budget.decide(self._house.clock.monotonic())
        if isinstance(decision, Backoff):
            told = f"restart in {decision.delay:.1f} s (failure {decision.attempt} within a minute)"
            self._to(State.BACKOFF, f"{self.last_error}; {told}")
        else:
            told = f"quarantined: {decision.reason}; `mesh agent start {self.service}` tries again"
            self._to(State.QUARANTINED, f"{decision.reason}; last error: {self.last_error}")
        error_id = self._house.report(error, severity="error" if isinstance(decision, Backoff) else "critical",
                                      service=self.service, decision=told,
                                      occasion="error" if isinstance(decision, Backoff) else "quarantine",
                                      context=error.details if isinstance(error, MeshError) else None)
        return (decision.delay if isinstance(decision, Backoff) else None), error_id

    def crash(self, error: Exception) -> str:
        """Treat a running cell as crashed: what it answers ends, and it starts again within its budget.

        Returns the error's id on the error bus; one that is stopping, or has crashed already, only reports it.
        """
        if not self.state.serving:
            return self._house.report(error, severity="error", service=self.service)
        self._end_life()
        self._guard.cancel_all(_ending(str(error)))
        delay, error_id = self._failed(error)
        self._life = self._task(self._recover(delay))
        self._house.crashed(self.service)
        return error_id

    async def _recover(self, delay: float | None) -> None:
        await self._close()
        if delay is None:
            self._life = None
            return
        await self._house.clock.sleep(delay)
        self.restarts += 1
        await self._live(False)

    # -- changed while it lives

    def resize(self, spec: AgentSpec) -> None:
        """Take over a `spec`: its limits count from now on, the rest from the next start."""
        self.spec = spec
        if self._moved is not None and self._moved[0] == spec.isolation:
            self._moved = None  # config says so itself now
        self.inbox.resize(waiting=spec.limits.inbox, concurrency=spec.limits.concurrency)

    async def accept(self, spec: AgentSpec) -> None:
        """Raise `ConfigError` if the agent's `Config` does not take the settings of `spec`; changes nothing."""
        tenancy = self._tenancy or self._new_tenancy(spec, self.incarnation)
        try:
            await tenancy.accept(spec.settings)
        finally:
            if tenancy is not self._tenancy:
                await tenancy.close()

    async def reconfigure(self, spec: AgentSpec) -> bool:
        """Hand the settings of `spec` to the running agent; returns False if it must start anew for them.

        Raises what the agent refuses them with; its settings are then as they were.
        """
        async with self._turn:
            if self._tenancy is None or not self.state.serving:
                return False
            async with self._within(self.spec.limits.start_s, "on_config()"):
                if not await self._tenancy.reconfigure(spec.settings):
                    return False
            self.resize(spec)
            return True

    async def renew(self, spec: AgentSpec, *, undo: Callable[[], None] = lambda: None) -> None:
        """Put a new agent of `spec` in the place of the one that runs; no call is lost.

        Calls that run have `stop_s`, those that come meanwhile wait. Raises what the new one fails with: the old one
        goes on if the new one does not load; it is started again, after `undo`, if only its setup fails.
        """
        await self._replace(spec, self._moved if spec.isolation == self.spec.isolation else None, undo)

    async def isolate(self, isolation: Isolation, reason: str) -> None:
        """Have the agent run elsewhere from now on, as `renew` does it; one that does not run, from its next start.

        Raises `RemoteFailure` if it does not come up there; it goes on where it was.
        """
        if isolation == "process" and self._house.nursery is None:
            raise self._no_nursery()
        moved = None if isolation == self.spec.isolation else (isolation, reason)
        goal = "coroutine" if isolation == "auto" else isolation
        if self.state.serving and goal != self._runs_as:
            try:
                await self._replace(self.spec, moved)
            except Exception as error:  # the agent's own code, in part
                raise RemoteFailure(f"{self.service} did not come up as a {goal} and goes on as a {self.isolation}: "
                                    f"{kind_of(error)}: {error}", type=kind_of(error)) from error
        else:
            self._moved = moved
        self._house.changed(self.service)

    async def _replace(self, spec: AgentSpec, moved: Moved, undo: Callable[[], None] = lambda: None) -> None:
        self._renewal = self._task(self._renewed(spec, moved, undo))
        self._renewal.add_done_callback(self._renewal_over)
        await asyncio.shield(self._renewal)

    def _renewal_over(self, done: asyncio.Task[None]) -> None:
        if self._renewal is done:
            self._renewal = None
        if not done.cancelled():
            done.exception()  # whoever asked may be gone

    async def _renewed(self, spec: AgentSpec, moved: Moved, undo: Callable[[], None]) -> None:
        async with self._turn:
            if not self.state.serving:
                raise Unavailable(f"{self.service} is {self.state}: {self.lifecycle.reason}", retry_after=1.0)
            before = self.spec, self._moved
            self._moved = moved
            try:
                await self._replaced(spec, undo, before)
            finally:
                if self._moving:
                    self.resize(self.spec)
                    self._serve(self._why_degraded())
                    self._house.changed(self.service)

    async def _replaced(self, spec: AgentSpec, undo: Callable[[], None], before: Before) -> None:
        incarnation = self._house.next_incarnation()
        tenancy = self._new_tenancy(spec, incarnation)
        try:
            offer = await self._loaded(spec, tenancy)
        except BaseException:
            self._moved = before[1]
            raise
        self._moving = True
        self.inbox.hold()
        await self._drain(_ending(f"{self.service} is replaced by a new one"))
        if not self.state.serving:  # it crashed meanwhile
            await tenancy.close()
            raise Unavailable(f"{self.service} is {self.state}: {self.lifecycle.reason}", retry_after=1.0)
        await self._close()
        try:
            await self._move_in(spec, incarnation, tenancy, offer)
        except Exception:
            self._moved = before[1]
            undo()
            await self._move_back(before[0])
            raise

    async def _loaded(self, spec: AgentSpec, tenancy: Tenancy) -> Offer:
        try:
            async with self._within(spec.limits.start_s, "loading"):
                return await tenancy.load()
        except BaseException:
            await tenancy.close()
            raise

    async def _move_in(self, spec: AgentSpec, incarnation: int, tenancy: Tenancy, offer: Offer) -> None:
        """Make a loaded tenancy the cell's own."""
        try:
            async with self._within(spec.limits.start_s, "setup()"):
                await tenancy.set_up()
        except BaseException:
            await tenancy.close()
            raise
        self._tenancy, self.offer, self.spec, self.incarnation = tenancy, offer, spec, incarnation
        self._runs_as = self.isolation
        self.stats.known = offer.operations
        self._own_reason = await self._examine()

    async def _move_back(self, old: AgentSpec) -> None:
        """Start the agent again as it was; if it does not start any more, that is a crash like any other."""
        incarnation = self._house.next_incarnation()
        try:
            tenancy = self._new_tenancy(old, incarnation)
            await self._move_in(old, incarnation, tenancy, await self._loaded(old, tenancy))
        except Exception as error:
            self.crash(error)

    async def _keep_checking(self) -> None:
        """Ask the agent how it is, for as long as it runs."""
        while True:
            await self._house.clock.sleep(CHECK_SECONDS)
            await self.recheck()

    async def recheck(self) -> None:
        """Ask the agent how it is, and say so if that changed."""
        try:
            self._own_reason = await self._examine()
        except AgentExit as error:
            self.crash(error)
        self.reconsider()

    def reconsider(self) -> None:
        """Say whether the cell is ready or degraded, by its last check and by who it depends on."""
        if self.state.serving and not self._moving:
            self._serve(self._why_degraded())

    def _serve(self, reason: str | None) -> None:
        """Be ready, or degraded for a reason, and let begin what has waited for that."""
        self._moving = False
        wanted = State.DEGRADED if reason else State.READY
        if wanted is not self.state:
            self._to(wanted, reason or "")
        elif self.lifecycle.explain(reason or ""):
            self._house.changed(self.service)
        self.inbox.release()
        while self._unheard:
            self.hear(self._unheard.popleft())

    def _why_degraded(self) -> str | None:
        reasons = (self._house.missing(self.spec), self._own_reason)
        return "; ".join(reason for reason in reasons if reason) or None

    async def _examine(self) -> str | None:
        if self._tenancy is None:
            return None
        try:
            async with asyncio.timeout(CHECK_LIMIT):
                return await self._tenancy.check()
        except TimeoutError:
            return f"check() did not answer within {CHECK_LIMIT:g} s"

    async def _close(self) -> None:
        """Take the agent down, whatever state it is in; returns when it is, also if that was begun before."""
        tenancy, self._tenancy = self._tenancy, None
        if tenancy is not None:
            self._ending = self._task(tenancy.close())
        if self._ending is not None:
            await asyncio.shield(self._ending)  # a teardown that was begun is not broken off by a new wish

    def _to(self, state: State, reason: str, *, by_operator: bool = False) -> None:
        self.lifecycle.to(state, reason, desired_running=self._desired, by_operator=by_operator)
        self._serving = state.serving
        self.history.append({"time": self._house.clock.time(), "state": state.value, "reason": reason})
        self._moving = False
        if state is State.STARTING:
            self._left_start.clear()
        else:
            self._left_start.set()
        if state is State.FAILED:
            self.inbox.hold()  # what waits may be answered by the next start
        elif state in (State.STOPPED, State.QUARANTINED):
            self.inbox.release()
        self._house.changed(self.service)

    # -- calls

    def handle(self, request: Request) -> Awaitable[Reply]:
        """Answer a request; while the cell starts it waits for it, at most 2 s."""
        return self._answer(request) if self._serving else self._answer_later(request)

    async def _answer_later(self, request: Request) -> Reply:
        refusal = await self._not_serving(request)
        return await self._answer(request) if refusal is None else Reply(error=refusal, host=self._house.name)

    async def _not_serving(self, request: Request) -> Unavailable | None:
        if self.state is State.STARTING:
            left = min(START_PATIENCE, request.deadline - self._house.clock.monotonic())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, left)):
                    await self._left_start.wait()
        if self.state.serving:
            return None
        reason = f": {self.lifecycle.reason}" if self.lifecycle.reason else ""
        return Unavailable(f"{self.service} on {self._house.name} is {self.state}{reason}", retry_after=1.0)

    def _execute(self, request: Request) -> Awaitable[Reply]:
        return self._no_agent() if self._tenancy is None else self._tenancy.execute(request)

    async def _no_agent(self) -> Reply:
        return Reply(error=Unavailable(f"{self.service} is {self.state}", retry_after=1.0))

    def hear(self, event: Event) -> None:
        """Take an event of one of the offer's patterns to the agent."""
        if not self._moving:
            if self._tenancy is not None:
                self._tenancy.hear(event)
        elif len(self._unheard) < MAX_UNHEARD:
            self._unheard.append(event)
        else:
            self.stats.events_lost += 1

    def gone(self, error: Exception) -> None:
        """Take note that the agent's process has ended by itself."""
        self.crash(error)

    # -- what the agent's code does wrong

    def say(self, text: str) -> None:
        """Put a warning on the error bus."""
        self._house.report(text, severity="warning", service=self.service)

    async def report(
        self, error: BaseException | str, *, severity: str, operation: str | None = None, trace_id: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> str:
        """Put something on the error bus for the agent and return its id."""
        return self._house.report(error, severity=severity, service=self.service, operation=operation,
                                  trace_id=trace_id, context=context)

    async def failed(self, error: Exception, operation: str, trace_id: str | None = None) -> str:
        """Take note of what the agent's own code raised and return its id; an `AgentExit` is a crash."""
        self.last_error = f"{operation}: {kind_of(error)}: {error}"
        if isinstance(error, AgentExit):
            return self.crash(error)
        return await self.report(error, severity="error", operation=operation, trace_id=trace_id)


def _ending(why: str) -> Callable[[Request], MeshError]:
    """Return what makes the error of a call that ends because its agent does."""
    return lambda request: Unreachable(f"{request.target}: {why}; whether the call did its work is unknown",
                                       began="unknown")
