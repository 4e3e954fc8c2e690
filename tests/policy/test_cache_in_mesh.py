"""Answers of real agents that are kept on every host, and go on all of them."""

from __future__ import annotations

from typing import Any

from mesh import Agent, AgentConfig, Cache, InvalidArgument, operation
from mesh.testing import InMemoryMesh, in_mesh


class Facts(Agent):
    """Knows facts, and counts how often it is asked."""

    async def setup(self) -> None:
        self.facts = ["first"]
        self.asked = 0

    @operation(idempotent=True, cache=Cache(ttl=60, tags=("facts",), depends_on=("add", "memory.store"),
                                            topics=("facts.changed",)))
    async def find(self, query: str = "", limit: int = 10) -> list[str]:
        """Return facts."""
        self.asked += 1
        return [fact for fact in self.facts if query in fact][:limit]

    @operation
    async def add(self, fact: str, fails: bool = False) -> None:
        """Add a fact, and fail afterwards where that is wanted."""
        self.facts.append(fact)
        if fails:
            raise InvalidArgument("after it was added", path="fact") if fact == "refused" else ValueError("broken")

    @operation
    async def forget(self) -> None:
        """Forget all facts and say so by tag."""
        self.facts.clear()
        await self.invalidate_cache("facts")


class Reader(Agent):
    """Asks on another host."""

    @operation
    async def read(self, query: str = "") -> list[str]:
        """Return what is found."""
        found: list[str] = await self.request("kb.find", limit=10, query=query)
        return found

    @operation
    async def read_otherwise(self, query: str = "") -> list[str]:
        """Return what is found, with the arguments in another order."""
        found: list[str] = await self.request("kb.find", query=query, limit=10)
        return found


class Memory(Agent):
    """Holds what facts are made of."""

    @operation
    async def store(self) -> None:
        """Change something."""


async def started(mesh: InMemoryMesh) -> Facts:
    await mesh.add("kb", Facts, host="pc2")
    await mesh.add("reader", Reader, host="mainpc")
    await mesh.add("there", Reader, host="pc2")
    await mesh.add("memory", Memory, host="mainpc")
    agent = mesh.agent("kb")
    assert isinstance(agent, Facts)
    return agent


@in_mesh
async def test_each_host_asks_once_whoever_asks_there_and_however(mesh: InMemoryMesh) -> None:
    kb = await started(mesh)
    for target in ("reader.read", "reader.read_otherwise", "there.read", "there.read_otherwise", "reader.read"):
        assert await mesh.request(target, query="f") == ["first"]
    assert kb.asked == 2
    await mesh.clock.advance(61)
    await mesh.request("reader.read", query="f")
    assert kb.asked == 3


@in_mesh
async def test_an_operation_that_answers_depend_on_lets_them_go_on_every_host(mesh: InMemoryMesh) -> None:
    kb = await started(mesh)
    for changed in ({"fact": "second"}, {"fact": "third", "fails": True}):
        for target in ("reader.read", "there.read"):
            await mesh.request(target)
        try:
            await mesh.request("kb.add", **changed)
        except Exception as error:
            assert "broken" in str(error)
        for target in ("reader.read", "there.read"):
            assert await mesh.request(target) == kb.facts
    asked = kb.asked
    await mesh.request("memory.store")
    await mesh.request("reader.read")
    assert kb.asked == asked + 1


@in_mesh
async def test_a_tag_and_a_topic_let_them_go_on_every_host(mesh: InMemoryMesh) -> None:
    kb = await started(mesh)
    assert await mesh.request("reader.read") == await mesh.request("there.read") == ["first"]
    await mesh.request("kb.forget")
    assert await mesh.request("reader.read") == await mesh.request("there.read") == []
    kb.facts.append("silently")
    assert await mesh.request("reader.read") == await mesh.request("there.read") == []
    await mesh.publish("facts.changed", origin="kb@pc2")
    assert await mesh.request("reader.read") == await mesh.request("there.read") == ["silently"]


