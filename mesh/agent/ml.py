"""The base class of agents that use models: loaded on first use, or asked over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Self, TypeVar

from mesh.agent.agent import Agent, bound
from mesh.agent.chat import ChatClient
from mesh.agent.engine import Engine, EngineConfig, obstacle
from mesh.agent.settings import AgentConfig
from mesh.client import CURRENT
from mesh.models import Batched

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an item
O = TypeVar("O")  # noqa: E741 - an outcome


class MLAgent(Agent):
    """An agent with models. A `Config` derived from `MLAgent.Config` takes the section `engine`."""

    class Config(AgentConfig):
        """Settings of an agent that may ask a language model server; without one the built-in engine answers."""

        engine: Engine = None

    _mesh_chat: ChatClient | None

    def __new__(cls) -> Self:
        agent = super().__new__(cls)  # not in __init__, which subclasses need not call
        agent._mesh_chat = None
        return agent

    async def load(
        self, name: str, loader: Callable[[], T], *, memory_mb: float | None = None, device: str = "cpu",
        shared: bool = False,
    ) -> T:
        """Return what `loader` returns; it runs once in a thread, on first use, whoever asks meanwhile waits for it.

        Ask for it anew whenever it is used: a model that nobody asked for in 30 s may be let go to make room, and the
        next call loads it again. `memory_mb` is what it takes of `device` (MiB), measured on `cpu` when not given. With
        `shared` all agents of this process that name it get the same one. A failed load degrades the agent and is tried
        again by a later call; it goes on when a caller gives up, as others may wait. Raises what the loader raises,
        `Unavailable` soon after a failure, `Overloaded` while the budget of the host has no room.
        """
        return await bound(self).context.models.load(name, loader, memory_mb=memory_mb, device=device, shared=shared)

    def batched(
        self, function: Callable[[list[I]], Sequence[O] | Awaitable[Sequence[O]]], *, max_batch: int = 32,
        max_wait_ms: float = 0.0, parallel: int = 1,
    ) -> Batched[I, O]:
        """Return `function`, which takes a list of items and returns a list as long, as one to be called per item.

        Concurrent calls reach it together: at most `max_batch`, and `parallel` batches at the same time. What comes
        while the function works leaves with the next batch; `max_wait_ms` holds the first one back for company too. An
        exception in the returned list is raised for that item alone. A plain function runs in a thread. Make it once,
        in `setup`.
        """
        context = bound(self).context
        made: Batched[I, O] = Batched(function, max_batch=max_batch, max_wait=max_wait_ms / 1000, parallel=parallel,
                                      clock=context.clock, run=context.run, caller=_caller)
        bound(self).resources.callback(made.close)
        return context.models.batched(made)

    @property
    def chat(self) -> ChatClient | None:
        """The client of the configured language model server, None when config names none (`engine: builtin`)."""
        engine = getattr(self.config, "engine", None)
        if self._mesh_chat is None and isinstance(engine, EngineConfig):
            self._mesh_chat = ChatClient(engine, remaining=bound(self).context.remaining)
            bound(self).resources.push_async_callback(self._mesh_chat.close)
        return self._mesh_chat

    def _mesh_limits(self) -> list[str]:
        engine = getattr(self.config, "engine", None)
        missing = obstacle(engine) if isinstance(engine, EngineConfig) else None
        return [*super()._mesh_limits(), *([missing] if missing else [])]


def _caller() -> str:
    request = CURRENT.get()
    return request.caller if request is not None else ""
