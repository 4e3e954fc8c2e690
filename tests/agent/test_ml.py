"""Models are loaded once, on first use; a language model server is asked when config names one."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from mesh.agent import MLAgent, examine, finish
from tests.agent.surroundings import surroundings
from tests.openai_server import OpenAIServer

ASKED = [{"role": "user", "content": "hello"}]


class Loader:
    """A loader that counts its runs, waits to be let go, and fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.runs = 0
        self.failures = failures
        self.started = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> str:
        self.runs += 1
        self.started.set()
        self.go.wait(10)
        if self.runs <= self.failures:
            raise OSError("no model file")
        return f"model {self.runs}"


def test_a_model_is_loaded_once_for_all_who_ask(tmp_path: Path) -> None:
    agent, loader = MLAgent.bind(surroundings(tmp_path)), Loader()
    loader.go.set()

    async def scenario() -> list[str]:
        models = await asyncio.gather(*(agent.load("embedder", loader) for _ in range(5)))
        models.append(await agent.load("embedder", loader))
        models.append(await agent.load("other", loader))
        await finish(agent)
        return models

    assert asyncio.run(scenario()) == ["model 1"] * 6 + ["model 2"]


def test_a_failed_load_is_told_to_all_and_tried_again_by_the_next(tmp_path: Path) -> None:
    agent, loader = MLAgent.bind(surroundings(tmp_path)), Loader(failures=1)
    loader.go.set()

    async def scenario() -> tuple[list[Any], str]:
        failed = await asyncio.gather(*(agent.load("embedder", loader) for _ in range(3)), return_exceptions=True)
        model = await agent.load("embedder", loader)
        await finish(agent)
        return [type(error) for error in failed], model

    assert asyncio.run(scenario()) == ([OSError] * 3, "model 2")


def test_a_caller_that_gives_up_does_not_spoil_the_load(tmp_path: Path) -> None:
    agent, loader = MLAgent.bind(surroundings(tmp_path)), Loader()

    async def scenario() -> str:
        first = asyncio.ensure_future(agent.load("embedder", loader))
        await asyncio.to_thread(loader.started.wait, 10)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        loader.go.set()
        model = await agent.load("embedder", loader)
        await finish(agent)
        return model

    assert asyncio.run(scenario()) == "model 1"


def test_a_load_still_running_ends_with_the_agent(tmp_path: Path) -> None:
    agent, loader = MLAgent.bind(surroundings(tmp_path)), Loader()

    async def scenario() -> None:
        waiting = asyncio.ensure_future(agent.load("embedder", loader))
        await asyncio.to_thread(loader.started.wait, 10)
        await finish(agent)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        loader.go.set()

    asyncio.run(scenario())


def test_without_an_engine_there_is_nobody_to_chat_with(tmp_path: Path) -> None:
    agent = MLAgent.bind(surroundings(tmp_path), {"engine": "builtin"})
    assert agent.chat is None
    assert asyncio.run(examine(agent)) is None


def test_a_configured_engine_is_asked_over_one_client_that_closes_with_the_agent(tmp_path: Path) -> None:
    async def scenario(server: OpenAIServer) -> str:
        agent = MLAgent.bind(surroundings(tmp_path), {"engine": {"base_url": server.base_url, "model": "small"}})
        chat = agent.chat
        assert chat is not None
        assert agent.chat is chat
        completion = await chat.complete(ASKED)
        await finish(agent)
        return completion.text

    with OpenAIServer() as server:
        assert asyncio.run(scenario(server)) == "you said: hello"


def test_an_engine_whose_key_is_missing_degrades_the_agent_with_what_to_do(tmp_path: Path) -> None:
    engine = {"base_url": "http://127.0.0.1:9", "model": "small", "api_key_env": "MESH_TEST_NO_SUCH_KEY"}

    class Limited(MLAgent):
        async def check(self) -> str | None:
            return "slow disk"

    agent = Limited.bind(surroundings(tmp_path), {"engine": engine})
    told = asyncio.run(examine(agent))
    assert told is not None
    assert told.startswith("slow disk; the engine at http://127.0.0.1:9/v1 needs a key")
    assert "MESH_TEST_NO_SUCH_KEY is not set" in told


def test_an_own_init_without_super_keeps_all_of_it(tmp_path: Path) -> None:
    class Own(MLAgent):
        def __init__(self) -> None:
            self.count = 0

    agent = Own.bind(surroundings(tmp_path))

    async def scenario() -> int:
        value = await agent.load("number", lambda: 7)
        await finish(agent)
        return value

    assert asyncio.run(scenario()) == 7
