"""Whoever holds the event loop is named, with the line, also while the loop still stands; nobody else ever is."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mesh.policy.measure import CallStats
from mesh.supervisor.cell.runner import LoopRunner
from mesh.supervisor.loop.hold import LIMIT, Hold, Kind
from mesh.supervisor.loop.stand import Stands, Tenant
from mesh.supervisor.loop.watch import Watch
from mesh.transport.loop import fastest_loop
from tests.eventually import eventually

FILE = "/project/agents/spinner.py"
SPINNER = '''
import asyncio, ctypes, time

async def spin(enough):
    while not enough():
''' + 12 * "        sum(range(2_000))\n" + '''
async def sleep(seconds):
    time.sleep(seconds)

async def seize(microseconds):
    ctypes.PyDLL(None).usleep(microseconds)

async def count(number):
    return sum(range(number))

async def lean_on(library, enough):
    library(enough)

async def start_a_task(enough):
    asyncio.get_running_loop().create_task(spin(enough))

def compute(number):
    return sum(range(number))

async def write(enough, microseconds):
    while not enough():
        sum(range(2_000))
    yield 1
    ctypes.PyDLL(None).usleep(microseconds)
    yield 2
'''
LIBRARY = '''
def toil(enough):
    while not enough():
        sum(range(2_000))
'''
LAST_RESORT = 20.0
"""Seconds after which whatever blocks gives up, so that a failing test ends."""

LOOPS = [asyncio.new_event_loop, fastest_loop()]


def compiled(source: str, file: str, **names: Any) -> dict[str, Any]:
    """Return the names of a file that exists only in its frames."""
    names["__name__"] = Path(file).stem
    exec(compile(source, file, "exec"), names)
    return names


def computed(seconds: float) -> Callable[[], bool]:
    """Return what a busy function asks whether it is enough: it counts the time it had a core."""
    over = time.thread_time() + seconds
    return lambda: time.thread_time() > over


def until(condition: Callable[[], object]) -> Callable[[], bool]:
    """Return the same for something that shall come true meanwhile."""
    over = time.monotonic() + LAST_RESORT
    return lambda: bool(condition()) or time.monotonic() > over


class Watched:
    """An agent called `spinner` on the loop, and what was told of the loop so far."""

    def __init__(self) -> None:
        self.told: list[Hold] = []
        self.code = compiled(SPINNER, FILE)
        stats = CallStats()
        stands = Stands(threading.get_ident(), lambda: [Tenant("spinner", FILE, stats)], Path("/project"))
        self.watch = Watch(stands, self.told.append)
        self.runner = LoopRunner("spinner", stats, self.watch.overran)

    def over(self) -> list[Hold]:
        """Return the holds that have ended."""
        return [hold for hold in self.told if not hold.lasts]

    async def call(self, name: str, **arguments: Any) -> None:
        await self.runner.call(self.code[name], arguments)


@asynccontextmanager
async def watched() -> AsyncIterator[Watched]:
    it = Watched()
    it.watch.start()
    try:
        await asyncio.sleep(0)
        yield it
    finally:
        it.watch.stop()
        it.runner.close()


def run(scenario: Callable[[], Any], loop: Any = asyncio.new_event_loop) -> Any:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(scenario())


async def told_once(it: Watched) -> Hold:
    await eventually(lambda: it.over(), LAST_RESORT)
    (hold,) = it.over()
    return hold


@pytest.mark.parametrize("loop", LOOPS)
def test_an_operation_that_computes_is_named_with_its_line_while_it_lasts_and_when_it_is_over(loop: Any) -> None:
    async def scenario() -> None:
        async with watched() as it:
            await it.call("spin", enough=until(lambda: it.told))
            lasting = it.told[0]
            hold = await told_once(it)
        for each in (lasting, hold):
            assert (each.place.service, each.place.operation, each.place.function) == ("spinner", "spin", "spin")
            assert each.place.file == "agents/spinner.py" and 5 <= each.place.line <= 17
            assert each.kind is Kind.COMPUTING
        assert lasting.lasts and LIMIT < lasting.seconds <= hold.seconds

    run(scenario, loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_call_that_sleeps_on_the_loop_is_named_though_it_computes_nothing(loop: Any) -> None:
    async def scenario() -> Hold:
        async with watched() as it:
            await it.call("sleep", seconds=1.0)
            return await told_once(it)

    hold = run(scenario, loop)
    assert (hold.place.operation, hold.place.line, hold.kind) == ("sleep", 20, Kind.WAITING)
    assert hold.seconds == pytest.approx(1.0, abs=0.5)


def test_c_code_that_keeps_the_interpreter_is_named_though_nobody_could_look() -> None:
    async def scenario() -> Hold:
        async with watched() as it:
            await eventually(lambda: it.watch.looks)  # it has begun to look
            await it.call("seize", microseconds=1_500_000)
            return await told_once(it)

    hold = run(scenario)
    assert (hold.place.operation, hold.place.function, hold.kind) == ("seize", "seize", Kind.SEIZING)
    assert hold.seconds == pytest.approx(1.5, abs=0.5)


@pytest.mark.parametrize("seized", [False, True])
def test_a_generator_that_holds_the_loop_is_named_like_any_operation(seized: bool) -> None:
    async def scenario() -> Hold:
        async with watched() as it:
            await eventually(lambda: it.watch.looks)
            enough = (lambda: True) if seized else until(lambda: it.told)
            steps = it.runner.generate(
                it.code["write"], {"enough": enough, "microseconds": 1_500_000 if seized else 0}, lambda: None
            )
            assert not await steps.pour(lambda value: value in (1, 2))
            await steps.close()
            return await told_once(it)

    hold = run(scenario)
    assert (hold.place.service, hold.place.operation, hold.place.function) == ("spinner", "write", "write")
    assert hold.kind is (Kind.SEIZING if seized else Kind.COMPUTING)


def test_c_code_that_computes_in_one_go_is_named() -> None:
    async def scenario() -> Hold:
        async with watched() as it:
            await eventually(lambda: it.watch.looks)
            await it.call("count", number=60_000_000)
            return await told_once(it)

    hold = run(scenario)
    assert hold.place.operation == "count" and hold.kind in (Kind.COMPUTING, Kind.SEIZING)


def test_it_is_the_agents_line_that_is_named_with_the_library_it_called() -> None:
    async def scenario() -> Hold:
        library = compiled(LIBRARY, "/somewhere/library.py")
        async with watched() as it:
            await it.call("lean_on", library=library["toil"], enough=until(lambda: it.told))
            return it.told[0]

    place = run(scenario).place
    assert (place.function, place.line) == ("lean_on", 29)
    assert place.inside is not None and place.inside.startswith("library.toil")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_task_that_an_agent_made_itself_is_known_by_its_file(loop: Any) -> None:
    async def scenario() -> Hold:
        async with watched() as it:
            await it.call("start_a_task", enough=computed(1.0))
            return await told_once(it)

    hold = run(scenario, loop)
    assert (hold.place.service, hold.place.operation, hold.place.function) == ("spinner", None, "spin")
    assert hold.kind is Kind.COMPUTING


def test_a_thread_of_an_agent_that_keeps_the_interpreter_is_named() -> None:
    async def scenario() -> Hold:
        async with watched() as it:
            while not it.told:
                await it.runner.blocking(it.code["compute"], 40_000_000)
                seen = it.watch.looks
                await eventually(lambda: it.watch.looks > seen, LAST_RESORT)  # noqa: B023
            return it.told[0]

    async def bounded() -> Hold:
        async with asyncio.timeout(60):
            return await scenario()

    hold = run(bounded)
    assert (hold.place.service, hold.kind) == ("spinner", Kind.SEIZING)


def test_what_no_agent_does_is_not_laid_at_an_agents_door() -> None:
    async def scenario() -> Hold:
        async with watched() as it:
            asyncio.get_running_loop().call_soon(compiled(LIBRARY, "/somewhere/library.py")["toil"], computed(1.0))
            return await told_once(it)

    hold = run(scenario)
    assert (hold.place.service, hold.place.function, hold.place.file) == ("supervisor", "toil", "/somewhere/library.py")


def test_each_time_counts() -> None:
    async def scenario() -> list[Hold]:
        async with watched() as it:
            for _ in range(3):
                await it.call("sleep", seconds=0.6)
            await eventually(lambda: len(it.over()) == 3, LAST_RESORT)
            return it.over()

    assert {hold.place.key for hold in run(scenario)} == {"spinner:agents/spinner.py:sleep"}


def test_short_steps_and_a_loop_that_waits_are_left_alone() -> None:
    async def scenario() -> list[Hold]:
        async with watched() as it:
            for _ in range(10):
                await it.call("spin", enough=computed(0.05))
                await asyncio.sleep(0)
            begun = time.monotonic()
            await eventually(lambda: time.monotonic() - begun > 0.5)
            return it.told

    assert run(scenario) == []


# -- a machine that lets nobody run

SPINNERS = 5
BUSY_SECONDS = 5.0


@contextmanager
def full_machine() -> Iterator[None]:
    """Have several processes compute on the only core that they and this test may use; each ends by itself."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    source = f"import time\nover = time.monotonic() + {BUSY_SECONDS + 10}\nwhile time.monotonic() < over: pass"
    spinners = [subprocess.Popen([sys.executable, "-c", source]) for _ in range(SPINNERS)]
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be taken away here")
def test_on_a_full_machine_nobody_is_blamed_for_waiting_for_a_core() -> None:
    async def scenario() -> tuple[float, list[Hold]]:
        longest = 0.0
        over = time.monotonic() + BUSY_SECONDS
        async with watched() as it:
            while time.monotonic() < over:
                began = time.monotonic()
                await it.call("spin", enough=computed(0.1))
                longest = max(longest, time.monotonic() - began)
                await asyncio.sleep(0)
            return longest, it.told

    with full_machine():
        longest, told = run(scenario)
    assert longest > LIMIT, "the machine was not full enough to show anything"
    assert told == []
