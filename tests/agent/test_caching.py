"""What the author of an operation may say of keeping its answers, and what is refused at load."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mesh import Agent, Cache, operation
from mesh.agent import compile_operations
from mesh.cache.terms import Terms, terms_of
from mesh.errors import LoadError


class Facts(Agent):
    """Keeps some of its answers."""

    @operation(idempotent=True, cache=60)
    async def find(self, query: str) -> str:
        return query

    @operation(idempotent=True, cache=Cache(ttl=5, stale=30, key=("query",), tags=("facts",),
                                            depends_on=("add", "memory.add"), topics=("facts.*",)))
    async def search(self, query: str, limit: int = 3) -> list[str]:
        return [query] * limit

    @operation
    async def add(self, fact: str) -> None:
        pass


def test_a_number_is_a_lifetime_and_a_spec_says_more() -> None:
    told = {name: one.describe()["cache"] for name, one in compile_operations(Facts).items()}
    assert told == {
        "find": {"ttl_s": 60}, "add": None,
        "search": {"ttl_s": 5, "stale_s": 30, "key": ["query"], "tags": ["facts"], "depends_on": ["add", "memory.add"],
                   "topics": ["facts.*"]},
    }


def test_the_trait_reads_back_as_the_terms() -> None:
    trait = compile_operations(Facts)["search"].describe()["cache"]
    terms = terms_of("kb", "search", trait)
    assert terms == Terms("kb", "search", 5.0, 30.0, ("query",), ("facts",), ("kb.add", "memory.add"), ("facts.*",))
    assert terms.labels() == {"facts", "kb.add", "memory.add", "facts.*", "kb.search", "kb"}


@pytest.mark.parametrize(("trait", "config", "ttl", "stale"), [
    (None, {}, None, None),
    (None, {"ttl_s": 9.0}, 9.0, 0.0),
    ({"ttl_s": 60}, {}, 60.0, 0.0),
    ({"ttl_s": 60, "stale_s": 5}, {"ttl_s": 9.0, "stale_s": 0.0}, 9.0, 0.0),
    ({"ttl_s": "soon"}, {}, None, None),
    ({"ttl_s": True}, {}, None, None),
    ("60", {}, None, None),
    ({"ttl_s": 60, "tags": 7, "key": None}, {}, 60.0, 0.0),
])
def test_config_wins_over_the_trait_and_what_does_not_read_is_none(
    trait: Any, config: dict[str, Any], ttl: float | None, stale: float | None
) -> None:
    terms = terms_of("kb", "find", trait, **config)
    assert (None if terms is None else (terms.ttl_s, terms.stale_s)) == (None if ttl is None else (ttl, stale))


def refused(**said: Any) -> str:
    with pytest.raises(LoadError) as caught:
        class Wrong(Agent):
            @operation(**said)
            async def find(self, query: str) -> str:
                return query

            @operation
            async def add(self, fact: str) -> None:
                pass

        compile_operations(Wrong)
    return str(caught.value)


@pytest.mark.parametrize(("said", "told"), [
    ({"cache": 60}, "only where asking again does no harm"),
    ({"cache": 0, "idempotent": True}, "no seconds to keep an answer"),
    ({"cache": -1, "idempotent": True}, "no seconds to keep an answer"),
    ({"cache": "60", "idempotent": True}, "no seconds to keep an answer"),
    ({"cache": True, "idempotent": True}, "no seconds to keep an answer"),
    ({"cache": float("inf"), "idempotent": True}, "no seconds to keep an answer"),
    ({"cache": Cache(60, stale=-1), "idempotent": True}, "no seconds to keep an answer"),
    ({"cache": Cache(60, tags=("",)), "idempotent": True}, "tags is ('',), not a tuple of names"),
    ({"cache": Cache(60, tags="facts"), "idempotent": True}, "tags is 'facts', not a tuple of names"),  # type: ignore[arg-type]
    ({"cache": Cache(60, key=("question",)), "idempotent": True}, "the argument 'question', which it does not have"),
    ({"cache": Cache(60, topics=("a..b",)), "idempotent": True}, "in topics:"),
    ({"cache": Cache(60, depends_on=("a.b.c",)), "idempotent": True}, "in depends_on:"),
    ({"cache": Cache(60, depends_on=("ad",)), "idempotent": True}, "did you mean 'add'?"),
])
def test_what_cannot_be_kept_is_refused_where_it_is_written(said: dict[str, Any], told: str) -> None:
    message = refused(**said)
    assert told in message
    assert "expected:" in message


def test_the_items_of_a_stream_are_not_kept() -> None:
    class Streams(Agent):
        @operation(idempotent=True, cache=60)
        async def items(self) -> AsyncIterator[int]:
            yield 1

    with pytest.raises(LoadError, match="items of a stream are not kept"):
        compile_operations(Streams)
