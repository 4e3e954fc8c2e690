"""Each figure that a host shows is changed by what it stands for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from mesh import Cancelled, RemoteFailure, __version__, every, operation, subscribe
from mesh.agent import AgentConfig
from mesh.supervisor.cell.lifecycle import State
from mesh.testing.clock import settle
from mesh.transport import profile
from tests.eventually import eventually
from tests.supervisor.plain import SOON, Failing, Plain, becomes, fresh, torn_down
from tests.supervisor.ruled import RuledHost, ruled_host


class Shown(Plain):
    """Has something of everything."""

    class Config(AgentConfig):
        size: int = 3
        password: SecretStr = SecretStr("open sesame")

    go: asyncio.Event
    why: str | None = None

    async def check(self) -> str | None:
        return self.why

    @operation
    async def work(self) -> None:
        await self.go.wait()

    @operation
    async def fail(self) -> None:
        raise ValueError("three")

    @operation
    async def burn(self) -> int:
        return sum(range(200_000))

    @subscribe("door.*")
    async def hear(self, payload: Any) -> None:
        """Hear doors."""

    @every(seconds=50)
    async def tidy(self) -> None:
        """Tidy up."""


def shown() -> type[Shown]:
    return fresh(Shown, go=asyncio.Event(), why=None)


def run(folder: Path, scenario: Callable[[RuledHost], Awaitable[None]]) -> None:
    async def scene() -> None:
        async with ruled_host(folder) as host:
            await scenario(host)

    asyncio.run(scene())


# -- the host's row


def test_a_host_says_who_it_is_and_for_how_long(tmp_path: Path) -> None:
    async def scenario(host: RuledHost) -> None:
        status = host.status()
        assert (status["name"], status["state"], status["incarnation"]) == ("mainpc", "ok", 4711)
        assert (status["pid"], status["security"], status["version"]) == (os.getpid(), "curve", __version__)
        assert status["uptime_s"] == 0.0
        await host.mesh.clock.advance(12.3)
        host.leaving = True
        assert (host.status()["uptime_s"], host.status()["state"]) == (12.3, "leaving")

    run(tmp_path, scenario)


def test_sockets_and_helpers_are_those_of_the_context(tmp_path: Path) -> None:
    async def scenario(host: RuledHost) -> None:
        assert (host.status()["sockets"], host.status()["helpers"]) == (0, 0)
        listener = profile.router(host.context, own=None)
        monitor = profile.monitor(listener, 0xFFFF)
        assert (host.status()["sockets"], host.status()["helpers"]) == (1, 1)
        await eventually(lambda: host.status()["contexts"] >= 1)
        monitor.close()
        assert (host.status()["sockets"], host.status()["helpers"]) == (1, 0)
        listener.close()
        assert (host.status()["sockets"], host.status()["helpers"]) == (0, 0)

    run(tmp_path, scenario)


def test_lag_and_memory_show(tmp_path: Path) -> None:
    async def scenario(host: RuledHost) -> None:
        before = host.status()
        assert before["loop_lag_ms"] == 0.0 and before["rss_mb"] > 10
        host.pulse.lag = 0.25
        block = bytearray(b"x") * (64 * 2**20)
        after = host.status()
        assert after["loop_lag_ms"] == 250.0 and 50 < after["rss_mb"] - before["rss_mb"] < 80
        del block

    run(tmp_path, scenario)


def test_agents_are_counted_by_state(tmp_path: Path) -> None:
    async def scenario(host: RuledHost) -> None:
        mesh, agent = host.mesh, shown()

        def counted() -> dict[str, int]:
            agents: dict[str, int] = host.status()["agents"]
            assert list(agents) == [state.value for state in State]
            return {state: count for state, count in agents.items() if count}

        assert counted() == {}
        cell = await mesh.add("shown", agent)
        failing = await mesh.add("failing", fresh(Failing, failed=0))
        assert counted() == {"ready": 1, "backoff": 1}
        agent.why = "the small engine answers"
        await cell.recheck()
        assert counted() == {"degraded": 1, "backoff": 1}
        while failing.state != "quarantined":
            await mesh.clock.advance(1)
            await becomes(failing, "backoff", "quarantined")
        assert counted() == {"degraded": 1, "quarantined": 1}
        call = asyncio.create_task(mesh.request("shown.work"))
        await settle()
        stopping = asyncio.create_task(cell.stop("stopped by an operator"))
        await settle()
        assert counted() == {"draining": 1, "quarantined": 1}
        agent.go.set()
        await mesh.clock.advance(0.1)
        await asyncio.gather(call, stopping)
        assert counted() == {"stopped": 1, "quarantined": 1}

    run(tmp_path, scenario)


def test_a_required_agent_that_does_not_serve_is_named(tmp_path: Path) -> None:
    async def scenario(host: RuledHost) -> None:
        cell = await host.mesh.add("plain", Plain)
        cell.resize(cell.spec.model_copy(update={"required": True}))
        assert host.status()["required_down"] == [] and host.row("plain")["required"]
        await cell.stop("stopped by an operator")
        assert host.status()["required_down"] == ["plain"]

    run(tmp_path, scenario)


def test_errors_of_the_last_five_minutes_are_counted(tmp_path: Path) -> None:
    async def scenario(host: RuledHost) -> None:
        host.report("a", severity="error", service="plain")
        host.report("b", severity="critical", service="plain")
        host.report("c", severity="warning", service="plain")
        assert host.status()["errors_last_5m"] == 2
        await host.mesh.clock.advance(200)
        host.report("d", severity="error", service="plain")
        assert host.status()["errors_last_5m"] == 3
        await host.mesh.clock.advance(101)
        assert host.status()["errors_last_5m"] == 1

    run(tmp_path, scenario)


# -- the rows of agents


def test_calls_errors_and_times_of_an_agent_show(tmp_path: Path) -> None:
    async def scenario(host: RuledHost) -> None:
        mesh, agent = host.mesh, shown()
        await mesh.add("shown", agent, limits={"concurrency": 1})
        row = host.row("shown")
        assert (row["service"], row["host"], row["state"], row["pid"]) == ("shown", "mainpc", "ready", os.getpid())
        assert (row["calls"], row["errors"], row["inbox"], row["p50_ms"], row["p99_ms"]) == (0, 0, 0, None, None)
        assert (row["reason"], row["last_error"], row["restarts"], row["required"]) == (None, None, 0, False)
        await mesh.request("shown.burn")
        with pytest.raises(RemoteFailure):
            await mesh.request("shown.fail")
        before, row = row, host.row("shown")
        assert (row["calls"], row["errors"], row["last_error"]) == (2, 1, "fail: ValueError: three")
        assert row["loop_ms"] > before["loop_ms"] and row["p50_ms"] < 1
        calls = [asyncio.create_task(mesh.request("shown.work")) for _ in range(3)]
        await mesh.clock.advance(2)
        assert host.row("shown")["inbox"] == 2
        agent.go.set()
        await asyncio.gather(*calls)
        row = host.row("shown")
        assert row["inbox"] == 0 and row["calls"] == 5 and 1900 < row["p99_ms"] < 2100

    run(tmp_path, scenario)


def test_a_crash_shows_in_restarts_incarnation_reason_and_last_error(tmp_path: Path) -> None:
    async def scenario(host: RuledHost) -> None:
        cell = await host.mesh.add("shown", shown(), isolation="thread")
        before = host.row("shown")
        assert before["isolation"] == "thread"
        with pytest.raises((RemoteFailure, Cancelled)):
            await host.mesh.request("shown.leave")
        row = host.row("shown")
        assert row["state"] == "backoff" and "restart in 0.1 s" in row["reason"]
        assert row["last_error"] == "AgentExit: the agent's code raised SystemExit"
        await torn_down(cell)
        await host.mesh.clock.advance(SOON)
        await becomes(cell, "ready")
        row = host.row("shown")
        assert (row["restarts"], row["reason"]) == (1, None) and row["incarnation"] > before["incarnation"]

    run(tmp_path, scenario)


def test_rows_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    async def scenario(host: RuledHost) -> None:
        for service in ("zebra", "ant", "mole"):
            await host.mesh.add(service, Plain)
        assert [row["service"] for row in host.rows()] == ["ant", "mole", "zebra"]

    run(tmp_path, scenario)


# -- one agent, and the table


def test_everything_about_an_agent_is_described(tmp_path: Path) -> None:
    async def scenario(host: RuledHost) -> None:
        cell = await host.mesh.add("shown", shown(), settings={"size": 5}, limits={"inbox": 7})
        cell.resize(cell.spec.model_copy(update={"origin": {"settings.size": "config/agents/shown.yaml:4"}}))
        host.announces("shown")
        told = host.describe(cell)
        assert told["purpose"] == "Has something of everything." and told["class"] == "test_board.py:Shown"
        assert [each["name"] for each in told["operations"]] == ["burn", "echo", "fail", "leave", "work"]
        assert [(each["pattern"], each["method"]) for each in told["subscriptions"]] == [("door.*", "hear")]
        assert [(each["method"], each["seconds"]) for each in told["timers"]] == [("tidy", 50.0)]
        assert told["settings"] == [
            {"key": "password", "value": "**********", "origin": "default"},
            {"key": "size", "value": 5, "origin": "config/agents/shown.yaml:4"},
        ]
        assert told["limits"]["inbox"] == 7 and told["depends_on"] == []
        assert [(row["host"], row["state"]) for row in told["instances"]] == [("mainpc", "ready")]

    run(tmp_path, scenario)


def test_the_table_is_the_directory_as_this_host_sees_it(tmp_path: Path) -> None:
    async def scenario(host: RuledHost) -> None:
        await host.mesh.add("plain", Plain)
        assert host.table()["hosts"] == host.table()["instances"] == []
        host.announces("plain")
        host.directory.replace(9, 3, {
            "settled": True, "desired": [], "overrides": [], "instances": [],
            "hosts": [{**host.table()["hosts"][0], "name": "pc2", "state": "busy"}],
        })
        table = host.table()
        assert (table["epoch"], table["revision"], table["registry"]["state"]) == (9, 3, "ok")
        assert [(row["name"], row["state"]) for row in table["hosts"]] == [("mainpc", "ok"), ("pc2", "busy")]
        (row,) = table["instances"]
        assert (row["service"], row["host"], row["operations"]) == ("plain", "mainpc", ["echo", "leave"])

    run(tmp_path, scenario)
