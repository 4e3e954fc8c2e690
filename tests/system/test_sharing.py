"""Work shared among instances on two real hosts: events of a group, each to one member, and calls by strategy."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.runner import run
from tests.eventually import wait_until
from tests.figures import scrape
from tests.project import Project, project

PACKER = '''
import os

from mesh import Agent, AgentConfig, operation, subscribe


class It(Agent):
    """Packs orders; its journal is a file that is only ever appended to."""

    class Config(AgentConfig):
        journal: str

    def note(self, *words: object) -> None:
        journal = os.open(self.config.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(journal, (" ".join(map(str, words)) + "\\n").encode())
        os.close(journal)

    @subscribe("orders.*", group="workers")
    async def pack(self, order: int) -> None:
        self.note("packed", order, f"{self.service}@{self.host}")
        await self.clock.sleep(0.002)

    @subscribe("orders.*")
    async def see(self, order: int) -> None:
        self.note("seen", order, f"{self.service}@{self.host}")

    @operation
    async def where(self) -> str:
        return self.host
'''
DRAWER = '''
from mesh import Agent, operation


class It(Agent):
    """Keeps something for each user."""

    @operation
    async def where(self, user: str = "") -> str:
        return self.host
'''
SHOP = '''
from mesh import Agent, operation


class It(Agent):
    """Takes orders, and asks where they are packed."""

    @operation
    async def order(self, first: int, count: int, pause_s: float = 0.0) -> None:
        for number in range(first, first + count):
            await self.publish("orders.new", number)
            if pause_s:
                await self.clock.sleep(pause_s)

    @operation
    async def asked(self, keys: list[str]) -> dict[str, list[object]]:
        async def went(**wish: str) -> str:
            return await self.options(**wish).request("packer.where")

        return {
            "plain": [await went() for _ in keys], "in turn": [await went(balance="round_robin") for _ in keys],
            "on pc2": [await went(to_host="pc2#1")], "by key": [[key, await went(key=key)] for key in keys],
        }
'''
LIMIT = 60.0
MEMBERS = {"packer@mainpc": 1, "packer@pc2": 1, "boxer@pc2": 1, "tyer@mainpc": 2}
"""How many instances there are of each."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two hosts; five members: a service on both, one in a process of its own, two on threads. Two shops publish."""
    with project(tmp_path_factory.mktemp("shop")) as made:
        settings = {"journal": str(made.root / "journal")}
        made.agent("packer", PACKER, hosts=["mainpc", "pc2"], settings=settings)
        made.agent("boxer", PACKER, host="pc2", isolation="process", settings=settings)
        made.agent("tyer", PACKER, host="mainpc", isolation="thread", instances=2, settings=settings)
        made.agent("drawer", DRAWER, hosts=["mainpc", "pc2"], policies={"balance": "hash", "hash_by": "user"})
        made.agent("shop", SHOP)
        made.agent("stall", SHOP, host="pc2", isolation="process")
        made.up()
        yield made


def journal(shop: Project, what: str, since: int) -> list[tuple[int, str]]:
    """Return the orders from `since` on that were packed, or seen, and by whom."""
    lines = [line.split() for line in Path(shop.root / "journal").read_text().splitlines()]
    return [(int(order), who) for kind, order, who in lines if kind == what and int(order) >= since]


def fate(shop: Project, host: str) -> Counter[str]:
    """Return what became of the group's events that were published on a host, as its page of metrics says."""
    page = scrape(shop.ports[host][2])
    counts = {outcome: int(page.of("mesh_group_events_total", group="workers", outcome=outcome))
              for outcome in ("handled", "failed", "in_doubt", "lost")}
    counts["again"] = int(page.of("mesh_group_events_again_total", group="workers"))
    counts["waiting"] = int(page.of("mesh_group_events_waiting", group="workers"))
    return Counter({outcome: count for outcome, count in counts.items() if count})


