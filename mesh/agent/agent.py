"""The base class of every agent: what it is given, and what it may ask of its host.

An agent holds its own job only. Which host runs it, how calls travel and who restarts it is the business of the
`AgentContext` it is bound to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, overload

from mesh.address import nearest
from mesh.agent.caller import Caller, P, Peer
from mesh.agent.context import AgentContext
from mesh.agent.settings import AgentConfig, read_settings
from mesh.cache.terms import INVALIDATED, LONGEST_TAG
from mesh.clock import Clock
from mesh.connections import AgentConnections
from mesh.errorbus import Severity
from mesh.errors import InvalidArgument, LoadError
from mesh.policy.options import PLAIN, CallOptions
from mesh.state import StateVersion
from mesh.stream import Stream
from mesh.topics import check_topic

T = TypeVar("T")


@dataclass(slots=True)
class Bound:
    """What an agent holds of the mesh, under one name so that every other stays free: its host, and what to close."""

    context: AgentContext
    resources: AsyncExitStack = field(default_factory=AsyncExitStack)


class Agent:
    """A service of the mesh. Subclasses declare operations, subscriptions and timers, and a `Config` for settings."""

    Config: ClassVar[type[AgentConfig]] = AgentConfig

    config: Any
    """The settings, an instance of `Config`; annotate `config: Config` in the class for a type checker."""

    _mesh: Bound | None = None

    @classmethod
    def bind(cls, context: AgentContext, settings: Mapping[str, Any] | None = None) -> Self:
        """Return an agent on `context` with its settings read; `__init__` runs last and may use all of it.

        Raises `ConfigError` for settings that `Config` does not take.
        """
        agent = cls.__new__(cls)
        agent.config = read_settings(cls, context.service, settings or {}, context.folder)
        agent._mesh = Bound(context)
        agent.__init__()  # type: ignore[misc]  # after the context, so that __init__ may use it
        return agent

    async def setup(self) -> None:
        """Prepare for work; calls to others are allowed. An error here is a failed start."""

    async def teardown(self) -> None:
        """Release what `setup` took; databases and clients of the base classes close by themselves afterwards."""

    async def check(self) -> str | None:
        """Return None when well, or a text that says what is limited and why (the agent is then degraded)."""
        return None

    async def on_config(self, new: Any, old: Any) -> None:
        """Take over settings that an operator changed while the agent runs; an error here refuses them.

        `self.config` is the old one until this returns. An agent that does not define it is started anew instead.
        """

    @property
    def service(self) -> str:
        """The name this agent is called by."""
        return bound(self).context.service

    @property
    def instance(self) -> int:
        """The number of this agent among the instances of its service on its host, from 1."""
        return bound(self).context.instance

    @property
    def host(self) -> str:
        """The host this agent runs on."""
        return bound(self).context.host

    @property
    def folder(self) -> Path:
        """A folder of this service alone; it exists."""
        return bound(self).context.folder

    @property
    def clock(self) -> Clock:
        """The time, for whatever is decided by time."""
        return bound(self).context.clock

    @property
    def log(self) -> logging.Logger:
        """The logger of this service."""
        return bound(self).context.log

    @property
    def connections(self) -> AgentConnections:
        """Redis and HTTP, as `connections` of config/hosts.yaml names them; shared by the agents of this process."""
        return bound(self).context.connections

    def request(self, target: str, /, *, timeout: float | None = None, **arguments: Any) -> Coroutine[Any, Any, Any]:
        """Call `service.operation` with `arguments` and return its result as plain values.

        `timeout` is in seconds; without it the deadline is what is left of the call being answered, or 30 s.
        """
        return bound(self).context.request(target, arguments, timeout, PLAIN)

    def stream(self, target: str, /, *, timeout: float | None = None, **arguments: Any) -> Stream:
        """Return the items of `service.operation`, for `async for`; leaving the loop ends it there, too.

        `timeout` (seconds) is for the opening, and then for each wait for an item; without it both have what is left
        of the call being answered, or 30 s.
        """
        return bound(self).context.stream(target, arguments, timeout, PLAIN)

    @overload
    def peer(self, service: str) -> Peer: ...

    @overload
    def peer(self, service: type[P]) -> P: ...

    def peer(self, service: str | type[P]) -> Peer | P:
        """Return another service as an object whose methods are its operations, typed for a class of `mesh stubs`."""
        return Caller(bound(self).context, PLAIN).peer(service)

    def options(
        self, *, to_host: str | None = None, balance: str | None = None, key: str | int | float | bytes | None = None,
        retry: bool | int | None = None,
    ) -> Caller:
        """Return `request`, `stream` and `peer` for calls that are made otherwise than their service's policies say.

        `to_host` names the host that must answer, or one instance of it as `pc2#2`. `balance` is the strategy that
        chooses among instances; the same `key` goes to the same instance while that is there. `retry` is False for one
        attempt only, or how many there may be. Raises `InvalidArgument` for what is none of these.
        """
        return Caller(bound(self).context, CallOptions(to_host, balance, key, retry))

    async def publish(self, topic: str, payload: Any = None) -> None:
        """Send an event to whoever listens to `topic`; nobody's answer is waited for."""
        check_topic(topic)
        await bound(self).context.publish(topic, payload)

    async def invalidate_cache(self, *tags: str) -> None:
        """Say on every host that answers kept under these tags no longer hold; also `service` or `service.operation`.
        """
        if not tags or not all(type(tag) is str and 0 < len(tag) <= LONGEST_TAG for tag in tags):
            raise InvalidArgument(f"tags are {tags!r:.80}; give one or more names, as invalidate_cache(\"facts\")",
                                  path="tags")
        await self.publish(INVALIDATED, {"tags": list(tags)})

    async def report(self, error: BaseException | str, severity: str = "error", **context: Any) -> None:
        """Put an error, or a text, on the error bus; `context` is kept with it.

        `severity` is `debug`, `info`, `warning`, `error` or `critical`.
        """
        known = [each.value for each in Severity]
        if severity not in known:
            like = nearest(str(severity), known)
            hint = f", did you mean '{like}'?" if like else ""
            raise InvalidArgument(f"{severity!r} is no severity{hint}; there are {', '.join(known)}", path="severity")
        await bound(self).context.report(error, Severity(severity), context)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a blocking function in a thread and return its result; the event loop goes on meanwhile."""
        return await bound(self).context.run(function, *arguments)

    async def save_state(self, state: dict[str, Any]) -> int:
        """Keep `state` as the newest version of this service and return its number."""
        return await bound(self).context.state.save(self.service, state)

    async def get_latest_state(self) -> dict[str, Any] | None:
        """Return the state saved last, None when there is none."""
        latest = await bound(self).context.state.latest(self.service)
        return latest.state if latest else None

    async def get_state_history(self, limit: int = 10) -> list[StateVersion]:
        """Return up to `limit` saved states, the newest first."""
        return await bound(self).context.state.history(self.service, limit)

    def _mesh_limits(self) -> list[str]:
        """What the base classes themselves know to be limited, such as a missing engine."""
        context = bound(self).context
        return [*context.connections.limits(), *context.models.limits()]


def bound(agent: Agent) -> Bound:
    """Return what an agent is bound to; raises `LoadError` for one that was made by hand."""
    if agent._mesh is None:
        raise LoadError(
            f"{type(agent).__name__}() is not bound to a host; the supervisor binds agents, a test uses mesh.testing"
        )
    return agent._mesh


async def examine(agent: Agent) -> str | None:
    """Return why `agent` is degraded, None when it is well: its own check, then what its base classes know.

    An error of the check is its answer; it is never raised.
    """
    try:
        own = await agent.check()
    except Exception as error:  # the author's code: whatever it raises says that the agent is not well
        own = f"check failed: {type(error).__name__}: {error}"
    return "; ".join(reason for reason in (own, *agent._mesh_limits()) if reason) or None


async def finish(agent: Agent) -> None:
    """Run the agent's teardown, then close what its base classes opened, also when teardown or setup failed."""
    try:
        await agent.teardown()
    finally:
        await bound(agent).resources.aclose()
        bound(agent).context.connections.leave()
        await bound(agent).context.models.leave()


async def reconfigure(agent: Agent, settings: Mapping[str, Any]) -> bool:
    """Hand new settings to an agent that runs; returns False if it does not define `on_config`.

    Raises `ConfigError` for settings that its `Config` does not take, and whatever `on_config` raises.
    """
    context = bound(agent).context
    new = read_settings(type(agent), context.service, settings, context.folder)
    if type(agent).on_config is Agent.on_config:
        return False
    await agent.on_config(new, agent.config)
    agent.config = new
    return True
