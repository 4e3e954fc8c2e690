"""Several instances of a service in real processes: scaled under load, and one killed, without a failed call."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from tests.eventually import wait_until
from tests.project import project
from tests.slack import Slack

AGENT = """
    import asyncio
    from mesh import Agent, operation


    class It(Agent):
        @operation(idempotent=True)
        async def number(self) -> int:
            await asyncio.sleep(0.002)
            return self.instance
"""
CALLER = """
    import asyncio
    from contextvars import Context
    from mesh import Agent, operation


    class It(Agent):
        async def setup(self) -> None:
            self.failed: list[str] = []
            self.counts: dict[str, int] = {}
            self.calls = 0
            self.task: asyncio.Task[None] | None = None

        async def teardown(self) -> None:
            if self.task is not None:
                self.task.cancel()

        @operation
        async def begin(self) -> None:
            self.task = asyncio.create_task(self.drive(), context=Context())  # it outlives this call

        async def drive(self) -> None:
            pending = set()
            while True:
                pending.add(asyncio.create_task(self.one()))
                pending = {task for task in pending if not task.done()}
                await asyncio.sleep(0.01)

        async def one(self) -> None:
            self.calls += 1
            try:
                number = str(await self.request("nlu.number", timeout=10.0))
                self.counts[number] = self.counts.get(number, 0) + 1
            except Exception as error:
                self.failed.append(f"{type(error).__name__}: {error}")

        @operation
        async def told(self) -> dict[str, object]:
            return {"calls": self.calls, "counts": dict(self.counts), "failed": self.failed[:5]}
"""


def test_scaling_up_and_down_and_a_killed_instance_fail_no_call_of_two_hosts(tmp_path: Path) -> None:
    with project(tmp_path) as mesh:
        mesh.agent("nlu", AGENT, isolation="process")
        mesh.agent("near", CALLER)
        mesh.agent("far", CALLER, host="pc2")
        mesh.up()
        for caller in ("near", "far"):
            assert mesh.call(f"{caller}.begin")["ok"]
        took = scaled(mesh, 2)
        wait_until(lambda: all(set(told(mesh, caller)["counts"]) == {"1", "2"} for caller in ("near", "far")), 30)
        second = next(row for row in mesh.json("agents") if (row["service"], row["instance"]) == ("nlu", 2))
        mesh.kill_pid(second["pid"], signal.SIGKILL)
        wait_until(lambda: any((row["service"], row["instance"], row["state"]) == ("nlu", 2, "ready")
                               and row["restarts"] == 1 for row in mesh.json("agents")), 30)
        took = max(took, scaled(mesh, 1))
        assert [row["instance"] for row in mesh.json("agents") if row["service"] == "nlu"] == [1]
        for caller in ("near", "far"):
            now = told(mesh, caller)
            assert now["failed"] == [] and now["calls"] > 200, now
        assert took < 5.0, took


def scaled(mesh: Any, count: int) -> float:
    """Scale, and return how many seconds that took, without those in which this machine let nobody run."""
    with Slack() as slack:
        outcome = mesh.json("agent", "scale", "nlu", str(count))
    assert outcome["ok"] and outcome["instances"] == {"mainpc": count}, outcome
    print(f"nlu was scaled to {count} in {outcome['seconds']:.1f} s, {slack.lost:.1f} s of them lost")
    return float(outcome["seconds"]) - slack.lost


def told(mesh: Any, caller: str) -> dict[str, Any]:
    answer: dict[str, Any] = mesh.call(f"{caller}.told")["result"]
    return answer
