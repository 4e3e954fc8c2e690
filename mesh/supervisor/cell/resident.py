"""A tenancy in this process: the agent, its runner, its events and its timers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from functools import partial, wraps
from typing import Any

from mesh.address import instance_name, nearest, split_version
from mesh.agent.agent import Agent, examine, finish, reconfigure
from mesh.agent.context import AgentContext
from mesh.agent.interface import Interface, interface_of
from mesh.agent.ml import MLAgent
from mesh.agent.reaction import Subscription, Timer
from mesh.agent.schema import Operation
from mesh.agent.settings import read_settings, settings_schema
from mesh.client import CURRENT
from mesh.config import AgentSpec
from mesh.errors import (
    DeadlineExceeded,
    InvalidArgument,
    InvalidResult,
    MeshError,
    MessageTooLarge,
    ProtocolError,
    RemoteFailure,
    Unavailable,
    UnknownOperation,
    raised_by,
)
from mesh.message import Answer, Event, Reply, Request, decode, encode
from mesh.policy.measure import CallStats
from mesh.records import GROUP, HEARS
from mesh.supervisor.cell.generated import Generated
from mesh.supervisor.cell.groupcall import event_of, group_of
from mesh.supervisor.cell.house import Quarters
from mesh.supervisor.cell.loader import Edition
from mesh.supervisor.cell.reactions import Hearing, Ticking
from mesh.supervisor.cell.runner import LoopRunner, Runner, ThreadRunner
from mesh.supervisor.cell.surroundings import Surroundings
from mesh.supervisor.cell.tenancy import Landlord, Offer
from mesh.supervisor.cell.timed import in_time, standing
from mesh.topics import Choices, matches
from mesh.tracing import Kind, Reacting, Trace, doing


class Resident:
    """An agent on the loop of this process or on a thread of its own, as `spec.isolation` says."""

    def __init__(
        self, spec: AgentSpec, quarters: Quarters, landlord: Landlord, stats: CallStats,
        edition: Edition, number: int = 1,
    ) -> None:
        self._spec = spec
        self._service = spec.service
        self._number = number
        self._name = instance_name(spec.service, number)
        self._quarters = quarters
        self._landlord = landlord
        self._stats = stats
        self._edition = edition
        self._class: type[Agent] | None = None
        self._agent: Agent | None = None
        self._runner: Runner | None = None
        self._step: asyncio.Task[Any] | None = None
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._operations: dict[str, Operation] = {}
        self._prompt: frozenset[str] = frozenset()
        self._hearings: list[Hearing] = []
        self._fitting: Choices[Hearing] = Choices()
        self._members: list[Subscription] = []
        self._taken: set[asyncio.Task[str | None]] = set()
        self._timers: tuple[Timer, ...] = ()
        self._tickings: list[Ticking] = []

    pid: int | None = None
    memory_mb: float | None = None

    @property
    def agent(self) -> Agent | None:
        """The agent itself, while it is bound."""
        return self._agent

    # -- life

    async def load(self) -> Offer:
        """Load and compile the agent's class."""
        self._step = asyncio.current_task()
        async with self._quarters.loading:
            found, interface, code = await asyncio.to_thread(self._read)
        self._class = found
        subscriptions = interface.subscriptions
        self._operations = dict(interface.operations)
        self._hearings = [Hearing(one, self._heard, self._events_dropped) for one in subscriptions if not one.group]
        self._fitting = Choices(((one.subscription.pattern,), one) for one in self._hearings)
        self._members = [one for one in subscriptions if one.group and not split_version(self._service)[1]]
        self._timers = interface.timers
        return Offer(
            (found.__doc__ or "").strip().partition("\n")[0], self._operations, subscriptions, self._timers,
            tuple(one.subscription.pattern for one in self._hearings), partial(settings_schema, found),
            _version(code, self._operations), self._traits(), _single(found),
        )

    def _traits(self) -> dict[str, dict[str, Any]]:
        """Return what callers must know of operations that are not plain, and what is heard in groups."""
        traits = {name: one.traits() for name, one in self._operations.items() if one.idempotent}
        for one in self._members:
            traits.setdefault(f"{GROUP}{one.group}", {HEARS: []})[HEARS].append(one.pattern)
        return traits

    def _read(self) -> tuple[type[Agent], Interface, bytes]:
        """Load and compile the class; returns it and the code it was loaded from."""
        found = self._edition(self._spec)
        return found, interface_of(found), self._edition.source(self._spec)

    async def set_up(self) -> None:
        """Bind and set up the agent where its code runs, then start its timers."""
        self._step = asyncio.current_task()
        self._landlord.stragglers.home = asyncio.get_running_loop()
        runner = self._runner = (
            ThreadRunner(self._name, self._stats, self._landlord.stragglers) if self._spec.isolation == "thread"
            else LoopRunner(self._name, self._stats, self._quarters.overran, self._landlord.stragglers)
        )
        self._own_loop = runner.loop if isinstance(runner, ThreadRunner) else None
        around = Surroundings(split_version(self._service)[0], self._quarters, self._landlord, runner, self._number)
        agent = self._agent = await runner.call(
            _bound, {"cls": self._class, "around": around, "settings": self._spec.settings}
        )
        with doing(self._service, "setup"):
            await runner.call(agent.setup, {})
        self._tickings = [Ticking(timer, self._tick, self._quarters.clock) for timer in self._timers]
        if runner.at_home:
            self._prompt = frozenset(name for name, one in self._operations.items() if one.prompt)

    def settings(self) -> dict[str, Any] | None:
        """Return the settings the agent was bound with."""
        return None if self._agent is None else dict(self._agent.config.model_dump(mode="json"))

    async def accept(self, settings: Mapping[str, Any]) -> None:
        """Read the settings as the agent's class would."""
        found = self._class if self._class is not None else await asyncio.to_thread(self._edition, self._spec)
        read_settings(found, self._service, settings)

    async def reconfigure(self, settings: Mapping[str, Any]) -> bool:
        """Have the agent take over new settings where its code runs."""
        agent, runner = self._agent, self._runner
        if agent is None or runner is None:
            return False
        return await runner.call(reconfigure, {"agent": agent, "settings": settings})

    async def check(self) -> str | None:
        """Ask the agent how it is."""
        agent, runner = self._agent, self._runner
        return None if agent is None or runner is None else await runner.call(examine, {"agent": agent})

    async def retire(self) -> None:
        """Let the ticks that were begun end, and the events that wait be handled."""
        ending = [*(ticking.finish() for ticking in self._tickings), *(hearing.finish() for hearing in self._hearings)]
        await asyncio.gather(*ending)

    async def close(self) -> None:
        """Tear the agent down within `stop_s`; an error there is reported and stops nothing."""
        for ticking in self._tickings:
            ticking.close()
        for hearing in self._hearings:
            hearing.close()
        for task in self._taken:
            task.cancel()
        self._tickings, self._hearings, self._fitting = [], [], Choices()
        agent, self._agent = self._agent, None
        runner, self._runner = self._runner, None
        if runner is None:
            return
        limits = self._spec.limits
        try:
            if agent is not None:
                await in_time(self._tear_down(agent, runner), limits.stop_s, limits.cleanup_s, self._torn_too_long)
        except Exception as error:
            told = str(error) if isinstance(error, Unavailable) else error
            await self._landlord.report(told, severity="warning", operation="teardown")
        finally:
            runner.close()

    async def _tear_down(self, agent: Agent, runner: Runner) -> None:
        self._step = asyncio.current_task()
        with doing(self._service, "teardown"):
            await runner.call(finish, {"agent": agent})

    async def _torn_too_long(self) -> Unavailable:
        where = await self.where()
        return Unavailable(f"teardown() did not end within {self._spec.limits.stop_s:g} s (limits: stop_s)"
                           + (f"; it is in {where}" if where else ""))

    async def where(self) -> str | None:
        """Look where the step that was begun last stands."""
        return standing(self._spec.file, self._step, self._own_loop)

    # -- calls

    def prompt(self, operation: str) -> bool:
        """Tell whether an operation never waits; where the agent's loop is not the host's, all are waited for."""
        return operation in self._prompt

    def execute(self, request: Request) -> Answer:
        """Run the method a request names, or have the event handled that it brings to a member of a group."""
        group = group_of(request)
        if group is not None:
            return self._take(group, request)
        operation = self._operations.get(request.operation)
        agent, runner = self._agent, self._runner
        if operation is None:
            return Reply(error=self._unknown(request.operation))
        if agent is None or runner is None:
            return Reply(error=Unavailable(f"{self._name} is not running", retry_after=1.0))
        if operation.streams and not request.credit:
            return Reply(error=InvalidArgument(
                f"{request.target} gives its items one after the other; read them with "
                f"`async for item in self.stream(\"{request.target}\", ...)` or `mesh stream {request.target}`"
            ))
        if len(request.body) > operation.max_body:
            return Reply(error=MessageTooLarge(
                f"the arguments of {request.target} are {len(request.body)} bytes, its limit is {operation.max_body}",
                size=len(request.body), limit=operation.max_body,
            ))
        try:
            arguments = operation.bind(decode(request.body))
        except ProtocolError as error:
            return Reply(error=InvalidArgument(f"{request.target}: {error}", path="arguments"))
        except InvalidArgument as error:
            return Reply(error=error)
        method = getattr(agent, operation.name)
        if operation.prompt and isinstance(runner, LoopRunner) and getattr(method, "__code__", None) is operation.code:
            try:
                result = runner.at_once(method, arguments, request)
                return Reply(operation.encode_result(result), None, self._quarters.name)
            except Exception as error:
                return self._raised(error, request)
        return self._run(operation, method, arguments, runner, request)

    async def _run(
        self, operation: Operation, method: Callable[..., Any], arguments: dict[str, Any], runner: Runner,
        request: Request,
    ) -> Reply:
        CURRENT.set(request)
        try:
            if operation.streams:
                return Reply(b"", None, self._quarters.name, Generated(
                    request, operation, self._quarters.clock,
                    lambda before: runner.generate(method, arguments, before), self._caught, self._spec.limits.stop_s,
                ))
            if operation.sync:
                result = await runner.blocking(lambda: self._begun(request) and method(**arguments))
            elif runner.at_home:
                result = await runner.call(method, arguments)
            else:
                result = await runner.call(self._in_time(request, method), arguments)
            return Reply(operation.encode_result(result), None, self._quarters.name)
        except Exception as error:
            return await self._raised(error, request)

    async def _raised(self, error: Exception, request: Request) -> Reply:
        return Reply(error=await self._caught(error, request))

    def _begun(self, request: Request) -> bool:
        """Raise `DeadlineExceeded` if the time of a request passed while it waited for its thread, else be true."""
        if request.deadline <= self._quarters.clock.monotonic():
            raise DeadlineExceeded(
                f"{request.target} was not begun: its deadline had passed when its thread came to it", began="no"
            )
        return True

    def _in_time(self, request: Request, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method that is begun in time, or not at all, under its own name."""

        @wraps(method)
        async def begin(**arguments: Any) -> Any:
            self._begun(request)
            return await method(**arguments)

        return begin

    def _unknown(self, name: str) -> UnknownOperation:
        like = nearest(name, self._operations)
        hint = f"did you mean {like}?" if like else f"it has {', '.join(sorted(self._operations)) or 'none'}"
        return UnknownOperation(f"{self._service} has no operation {name}; {hint}", suggestion=like)

    async def _caught(self, error: Exception, request: Request) -> MeshError:
        """Turn what a method raised into the error its caller gets; what is this agent's fault is reported."""
        if isinstance(error, MeshError) and error.code and not isinstance(error, InvalidResult):
            return raised_by(error)
        error_id = await self._landlord.failed(error, request.operation, request.trace.trace_id.hex())
        if isinstance(error, InvalidResult):
            return error
        return RemoteFailure(f"{request.target} raised {type(error).__name__}: {error}",
                             type=type(error).__name__, error_id=error_id)

    # -- events and timers

    def hear(self, event: Event) -> None:
        """Queue an event for each subscription that it fits."""
        for hearing in self._fitting[event.topic]:
            hearing.hear(event)

    async def _take(self, group: str, request: Request) -> Reply:
        """Handle an event that this member was chosen for; it is handled to its end, also when nobody waits for it."""
        try:
            event = event_of(request)
        except ProtocolError as error:
            return Reply(error=InvalidArgument(f"{request.target}: {error}", path="arguments"))
        fitting = [one for one in self._members if one.group == group and matches(one.pattern, event.topic)]
        if self._agent is None or not fitting:
            return Reply(error=Unavailable(f"{self._service} hears no {event.topic} in group {group} now",
                                           retry_after=1.0))
        task = asyncio.get_running_loop().create_task(self._heard_by(fitting, event), context=Context())
        self._taken.add(task)
        task.add_done_callback(self._taken.discard)
        failed = await asyncio.shield(task)
        if failed is None:
            return Reply(encode(None), None, self._quarters.name)
        return Reply(error=RemoteFailure(f"{self._service} did not handle {event.topic}: its handler raised",
                                         type="Event", error_id=failed))

    async def _heard_by(self, subscriptions: list[Subscription], event: Event) -> str | None:
        """Have each handle the event; returns the id of the last failure, None if there was none."""
        failed = None
        for subscription in subscriptions:
            failed = await self._heard(subscription, event) or failed
        return failed

    def _heard(self, subscription: Subscription, event: Event) -> Awaitable[str | None]:
        """Handle one event; whatever the handler raises is reported, under the id that is returned."""
        return self._guarded(
            subscription.method, event.topic, "event", event.trace,
            lambda agent, runner: _invoke(
                runner, getattr(agent, subscription.method), subscription.bind(event.topic, event.value()),
                subscription.sync,
            ),
        )

    async def _tick(self, timer: Timer) -> None:
        await self._guarded(
            timer.method, "", "timer", None,
            lambda agent, runner: _invoke(runner, getattr(agent, timer.method), {}, timer.sync),
        )

    async def _guarded(
        self, method: str, topic: str, kind: Kind, cause: Trace | None,
        run: Callable[[Agent, Runner], Awaitable[Any]],
    ) -> str | None:
        agent, runner, around = self._agent, self._runner, self._quarters
        if agent is None or runner is None:
            return None
        trace = around.spans.root() if cause is None else cause.child()
        try:
            with Reacting(self._service, method, trace, kind, host=around.name, spans=around.spans, clock=around.clock):
                await run(agent, runner)
        except Exception as error:
            what = f"{method} on {topic}" if topic else method
            return await self._landlord.failed(error, what, trace.trace_id.hex())
        return None

    async def _events_dropped(self, subscription: Subscription, count: int) -> None:
        self._stats.events_lost += count
        await self._landlord.report(
            f"{count} events for {subscription.method} ({subscription.pattern}) were lost: it handles them too slowly",
            severity="warning", operation=subscription.method,
        )


def _single(cls: type[Agent]) -> str:
    """Say why a second agent of a class should not be set up beside the first, nothing if it may."""
    if issubclass(cls, MLAgent):
        return "its models may not have room twice"
    return "" if cls.teardown is Agent.teardown else "its teardown() may hand something over to the next"


async def _bound(cls: type[Agent], around: AgentContext, settings: Mapping[str, Any]) -> Agent:
    """Make the agent where its code runs, for its `__init__` is its own code too."""
    return cls.bind(around, settings)


def _invoke(runner: Runner, method: Callable[..., Any], arguments: dict[str, Any], sync: bool) -> Awaitable[Any]:
    return runner.blocking(lambda: method(**arguments)) if sync else runner.call(method, arguments)


def _version(code: bytes, operations: Mapping[str, Operation]) -> str:
    """Return what stands for an agent's code and the signatures of its operations: other code, other version."""
    words = [f"{name}{one.signature.text}" for name, one in sorted(operations.items())]
    return hashlib.blake2b("\n".join(words).encode() + code, digest_size=6).hexdigest()
