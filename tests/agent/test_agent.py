"""An agent is bound to its surroundings, reads its settings, and asks its host for everything else."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from mesh.agent import Agent, AgentConfig, CallOptions, examine, finish, operation
from mesh.errorbus import Severity
from mesh.errors import ConfigError, InvalidArgument, LoadError
from tests.agent.surroundings import surroundings


class KnowledgeBase(Agent):
    """Facts."""

    class Config(AgentConfig):
        database: Path = Path("knowledge.db")
        results: int = 10

    config: Config

    @operation
    async def search_facts(self, query: str) -> list[str]:
        return [query] * self.config.results


class Counter(Agent):
    def __init__(self) -> None:
        self.count = 5
        self.named = f"{self.service}@{self.host}"


def test_an_agent_knows_its_place_and_its_settings(tmp_path: Path) -> None:
    context = surroundings(tmp_path)
    agent = KnowledgeBase.bind(context, {"results": 2})
    assert (agent.service, agent.host, agent.folder) == ("knowledge_base", "mainpc", tmp_path)
    assert agent.clock is context.clock
    assert agent.log is context.log
    assert agent.config.database == tmp_path / "knowledge.db"
    assert asyncio.run(agent.search_facts("x")) == ["x", "x"]


def test_an_own_init_needs_no_super_and_may_use_what_the_agent_has(tmp_path: Path) -> None:
    agent = Counter.bind(surroundings(tmp_path))
    assert (agent.count, agent.named) == (5, "knowledge_base@mainpc")
    assert asyncio.run(agent.check()) is None


def test_wrong_settings_are_refused_before_the_agent_exists(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'results'"):
        KnowledgeBase.bind(surroundings(tmp_path), {"result": 2})


def test_an_agent_made_by_hand_says_so() -> None:
    with pytest.raises(LoadError, match=r"KnowledgeBase\(\) is not bound to a host"):
        _ = KnowledgeBase().service


def test_a_request_carries_its_arguments_and_keeps_timeout_apart(tmp_path: Path) -> None:
    context = surroundings(tmp_path, answers={"memory_client.add_memory": {"memory_id": 7}})
    agent = Agent.bind(context)
    result = asyncio.run(agent.request("memory_client.add_memory", content="x", target=1, self=2, timeout=5.0))
    assert result == {"memory_id": 7}
    assert context.requests == [
        ("memory_client.add_memory", {"content": "x", "target": 1, "self": 2}, 5.0, CallOptions())
    ]


def test_options_apply_to_requests_and_peers_made_with_them(tmp_path: Path) -> None:
    context = surroundings(tmp_path, answers={"supervisor.status": {}, "cache_manager.flush": None})
    caller = Agent.bind(context).options(to_host="pc2")

    async def scenario() -> None:
        await caller.request("supervisor.status", timeout=1.0)
        await caller.peer("cache_manager").flush()

    asyncio.run(scenario())
    assert context.requests == [
        ("supervisor.status", {}, 1.0, CallOptions(to_host="pc2")),
        ("cache_manager.flush", {}, None, CallOptions(to_host="pc2")),
    ]


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="to_hots"):
        Agent.bind(surroundings(tmp_path)).options(to_hots="pc2")  # type: ignore[call-arg]


def test_an_event_goes_to_the_host_and_a_malformed_topic_does_not(tmp_path: Path) -> None:
    context = surroundings(tmp_path)
    agent = Agent.bind(context)
    asyncio.run(agent.publish("memory.added", {"id": 1}))
    assert context.published == [("memory.added", {"id": 1})]
    with pytest.raises(InvalidArgument, match=r"'memory\.\*' is no topic"):
        asyncio.run(agent.publish("memory.*"))
    assert len(context.published) == 1


def test_a_report_carries_severity_and_context(tmp_path: Path) -> None:
    context = surroundings(tmp_path)
    agent = Agent.bind(context)
    error = ValueError("odd")
    asyncio.run(agent.report(error))
    asyncio.run(agent.report("slow", "warning", took=3))
    assert context.reported == [(error, Severity.ERROR, {}), ("slow", Severity.WARNING, {"took": 3})]


def test_an_unknown_severity_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="'warn' is no severity, did you mean 'warning'"):
        asyncio.run(Agent.bind(surroundings(tmp_path)).report("slow", "warn"))


def test_states_are_kept_by_version_and_read_back(tmp_path: Path) -> None:
    context = surroundings(tmp_path)
    agent = Agent.bind(context)

    async def scenario() -> tuple[Any, ...]:
        before = await agent.get_latest_state()
        versions = [await agent.save_state({"step": step}) for step in range(3)]
        history = await agent.get_state_history(2)
        latest = await agent.get_latest_state()
        await context.state.close()
        return before, versions, [(one.version, one.state) for one in history], latest

    assert asyncio.run(scenario()) == (None, [1, 2, 3], [(3, {"step": 2}), (2, {"step": 1})], {"step": 2})


def test_a_blocking_function_runs_in_another_thread(tmp_path: Path) -> None:
    agent = Agent.bind(surroundings(tmp_path))
    thread, total = asyncio.run(agent.run(lambda a, b: (threading.current_thread(), a + b), 1, 2))
    assert total == 3
    assert thread is not threading.main_thread()


class Ailing(Agent):
    answer: str | Exception | None = None

    async def check(self) -> str | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(("answer", "told"), [
    (None, None),
    ("", None),
    ("no microphone", "no microphone"),
    (OSError("gone"), "check failed: OSError: gone"),
])
def test_examining_tells_why_an_agent_is_degraded(answer: Any, told: str | None, tmp_path: Path) -> None:
    agent = Ailing.bind(surroundings(tmp_path))
    agent.answer = answer
    assert asyncio.run(examine(agent)) == told


def test_finishing_runs_the_teardown(tmp_path: Path) -> None:
    class Leaving(Agent):
        left = False

        async def teardown(self) -> None:
            self.left = True

    agent = Leaving.bind(surroundings(tmp_path))
    asyncio.run(finish(agent))
    assert agent.left
