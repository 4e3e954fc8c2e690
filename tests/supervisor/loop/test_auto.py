"""Agents with `isolation: auto` are moved once, with a reason, and only they."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from mesh.config import Isolation, Rung
from mesh.errors import StartError
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.loop.auto import Auto
from mesh.supervisor.loop.demotion import CRASHES, TIMES
from mesh.supervisor.loop.hold import Hold, Kind, Place
from mesh.testing import FakeClock


class Rig:
    """An `Auto` for one agent called `spinner`; `reports` holds what the error bus got, `moves` what was asked for."""

    def __init__(self, wanted: Isolation = "auto", *, fails: bool = False) -> None:
        spec = SimpleNamespace(isolation=wanted, config_file=Path("/project/config/agents/spinner.yaml"))
        self.fake = SimpleNamespace(service="spinner", name="spinner", spec=spec,
                                    isolation="coroutine" if wanted == "auto" else wanted)
        self.cell = cast("Cell", self.fake)
        self.reports: list[dict[str, Any]] = []
        self.moves: list[tuple[str, str]] = []
        self.waiting: list[Coroutine[Any, Any, None]] = []
        self._fails = fails
        self.auto = Auto({"spinner": self.cell}, clock=FakeClock(), report=self._report, isolate=self._isolate,
                         spawn=self.waiting.append)

    def _report(self, error: BaseException | str, **given: Any) -> str:
        self.reports.append({"text": str(error), **given})
        return "mainpc-000001"

    async def _isolate(self, cell: Cell, isolation: Rung, reason: str) -> None:
        self.moves.append((isolation, reason))
        if self._fails:
            raise StartError("no more processes")
        self.fake.isolation = isolation

    def settle(self) -> None:
        """Let what was begun be done."""
        while self.waiting:
            asyncio.run(_run(self.waiting.pop(0)))

    def hold(self, kind: Kind = Kind.COMPUTING, times: int = TIMES) -> None:
        for _ in range(times):
            self.auto.held(self.cell, Hold(Place("spinner", "spin", "spin", "agents/spinner.py", 12), 0.5, kind))

    def crash(self, times: int = CRASHES) -> None:
        for _ in range(times):
            self.auto.crashed("spinner")


async def _run(work: Coroutine[Any, Any, None]) -> None:
    await work


def test_one_that_computes_moves_to_a_process_and_it_is_said_why_and_how_to_keep_or_undo_it() -> None:
    rig = Rig()
    rig.hold()
    rig.settle()
    ((isolation, reason),) = rig.moves
    assert isolation == "process" and reason.startswith("auto: it held the event loop 3 times")
    (report,) = rig.reports
    assert (report["severity"], report["service"]) == ("warning", "spinner")
    assert report["decision"] == "isolation: auto, coroutine → process"
    assert "agents/spinner.py:12" in report["text"]
    assert "`isolation: process` in config/agents/spinner.yaml" in report["text"]
    assert "`mesh agent isolate spinner config`" in report["text"]


def test_one_that_waits_moves_to_a_thread_and_from_there_to_a_process_if_it_keeps_the_interpreter() -> None:
    rig = Rig()
    rig.hold(Kind.WAITING)
    rig.settle()
    rig.hold(Kind.SEIZING)
    rig.settle()
    assert [isolation for isolation, _ in rig.moves] == ["thread", "process"]
    assert rig.reports[1]["decision"] == "isolation: auto, thread → process"


def test_one_that_crashes_moves_to_a_process() -> None:
    rig = Rig()
    rig.crash()
    rig.settle()
    assert [isolation for isolation, _ in rig.moves] == ["process"]


def test_only_agents_with_auto_are_moved() -> None:
    wanted: tuple[Isolation, ...] = ("coroutine", "thread", "process")
    for isolation in wanted:
        rig = Rig(isolation)
        rig.hold(times=20)
        rig.crash(20)
        assert rig.waiting == [] and rig.reports == []
    rig = Rig()
    rig.auto.crashed("stranger")
    assert rig.waiting == []


def test_while_it_moves_nothing_is_held_against_it() -> None:
    rig = Rig()
    rig.hold()
    rig.hold(times=20)
    rig.crash(20)
    assert len(rig.waiting) == 1 and len(rig.reports) == 1
    rig.settle()
    rig.hold(Kind.SEIZING, times=20)
    assert rig.waiting == []


def test_who_was_brought_back_by_an_operator_begins_anew() -> None:
    rig = Rig()
    rig.hold()
    rig.settle()
    rig.fake.isolation = "coroutine"
    rig.hold(times=TIMES - 1)
    assert len(rig.moves) == 1 and rig.waiting == []
    rig.hold(times=1)
    rig.settle()
    assert len(rig.moves) == 2


def test_a_move_that_fails_is_said_and_may_be_tried_again() -> None:
    rig = Rig(fails=True)
    rig.hold()
    rig.settle()
    assert "could not be moved: no more processes" in rig.reports[-1]["text"]
    rig.hold()
    rig.settle()
    assert len(rig.moves) == 2
