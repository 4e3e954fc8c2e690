"""The base class of agents that use models: loaded on first use, or asked over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self, TypeVar, cast

from mesh.agent.agent import Agent, bound
from mesh.agent.chat import ChatClient
from mesh.agent.engine import Engine, EngineConfig, obstacle
from mesh.agent.settings import AgentConfig

T = TypeVar("T")


class MLAgent(Agent):
    """An agent with models. A `Config` derived from `MLAgent.Config` takes the section `engine`."""

    class Config(AgentConfig):
        """Settings of an agent that may ask a language model server; without one the built-in engine answers."""

        engine: Engine = None

    _mesh_loads: dict[str, asyncio.Future[Any]]
    _mesh_chat: ChatClient | None

    def __new__(cls) -> Self:
        agent = super().__new__(cls)  # not in __init__, which subclasses need not call
        agent._mesh_loads = {}
        agent._mesh_chat = None
        return agent

    async def load(self, name: str, loader: Callable[[], T]) -> T:
        """Return what `loader` returns; it runs once in a thread, on first use, whoever asks meanwhile waits for it.

        A loader that raises is tried again by the next call. It goes on when a caller gives up, as others may wait.
        """
        if name not in self._mesh_loads:
            if not self._mesh_loads:
                bound(self).resources.callback(self._forget_loads)
            loading = self._mesh_loads[name] = asyncio.ensure_future(self.run(loader))
            loading.add_done_callback(lambda done: self._forget_failure(name, done))
        return cast(T, await asyncio.shield(self._mesh_loads[name]))

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

    def _forget_failure(self, name: str, done: asyncio.Future[Any]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._mesh_loads.pop(name, None)

    def _forget_loads(self) -> None:
        for loading in list(self._mesh_loads.values()):
            loading.cancel()
        self._mesh_loads.clear()
