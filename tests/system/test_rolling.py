"""Agents are replaced and hosts stop while others call them: no call fails for it, and none is lost in silence."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import rolling
from mesh.cli.operator import Operator
from mesh.config import load
from mesh.errors import MeshError
from tests.project import project

WORKER = """
    import asyncio
    from pathlib import Path

    from mesh import Agent, operation


    class It(Agent):
        async def setup(self) -> None:
            self._journal = Path({journal!r}).open("a")

        @operation
        async def work(self, number: int) -> int:
            print("began", number, file=self._journal, flush=True)
            await asyncio.sleep(0.05)
            print("ended", number, file=self._journal, flush=True)
            return number
"""


def test_no_call_fails_while_an_agent_is_reloaded_and_restarted_on_two_hosts(tmp_path: Path) -> None:
    with rolling.running(tmp_path) as mesh:
        rows = asyncio.run(rolling.measure(mesh, {"reload": mesh.reload, "roll": mesh.roll}))
        assert [(row.failed, row.told) for row in rows] == [(0, ""), (0, "")]
        assert all(row.sent > 30 for row in rows)
        assert '"result": {"number": 1, "version": "2"}' in mesh.run("call", "bench_target.work", "number=1", "--json")


def test_a_host_that_goes_down_answers_every_call_it_has_accepted(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with project(tmp_path / "mesh") as mesh:
        source = WORKER.format(journal=str(journal))
        mesh.agent("here", source, limits={"concurrency": 2, "stop_s": 1.0})
        mesh.agent("apart", source, isolation="process", limits={"concurrency": 2, "stop_s": 1.0})
        mesh.up("--host", "mainpc")
        outcomes = asyncio.run(_called_until_down(mesh))
    assert len(outcomes) == 120 and Counter(code for _, code in outcomes)["ok"] >= 4
    entries = [line.split() for line in journal.read_text().splitlines()]
    began = Counter(number for what, number in entries if what == "began")
    assert max(began.values()) == 1, "none was run twice"
    ended = {number for what, number in entries if what == "ended"}
    for number, code in outcomes:
        assert code in {"ok", "unavailable", "cancelled", "unreachable"}
        assert code != "ok" or str(number) in ended
        assert code != "unavailable" or str(number) not in began, "who was told that it never began, did not begin"


async def _called_until_down(mesh: Any) -> list[tuple[int, str]]:
    """Make more calls than can be worked on, stop the host meanwhile, and return number and outcome of each."""
    operator = Operator(load(mesh.root), timeout=None)
    outcomes: list[tuple[int, str]] = []

    async def call(number: int) -> None:
        try:
            service = "here" if number % 2 else "apart"
            assert await operator.ask(f"{service}.work", {"number": number}, limit=30.0) == number
            outcomes.append((number, "ok"))
        except MeshError as error:
            outcomes.append((number, error.code))

    try:
        await operator.connect()
        calls = [asyncio.create_task(call(number)) for number in range(120)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        down = await asyncio.to_thread(mesh.mesh, "down", "--json")
        assert json.loads(down.stdout)["stopped"] == ["mainpc"], down.stderr
        await asyncio.wait_for(asyncio.gather(*calls), 90)
    finally:
        operator.close()
    return outcomes
