"""One running instance of a service: what it is, and the calls and events it answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mesh.address import instance_name, split_version
from mesh.agent.agent import Agent
from mesh.cache.terms import INVALIDATED
from mesh.config import AgentSpec, Isolation, Rung
from mesh.errorbus import kind_of
from mesh.errors import Unavailable
from mesh.message import Answer, Event, Reply, Request, replied
from mesh.metrics import Sample, counter, gauge
from mesh.policy.rate import Rates
from mesh.policy.stack import incoming
from mesh.supervisor.cell.house import House
from mesh.supervisor.cell.life import Life
from mesh.supervisor.cell.lifecycle import State
from mesh.supervisor.cell.loader import Edition, load_agent_class
from mesh.supervisor.cell.renewal import Renewal, Renewed
from mesh.supervisor.cell.runner import AgentExit
from mesh.supervisor.cell.stragglers import Straggler, Stragglers
from mesh.supervisor.cell.tenancy import Offer, Tenancy
from mesh.supervisor.cell.tenure import Tenure

START_PATIENCE = 2.0

STATE = gauge("mesh_agent_state", "1 for the state an agent is in, 0 for the others.", "service", "state")
RESTARTS = counter("mesh_agent_restarts_total", "Starts after a failure.", "service")
MEMORY = gauge("mesh_agent_memory_bytes", "Memory of an agent's own process, shared pages in shares.", "service")
LOOP = counter("mesh_agent_loop_seconds_total", "Time of the event loop that the agent's code has used.", "service")
EVENTS_LOST = counter("mesh_handler_events_dropped_total", "Events that an agent's handlers were too slow for.",
                      "service")


class Cell:
    """An instance of a service on this host, running or not; restarted within its budget while desired to run.

    `number` tells it apart from the others of its service here, `name` is what it is called: `nlu`, or `nlu#2`.

    `tenure` holds the agent, `life` has it run, `renewal` changes it meanwhile; none of them knows those after it.
    """

    def __init__(self, spec: AgentSpec, house: House, load: Callable[[AgentSpec], type[Agent]] = load_agent_class,
                 *, number: int = 1) -> None:
        self.service = spec.service
        self.number = number
        self.name = instance_name(spec.service, number)
        self.stragglers = Stragglers(spec.service, spec.file.parent, house.clock,
                                     lambda: self.tenure.spec.limits.cleanup_s, self._named, self._give_back)
        self.tenure = Tenure(spec, house, self, load, number)
        self.life = Life(self.tenure, house)
        self.renewal = Renewal(self.tenure, self.life, house)
        self.stats = self.tenure.stats
        self.inbox = self.tenure.inbox
        self.rates = Rates()
        self.lifecycle = self.life.lifecycle
        self.settled = self.life.settled
        self.history = self.life.history
        self._house = house
        self._answer = incoming(self._execute, service=self.service, rules=house.rules, stats=self.stats,
                                spans=house.spans, host=house.name,
                                inbox=self.inbox, guard=self.tenure.guard, clock=house.clock, rates=self.rates,
                                prompt=self._prompt)

    # -- what it is

    @property
    def patterns(self) -> tuple[str, ...]:
        """What it hears now; a version beside its service hears nothing, or every event would count twice."""
        return self.offer.patterns if self.state.serving and not split_version(self.service)[1] else ()

    @property
    def spec(self) -> AgentSpec:
        """What config says of it, as it is in force."""
        return self.tenure.spec

    @property
    def offer(self) -> Offer:
        """What its agent offers, nothing before that was loaded."""
        return self.tenure.offer

    @property
    def incarnation(self) -> int:
        """The number of its last start."""
        return self.tenure.incarnation

    @property
    def tenancy(self) -> Tenancy | None:
        """What holds the agent, while it runs or starts."""
        return self.tenure.tenancy

    @property
    def isolation(self) -> Rung:
        """Where the agent runs, or will at its next start."""
        return self.tenure.isolation

    @property
    def isolation_origin(self) -> str:
        """Why it runs there."""
        return self.tenure.isolation_origin

    @property
    def state(self) -> State:
        """Where the cell stands."""
        return self.lifecycle.state

    @property
    def at_rest(self) -> bool:
        """Tell whether it neither runs nor is about to."""
        return self.life.at_rest

    @property
    def failures(self) -> int:
        """How many failures count against the budget now."""
        return self.life.failures

    @property
    def restarts(self) -> int:
        """How often it was started after a failure."""
        return self.life.restarts

    @property
    def last_error(self) -> str | None:
        """What the agent's code did wrong last."""
        return self.life.last_error

    @property
    def pid(self) -> int:
        """The process the agent runs in."""
        return (self.tenancy.pid if self.tenancy is not None else None) or os.getpid()

    @property
    def memory_mb(self) -> float | None:
        """The memory of the agent's own process in MiB, None while it has none."""
        return self.tenancy.memory_mb if self.tenancy is not None else None

    def settings(self) -> dict[str, Any]:
        """Return the settings in force, secrets hidden; what the file says while the agent is not bound."""
        settings = self.tenancy.settings() if self.tenancy is not None else None
        return dict(self.spec.settings) if settings is None else settings

    def samples(self) -> Iterator[Sample]:
        """Yield the figures of this cell."""
        return (sample.of_instance(self.number) for sample in self._figures())

    def _figures(self) -> Iterator[Sample]:
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
        yield from self.stragglers.samples()
        yield from self.rates.samples(self.service)

    # -- what is asked of it

    def launch(self, *, by_operator: bool = False) -> None:
        """Start it, as `Life.launch` does."""
        self.life.launch(by_operator=by_operator)

    def rest(self, reason: str) -> None:
        """Stay stopped, because an operator wants it so."""
        self.life.rest(reason)

    async def stop(self, reason: str, grace: float | None = None) -> None:
        """Drain and stop, as `Life.stop` does; a renewal that is under way is broken off."""
        self.renewal.cancel()
        await self.life.stop(reason, grace)

    async def recheck(self) -> None:
        """Ask the agent how it is, and say so if that changed."""
        await self.life.recheck()

    def reconsider(self) -> None:
        """Say whether it is ready or degraded, by its last check and by who it depends on."""
        self.life.reconsider()

    def resize(self, spec: AgentSpec) -> None:
        """Take over a `spec`: its limits count from now on, the rest from the next start."""
        self.tenure.resize(spec)

    async def accept(self, spec: AgentSpec) -> None:
        """Raise `ConfigError` if the agent's `Config` does not take the settings of `spec`; changes nothing."""
        await self.tenure.accept(spec)

    async def reconfigure(self, spec: AgentSpec) -> bool:
        """Hand new settings to the running agent, as `Renewal.reconfigure` does; its kept answers no longer hold then.
        """
        taken = await self.renewal.reconfigure(spec)
        if taken and self.offer.traits:
            self._house.publish(INVALIDATED, {"tags": [self.service]}, f"{self.service}@{self._house.name}")
        return taken

    async def renew(
        self, spec: AgentSpec, *, edition: Edition | None = None, judge: Callable[[Offer], None] = lambda offer: None
    ) -> Renewed:
        """Put a new agent in the place of the one that runs, as `Renewal.renew` does."""
        return await self.renewal.renew(spec, edition=edition, judge=judge)

    async def isolate(self, isolation: Isolation, reason: str) -> None:
        """Have the agent run elsewhere from now on, as `Renewal.isolate` does."""
        await self.renewal.isolate(isolation, reason)

    # -- calls and events

    def handle(self, request: Request) -> Answer:
        """Answer a request; while the cell starts it waits for it, at most 2 s."""
        return self._answer(request) if self.life.serving else self._answer_later(request)

    async def _answer_later(self, request: Request) -> Reply:
        refusal = await self._not_serving(request)
        return await replied(self._answer(request)) if refusal is None else Reply(error=refusal, host=self._house.name)

    async def _not_serving(self, request: Request) -> Unavailable | None:
        if self.state is State.STARTING:
            left = min(START_PATIENCE, request.deadline - self._house.clock.monotonic())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, left)):
                    await self.life.left_start.wait()
        if self.state.serving:
            return None
        reason = f": {self.lifecycle.reason}" if self.lifecycle.reason else ""
        return Unavailable(f"{self.name} on {self._house.name} is {self.state}{reason}", retry_after=1.0)

    def _prompt(self, operation: str) -> bool:
        tenancy = self.tenure.tenancy
        return tenancy is not None and tenancy.prompt(operation)

    def _execute(self, request: Request) -> Answer:
        tenancy = self.tenure.tenancy
        if tenancy is None:
            return Reply(error=Unavailable(f"{self.name} is {self.state}", retry_after=1.0))
        return tenancy.execute(request)

    def hear(self, event: Event) -> None:
        """Take an event of one of the offer's patterns to the agent."""
        self.tenure.hear(event)

    # -- what the agent's code does wrong

    def crash(self, error: Exception) -> str:
        """Treat the agent as crashed, as `Life.crash` does; returns the error's id on the error bus."""
        return self.life.crash(error)

    def gone(self, error: Exception) -> None:
        """Take note that the agent's process has ended by itself."""
        self.crash(error)

    def _named(self, text: str, operation: str | None, trace_id: str | None, context: Mapping[str, Any]) -> None:
        """Put on the error bus what was cancelled and goes on."""
        self._house.report(text, severity="warning", service=self.service, operation=operation, trace_id=trace_id,
                           context=context)

    def _give_back(self, straggler: Straggler) -> None:
        """Let others have the place of a call that does not end; of as many as may run, so that there is a bound."""
        task = straggler.task
        if task is not None and self.tenure.guard.bounds(task) and len(self.stragglers) <= self.spec.limits.concurrency:
            self.inbox.give_back(task)

    def say(self, text: str) -> None:
        """Put a warning on the error bus."""
        self._house.report(text, severity="warning", service=self.service, context=self.tenure.context(None))

    async def report(
        self, error: BaseException | str, *, severity: str, operation: str | None = None, trace_id: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> str:
        """Put something on the error bus for the agent and return its id."""
        return self._house.report(error, severity=severity, service=self.service, operation=operation,
                                  trace_id=trace_id, context=self.tenure.context(context))

    async def failed(self, error: Exception, operation: str, trace_id: str | None = None) -> str:
        """Take note of what the agent's own code raised and return its id; an `AgentExit` is a crash."""
        self.life.last_error = f"{operation}: {kind_of(error)}: {error}"
        if isinstance(error, AgentExit):
            return self.crash(error)
        return await self.report(error, severity="error", operation=operation, trace_id=trace_id)