def test_a_thousand_events_are_handled_once_each_and_by_all_members(shop: Project) -> None:
    assert shop.call("shop.order", first=0, count=500)["ok"] and shop.call("stall.order", first=500, count=500)["ok"]
    wait_until(lambda: len(journal(shop, "packed", 0)) >= 1000, LIMIT)
    wait_until(lambda: fate(shop, "mainpc") == fate(shop, "pc2") == {"handled": 500}, LIMIT)
    packed = journal(shop, "packed", 0)
    assert Counter(order for order, _ in packed) == dict.fromkeys(range(1000), 1)
    assert Counter(who for _, who in packed) == {
        who: 200 * count for who, count in MEMBERS.items()}  # by turns, on either publisher's host
    wait_until(lambda: len(journal(shop, "seen", 0)) == 5000, LIMIT)  # those in no group hear all of it


def test_a_subscription_tells_its_group(shop: Project) -> None:
    told = run(shop.root, "describe", "packer", "--json").json()["subscriptions"]
    assert {(row["pattern"], row["group"], row["method"]) for row in told} == {
        ("orders.*", "workers", "pack"), ("orders.*", None, "see")}
    assert "orders.* → pack, one of group workers" in run(shop.root, "describe", "packer").out
    boxer = next(node for node in run(shop.root, "graph", "--json").json()["services"] if node["service"] == "boxer")
    assert (boxer["hears"], boxer["groups"]) == (["orders.*"], {"workers": ["orders.*"]})
    assert "orders.* in group workers" in run(shop.root, "graph").out


def test_calls_are_balanced_by_rule_by_wish_and_by_the_operators_word(shop: Project) -> None:
    def call(*words: str) -> dict[str, Any]:
        told: dict[str, Any] = run(shop.root, "call", *words, "--json").json()
        return told

    asked = {service: call(f"{service}.asked", 'keys=["anna", "bert", "y", "paul"]')["result"]
             for service in ("shop", "stall")}
    assert asked["shop"]["plain"] == ["mainpc"] * 4  # one call at a time stays on its host
    assert asked["stall"]["plain"] == ["pc2"] * 4  # also from a process of its own
    assert Counter(asked["stall"]["in turn"]) == Counter(asked["shop"]["in turn"]) == {"mainpc": 2, "pc2": 2}
    assert asked["shop"]["on pc2"] == ["pc2"]
    homes = dict(asked["shop"]["by key"])
    assert set(homes.values()) == {"mainpc", "pc2"} and dict(asked["stall"]["by key"]) == homes  # from every host alike
    for key in ("anna", "paul"):
        told = call("drawer.where", f"user={key}")  # whose rule says: by `user`
        assert told["result"] == told["host"] == homes[key] == call("packer.where", "--key", key)["result"]
    assert call("packer.where", "--to", "pc2#1", "--balance", "random")["result"] == "pc2"
    refused = call("drawer.where")["error"]
    assert (refused["code"], refused["path"]) == ("invalid_argument", "user")
    wrong = run(shop.root, "call", "packer.where", "--balance", "rond_robin")
    assert wrong.code == 2 and "did you mean 'round_robin'?" in wrong.err


def test_who_is_killed_takes_along_what_it_had_in_hand_and_that_is_counted(shop: Project) -> None:
    before = fate(shop, "mainpc")
    pc2 = shop.pid("pc2")
    ordering = shop.spawn("mesh.cli", "call", "shop.order", "first=5000", "count=500", "pause_s=0.008")
    wait_until(lambda: len(journal(shop, "packed", 5000)) >= 20, LIMIT)
    shop.kill_pid(pc2, signal.SIGSTOP)  # what it is given from now on it has in hand when it dies
    wait_until(lambda: fate(shop, "mainpc")["waiting"] >= 5, LIMIT)
    shop.kill_pid(pc2, signal.SIGKILL)
    assert ordering.wait(LIMIT) == 0

    def over() -> Counter[str] | None:
        found = fate(shop, "mainpc")
        found.subtract(before)
        return found if not found["waiting"] and found.total() == 500 else None

    found = wait_until(over, LIMIT)
    times = Counter(order for order, _ in journal(shop, "packed", 5000))
    missing = set(range(5000, 5500)) - set(times)
    assert max(times.values()) == 1  # nobody handled what another had handled
    assert found["handled"] <= len(times) <= found["handled"] + found["in_doubt"]
    assert len(missing) <= found["in_doubt"] + found["lost"] and found["lost"] == 0
    assert 0 < found["in_doubt"] <= 200
    told = wait_until(lambda: [row["message"] for row in shop.json("errors") if "group workers" in row["message"]],
                      LIMIT)
    assert any("may not have been handled by" in message for message in told)
