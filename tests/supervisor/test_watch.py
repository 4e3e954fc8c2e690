"""Whoever holds the event loop is named, with the line, while the loop still stands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mesh.clock import Clock
from mesh.supervisor import watch as watch_module
from mesh.supervisor.vitals import Pulse
from mesh.supervisor.watch import Place, Watch
from tests.eventually import eventually

FILE = "/project/agents/spinner.py"
SPIN = '''
async def wait(event):
    await event.wait()


def count_things(enough):
    spin_elsewhere(enough)


def spin(enough):
    while not enough():
''' + 12 * "        sum(range(20_000))\n"
ELSEWHERE = '''
def spin_elsewhere(enough):
    while not enough():
        pass
'''
LIMIT = 10.0
"""Seconds after which whatever blocks gives up, so that a failing test ends."""


def compiled(source: str, file: str, **names: Any) -> dict[str, Any]:
    """Return the names of a file that exists only in its frames."""
    exec(compile(source, file, "exec"), names)
    return names


def until(condition: Callable[[], object], seconds: float = LIMIT) -> Callable[[], bool]:
    """Return what a busy function asks whether it is enough."""
    over = time.monotonic() + seconds
    return lambda: bool(condition()) or time.monotonic() > over


@asynccontextmanager
async def watched() -> AsyncIterator[list[tuple[Place, float]]]:
    """Watch this loop; gives the list of what is told."""
    clock, told = Clock(), list[tuple[Place, float]]()
    pulse = Pulse(clock)
    watch = Watch(pulse, clock, lambda: {FILE: "spinner"}, lambda *what: told.append(what))
    pulse.start()
    watch.start()
    try:
        yield told
    finally:
        watch.stop()
        pulse.stop()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watch ten times as closely."""
    monkeypatch.setattr(watch_module, "LIMIT", 0.15)
    monkeypatch.setattr(watch_module, "SAMPLE", 0.02)


def test_an_agent_that_holds_the_loop_is_named_before_it_lets_go() -> None:
    async def scenario() -> tuple[tuple[Place, float], float]:
        async with watched() as told:
            begun = time.monotonic()
            compiled(SPIN, FILE)["spin"](until(lambda: told))
            return told[0], time.monotonic() - begun

    ((service, function, file, line), seconds), held = asyncio.run(scenario())
    assert (service, function, file) == ("spinner", "spin", FILE)
    assert 11 <= line <= 23
    assert watch_module.LIMIT < seconds < held + 1  # the loop turned last before the agent began
    assert held < LIMIT / 2


def test_it_is_the_agents_line_that_is_named_not_that_of_what_it_calls(quick: None) -> None:
    async def scenario() -> Place:
        elsewhere = compiled(ELSEWHERE, "/somewhere/library.py")
        spinner = compiled(SPIN, FILE, **elsewhere)
        async with watched() as told:
            spinner["count_things"](until(lambda: told))
            return told[0][0]

    assert asyncio.run(scenario()) == ("spinner", "count_things", FILE, 7)


def test_a_place_is_named_once_and_another_as_well(quick: None) -> None:
    async def scenario() -> list[str]:
        elsewhere = compiled(ELSEWHERE, "/somewhere/library.py")
        spinner = compiled(SPIN, FILE, **elsewhere)
        async with watched() as told:
            spinner["spin"](until(lambda: told))
            for _ in range(2):
                await asyncio.sleep(0)
                spinner["spin"](until(lambda: False, 0.5))
            spinner["count_things"](until(lambda: len(told) > 1))
            return [place[1] for place, _ in told]

    assert asyncio.run(scenario()) == ["spin", "count_things"]


def test_a_loop_that_merely_waits_is_left_alone(quick: None) -> None:
    async def scenario() -> list[tuple[Place, float]]:
        async with watched() as told:
            event = asyncio.Event()
            waiting = asyncio.ensure_future(compiled(SPIN, FILE)["wait"](event))
            begun = time.monotonic()
            await eventually(lambda: time.monotonic() - begun > 0.6)
            event.set()
            await waiting
            return told

    assert asyncio.run(scenario()) == []


def test_nobody_is_named_for_what_no_agent_does(quick: None) -> None:
    async def scenario() -> list[tuple[Place, float]]:
        async with watched() as told:
            compiled(ELSEWHERE, "/somewhere/library.py")["spin_elsewhere"](until(lambda: False, 0.5))
            return told

    assert asyncio.run(scenario()) == []
