"""Kept answers over two real hosts: asked once per host, let go on both, seen on the command line."""

from __future__ import annotations

import json
from typing import Any

from tests.eventually import wait_until
from tests.project import Project

KB = '''
from mesh import Agent, Cache, operation


class It(Agent):
    """Knows facts, and counts how often it is asked."""

    async def setup(self) -> None:
        self.facts = ["first"]
        self.asked = 0

    @operation(idempotent=True, cache=Cache(ttl=600, tags=("facts",), depends_on=("add",)))
    async def find(self) -> list[str]:
        self.asked += 1
        return self.facts

    @operation
    async def add(self, fact: str) -> None:
        self.facts.append(fact)

    @operation
    async def replace(self, fact: str) -> None:
        self.facts = [fact]
        await self.invalidate_cache("facts")

    @operation
    async def swap_in_silence(self, fact: str) -> int:
        self.facts = [fact]
        return self.asked
'''

READER = '''
from mesh import Agent, operation


class It(Agent):
    """Reads facts, and changes them on the way."""

    @operation
    async def read(self) -> list[str]:
        return await self.request("kb.find")

    @operation
    async def read_by(self, readers: list[str]) -> list[list[str]]:
        return [await self.request(f"{reader}.read") for reader in readers]

    @operation
    async def add_and_read(self, facts: list[str]) -> int:
        """Return how many of the facts were missing right after they were added."""
        missing = 0
        for fact in facts:
            await self.request("kb.add", fact=fact)
            missing += fact not in await self.request("kb.find")
        return missing
'''
READERS = ["here", "there", "inside"]


def value(mesh: Project, target: str, **arguments: Any) -> Any:
    answer = mesh.call(target, **arguments)
    assert answer["ok"], answer
    return answer["result"]


def read(mesh: Project) -> Any:
    """Return what each reader is given: one on either host, and one in a process of its own."""
    return value(mesh, "all.read_by", readers=READERS)


def comes(mesh: Project, *facts: str) -> None:
    """Wait until every reader is given these facts."""
    wait_until(lambda: read(mesh) == [list(facts)] * 3, 20.0)


def test_answers_are_kept_on_every_host_and_go_on_all_of_them(pair: Project) -> None:
    pair.agent("kb", KB, host="pc2")
    for service, host, isolation in (("all", "mainpc", "coroutine"), ("here", "mainpc", "coroutine"),
                                     ("there", "pc2", "coroutine"), ("inside", "mainpc", "process")):
        pair.agent(service, READER, host=host, isolation=isolation)
    pair.up()
    assert read(pair) == read(pair) == [["first"]] * 3
    assert value(pair, "kb.swap_in_silence", fact="unseen") == 2, "one call for each host"
    assert read(pair) == [["first"]] * 3
    value(pair, "kb.add", fact="second")
    comes(pair, "unseen", "second")
    value(pair, "kb.replace", fact="third")
    comes(pair, "third")
    value(pair, "kb.swap_in_silence", fact="fourth")
    assert read(pair) == [["third"]] * 3
    told = json.loads(pair.mesh("cache", "clear", "kb", "--tag", "facts", "--json").stdout)
    assert (told["tags"], told["entries"]) == (["kb", "facts"], 1)
    comes(pair, "fourth")
    facts = [f"fact {number}" for number in range(40)]
    for reader in READERS:
        assert value(pair, f"{reader}.add_and_read", facts=facts) == 0, "who changes something sees it at once"


def test_what_is_kept_is_shown_and_turned_off_while_it_runs(pair: Project) -> None:
    pair.agent("kb", KB, host="pc2", isolation="process")
    for service in ("all", *READERS):
        pair.agent(service, READER, host="mainpc")
    pair.up()
    assert read(pair) == [["first"]] * 3
    value(pair, "kb.replace", fact="from a process of its own")
    comes(pair, "from a process of its own")
    assert pair.mesh("cache", "clear", "kb").returncode == 0
    (before,) = pair.json("cache", "show")["rows"]
    read(pair)
    (row,) = pair.json("cache", "show", "--service", "kb")["rows"]
    assert (row["host"], row["operation"], row["ttl_s"], row["entries"]) == ("mainpc", "find", 600, 1)
    assert (row["hits"] - before["hits"], row["misses"] - before["misses"]) == (2, 1)
    shown = pair.mesh("cache", "show").stdout
    assert "kb.find" in shown and f" {row['hits']} " in shown
    described = pair.mesh("describe", "kb").stdout
    assert "on mainpc: answers of find are kept for 600 s or until facts, kb.add: 1 in" in " ".join(described.split())
    assert pair.mesh("config", "set", "kb", "policies.cache", "null").returncode == 0
    before = value(pair, "kb.swap_in_silence", fact="live")
    wait_until(lambda: read(pair) == [["live"]] * 3, 20.0)
    read(pair)
    assert value(pair, "kb.swap_in_silence", fact="live") >= before + 3
    assert pair.json("cache", "show")["rows"] == []
    refused = pair.mesh("cache", "clear")
    assert refused.returncode == 2 and "--all for everything" in refused.stderr