@in_mesh
async def test_new_code_gives_no_answers_of_the_old(mesh: InMemoryMesh) -> None:
    await started(mesh)
    assert await mesh.request("reader.read") == ["first"]

    class Newer(Facts):
        """The same, with a filter more."""

        @operation(idempotent=True, cache=60)
        async def find(self, query: str = "", limit: int = 10, loud: bool = False) -> list[str]:
            """Return facts, loudly."""
            return ["FIRST"]

    await mesh.add("kb", Newer, host="pc2")
    assert await mesh.request("reader.read") == ["FIRST"]


class Polite(Agent):
    """Answers as its settings say."""

    class Config(AgentConfig):
        greeting: str = "hello"

    config: Config

    @operation(idempotent=True, cache=600)
    async def greet(self) -> str:
        """Return the greeting."""
        return self.config.greeting


class Adaptable(Polite):
    """Takes new settings over while it runs."""

    async def on_config(self, new: Polite.Config, old: Polite.Config) -> None:
        """Nothing is kept of the old."""


@in_mesh
async def test_answers_of_old_settings_and_of_an_agent_before_its_restart_are_not_given(mesh: InMemoryMesh) -> None:
    for service, agent in (("polite", Polite), ("adaptable", Adaptable)):
        await mesh.add(service, agent, host="pc2", settings={"greeting": "good day"})
        assert await mesh.request(f"{service}.greet") == "good day"
        await mesh.configure(service, greeting="hi")
        assert await mesh.request(f"{service}.greet") == "hi"
    kb = await started(mesh)
    kb.facts.append("lost with the restart")
    assert len(await mesh.request("kb.find")) == 2
    await mesh.restart("kb")
    assert await mesh.request("kb.find") == ["first"]


@in_mesh
async def test_config_turns_it_off_and_changes_its_time(mesh: InMemoryMesh) -> None:
    await mesh.add("kb", Facts, host="pc2", policies={"cache": None})
    kb = mesh.agent("kb")
    assert isinstance(kb, Facts)
    for _ in range(3):
        await mesh.request("kb.find")
    assert kb.asked == 3
    await mesh.add("short", Facts, policies={"operations": {"find": {"cache": {"ttl_s": 5.0}}}})
    short = mesh.agent("short")
    assert isinstance(short, Facts)
    for seconds, asked in ((0, 1), (4, 1), (2, 2)):
        await mesh.clock.advance(seconds)
        await mesh.request("short.find")
        assert short.asked == asked


@in_mesh
async def test_a_host_that_was_cut_off_forgets_what_it_kept(mesh: InMemoryMesh) -> None:
    kb = await started(mesh)
    await mesh.request("reader.read")
    mesh.cut("mainpc")
    kb.facts.append("meanwhile")
    await mesh.publish("facts.changed", origin="kb@pc2")
    assert await mesh.request("reader.read") == ["first"], "kept answers bridge the cut, for as long as they live"
    mesh.mend("mainpc")
    assert await mesh.request("reader.read") == ["first", "meanwhile"]


@in_mesh
async def test_a_trace_shows_that_nobody_was_asked(mesh: InMemoryMesh) -> None:
    await started(mesh)
    for _ in range(2):
        await mesh.request("reader.read")
    kinds = sorted((span.kind, span.host) for span in mesh.spans if span.service == "kb")
    assert kinds == [("answer", "pc2"), ("cache", "mainpc"), ("call", "mainpc"), ("call", "mainpc")]


@in_mesh
async def test_tags_that_are_none_are_refused(mesh: InMemoryMesh) -> None:
    kb = await started(mesh)
    wrong: tuple[Any, ...] = ((), ("",), ("x" * 300,), (7,))
    for tags in wrong:
        try:
            await kb.invalidate_cache(*tags)
        except InvalidArgument as error:
            assert "give one or more names" in error.message
        else:
            raise AssertionError(f"{tags} were taken")
