"""A whole agent class is compiled and checked at load, and what it offers is described."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.agent import Agent, AgentConfig, compile_agent, every, interface_of, operation, subscribe
from mesh.errors import LoadError, UnknownOperation
from mesh.message import decode, encode


class KnowledgeBase(Agent):
    """Facts the assistant has been told.

    More about it.
    """

    class Config(AgentConfig):
        results: int = 10

    @operation
    async def search_facts(self, query: str) -> list[str]:
        return [query]

    @subscribe("interaction.completed")
    async def learn_from(self, interaction: dict[str, Any]) -> None: ...

    @every(seconds=300)
    async def compact(self) -> None: ...


def test_the_interface_holds_everything_a_class_declares() -> None:
    interface = compile_agent(KnowledgeBase)
    assert interface.purpose == "Facts the assistant has been told."
    assert list(interface.operations) == ["search_facts"]
    assert [one.pattern for one in interface.subscriptions] == ["interaction.completed"]
    assert [one.seconds for one in interface.timers] == [300.0]
    assert interface.config is KnowledgeBase.Config


def test_the_description_travels_and_has_the_settings() -> None:
    described = compile_agent(KnowledgeBase).describe()
    assert decode(encode(described)) == described
    assert described["settings"]["properties"]["results"]["default"] == 10


def test_a_purpose_is_not_inherited_from_the_base_class() -> None:
    class Silent(Agent):
        pass

    assert compile_agent(Silent).purpose == ""


def test_an_unknown_operation_names_the_nearest() -> None:
    interface = compile_agent(KnowledgeBase)
    assert interface.operation("search_facts").name == "search_facts"
    with pytest.raises(UnknownOperation, match="did you mean 'search_facts'") as caught:
        interface.operation("search_fact")
    assert caught.value.details == {"suggestion": "search_facts"}
    with pytest.raises(UnknownOperation, match="there are: search_facts"):
        interface.operation("zzz")


@pytest.mark.parametrize("thing", [dict, len, 5])
def test_what_is_no_agent_is_refused(thing: Any) -> None:
    with pytest.raises(LoadError, match=r"a class derived from mesh\.Agent"):
        compile_agent(thing)


def test_everything_that_does_not_fit_is_told_at_once() -> None:
    class Broken(Agent):
        class Config:
            results: int = 10

        def __init__(self, path: str) -> None:
            self.path = path

        def setup(self) -> None:  # type: ignore[override]
            pass

        async def check(self, deep: bool) -> str | None:  # type: ignore[override]
            return None

        @operation
        async def ask(self, query) -> None: ...  # type: ignore[no-untyped-def]

        @subscribe("a.b")
        async def hear(self) -> None: ...

        @every(seconds=1)
        async def tick(self, now: float) -> None: ...

    with pytest.raises(LoadError) as caught:
        compile_agent(Broken)
    message = caught.value.message
    for told in (
        "Broken.setup: it is not async", "Broken.check: nobody gives it arguments",
        "Broken.__init__: nobody gives it arguments", "Broken.Config: it is not derived from AgentConfig",
        "Broken.ask: parameter 'query' has no annotation", "Broken.hear: a subscription takes one payload",
        "Broken.tick: a timer gives no arguments",
    ):
        assert told in message
    assert len(caught.value.details["findings"]) == 7
    assert all(finding["file"] == __file__ and finding["line"] for finding in caught.value.details["findings"])


def test_the_hook_for_new_settings_must_take_them() -> None:
    class Narrow(Agent):
        async def on_config(self, new: AgentConfig) -> None:  # type: ignore[override]
            pass

    class Blocking(Agent):
        def on_config(self, new: AgentConfig, old: AgentConfig) -> None:  # type: ignore[override]
            pass

    class Right(Agent):
        async def on_config(self, new: AgentConfig, old: AgentConfig) -> None:
            pass

    with pytest.raises(LoadError, match="it is given the new settings and the old ones"):
        compile_agent(Narrow)
    with pytest.raises(LoadError, match=r"on_config.*it is not async"):
        compile_agent(Blocking)
    compile_agent(Right)


def test_a_class_is_compiled_once_and_a_subclass_for_itself() -> None:
    class Base(Agent):
        @operation
        async def ask(self) -> None: ...

    class Derived(Base):
        @operation
        async def tell(self) -> None: ...

    assert interface_of(Base) is interface_of(Base)
    assert (set(interface_of(Base).operations), set(interface_of(Derived).operations)) == ({"ask"}, {"ask", "tell"})
