"""Calls are bounded between real processes: a rate, a fallback, and a flood that leaves the callee at work."""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks import overload
from tests.project import Project

FAR = '''
from mesh import Agent, operation


class It(Agent):
    """Answers, or does not."""

    @operation(idempotent=True)
    async def look(self) -> str:
        return "seen"

    @operation
    async def fail(self) -> str:
        raise RuntimeError("made to fail")
'''


def test_a_rate_refuses_with_the_moment_to_come_again_and_a_fallback_says_that_it_is_one(empty: Project) -> None:
    empty.agent("far", FAR, host="pc2", policies={
        "retry": None,
        "operations": {"look": {"rate": {"calls": 2, "per_s": 600.0}}, "fail": {"fallback": {"value": "sorry"}}},
    })
    empty.up()
    told = [empty.call("far.look") for _ in range(3)]
    assert [one["ok"] for one in told] == [True, True, False]
    assert told[0]["fallback"] is None
    assert told[2]["error"]["code"] == "rate_limited" and 200 < told[2]["error"]["retry_after"] <= 300
    told = [empty.call("far.fail")]
    assert (told[0]["ok"], told[0]["result"], told[0]["fallback"]) == (True, "sorry", "value")
    shown = empty.mesh("describe", "far").stdout
    assert "rate of look: 1 calls refused" in shown and "1 calls answered by the fallback" in shown


def test_a_flood_leaves_the_callee_at_work_and_every_call_is_told_what_became_of_it(tmp_path: Path) -> None:
    with overload.running(tmp_path) as folder:
        found = asyncio.run(overload.measured(folder, "compute", 4.0, times=8.0, seconds=3.0, trial=1.0, known=50.0))
    for stage in (found.flood, found.after):
        assert sum(stage.codes.values()) == stage.offered
    assert found.flood.codes["ok"] + found.after.codes["ok"] > 0, "how many, a busy machine decides"
    assert set(found.flood.codes) <= {"ok", "overloaded", "deadline_exceeded", "held", "circuit_open"}
    opened = found.flood.codes["circuit_open"] > 0
    assert not opened or found.flood.codes["deadline_exceeded"] >= 5, "no breaker opens for what is refused"
    assert max(found.memory) - min(found.memory) < 50
    assert len(list(found.lines())) > 5
