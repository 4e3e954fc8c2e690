"""A hold is told to who started the host while it lasts, then to the error bus: a place once a minute, with a count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from mesh.policy.measure import CallStats
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.loop.blame import TOLD_EACH
from mesh.supervisor.loop.hold import Hold, Kind, Place
from mesh.supervisor.loop.looptime import LoopTime
from mesh.testing import FakeClock
from mesh.testing.clock import settle

SPIN = Place("spinner", "spin", "spin", "agents/spinner.py", 12)
OWN = Place("supervisor", "spinner.spin", "encode", "mesh/message.py", 99)


class Rig:
    """The loop time of a host with one agent; what is told, reported and blamed is kept."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.told: list[dict[str, Any]] = []
        self.reports: list[dict[str, Any]] = []
        self.blamed: list[tuple[str, Hold]] = []
        spec = SimpleNamespace(file=Path("/project/agents/spinner.py"))
        self.stats = CallStats()
        cell = cast("Cell", SimpleNamespace(service="spinner", spec=spec, stats=self.stats, isolation="coroutine"))
        self.looptime = LoopTime(
            "mainpc", Path("/project"), {"spinner": cell}, clock=self.clock, report=self._report,
            tell=self.told.append, blamed=lambda whose, hold: self.blamed.append((whose.service, hold)),
        )

    def _report(self, error: BaseException | str, **given: Any) -> str:
        self.reports.append({"text": str(error), **given})
        return "mainpc-000001"

    async def held(self, seconds: float, *, place: Place = SPIN, kind: Kind = Kind.COMPUTING, lasts: bool = False
                   ) -> None:
        """Say so as the watching thread does."""
        await asyncio.to_thread(self.looptime._held, Hold(place, seconds, kind, lasts))
        await settle()


def run(scenario: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
    async def made() -> None:
        rig = Rig()
        try:
            await scenario(rig)
        finally:
            rig.looptime.stop()

    asyncio.run(made())


def test_who_holds_the_loop_still_is_told_after_one_second_and_after_ten() -> None:
    async def scenario(rig: Rig) -> None:
        for tenth in range(3, 150):
            await rig.held(tenth / 10, lasts=True)
        assert [event["message"].partition(" s and")[0].rpartition(" ")[2] for event in rig.told] == ["1.0", "10.0"]
        first = rig.told[0]
        assert (first["event"], first["host"], first["service"]) == ("blocked", "mainpc", "spinner")
        assert "spinner (spin) has held the event loop of mainpc" in first["message"]
        assert "spin() at agents/spinner.py:12" in first["message"] and rig.reports == []
        await rig.held(15.0)
        await rig.held(1.0, lasts=True)  # another time
        assert len(rig.told) == 3

    run(scenario)


def test_a_place_is_put_on_the_error_bus_at_once_and_then_once_a_minute_with_the_count() -> None:
    async def scenario(rig: Rig) -> None:
        for _ in range(5):
            await rig.held(0.5)
        (report,) = rig.reports
        assert report["text"].startswith("spinner (spin) held the event loop of mainpc for 0.50 s: computing in spin()")
        assert "(1 so far, 0.50 s in all)" in report["text"] and "`isolation: process`" in report["text"]
        assert (report["severity"], report["service"], report["operation"]) == ("warning", "spinner", "spin")
        assert (report["context"]["line"], report["context"]["seconds"]) == (12, 0.5)
        await rig.clock.advance(TOLD_EACH)
        await rig.held(0.5)
        assert "(6 so far, 3.00 s in all)" in rig.reports[1]["text"] and len(rig.reports) == 2

    run(scenario)


def test_each_hold_is_counted_and_laid_at_the_agents_door() -> None:
    async def scenario(rig: Rig) -> None:
        rig.stats.loop_seconds = 2.0
        await rig.held(0.5)
        await rig.held(1.25, kind=Kind.WAITING)
        assert [(service, hold.seconds) for service, hold in rig.blamed] == [("spinner", 0.5), ("spinner", 1.25)]
        await rig.clock.advance(10.0)
        told = rig.looptime.blame()
        assert (told["host"], told["window_s"], told["limit_ms"], told["agents_ms"]) == ("mainpc", 10.0, 250.0, 2000.0)
        (row,) = told["agents"]
        assert (row["service"], row["holds"], row["stolen_ms"], row["used_ms"]) == ("spinner", 2, 1250.0, 2000.0)

    run(scenario)


def test_the_meshs_own_code_is_nobodys_fault() -> None:
    async def scenario(rig: Rig) -> None:
        await rig.held(0.5, place=OWN)
        assert rig.blamed == []
        (report,) = rig.reports
        assert report["text"].startswith("the mesh itself (spinner.spin) held") and "no agent's code" in report["text"]
        assert [row["service"] for row in rig.looptime.blame()["agents"]] == ["supervisor", "spinner"]

    run(scenario)
