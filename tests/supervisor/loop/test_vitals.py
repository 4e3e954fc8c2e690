"""How a process is, read from what it stands for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import zmq

from mesh.clock import Clock
from mesh.supervisor.loop.vitals import TICK, Pulse, contexts, rss_mb
from mesh.testing import FakeClock
from mesh.testing.clock import FakeTimer
from tests.eventually import wait_until


class LateClock(Clock):
    """A clock whose timers come when the test says, late or not."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, FakeTimer]] = []

    def monotonic(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object]) -> FakeTimer:
        self.timers.append((delay, FakeTimer(callback)))
        return self.timers[-1][1]

    def turn(self, late: float = 0.0) -> None:
        """Go on to the next timer and `late` seconds further."""
        delay, timer = self.timers.pop(0)
        self.now += delay + late
        timer.fire()


def test_a_pulse_shows_when_the_loop_turned_last() -> None:
    async def scenario() -> None:
        clock = FakeClock(now=10.0)
        pulse = Pulse(clock)
        pulse.start()
        await clock.advance(TICK * 10.5)
        assert pulse.turned == pytest.approx(10 + TICK * 10) and pulse.lag == pytest.approx(0.0)
        pulse.stop()
        await clock.advance(10)
        assert pulse.turned == pytest.approx(10 + TICK * 10)

    asyncio.run(scenario())


def test_lag_is_the_worst_of_late_and_fades() -> None:
    clock = LateClock()
    pulse = Pulse(clock)
    pulse.start()
    clock.turn()
    assert pulse.lag == pytest.approx(0.0)
    clock.turn(late=2.0)
    assert pulse.lag == pytest.approx(2.0)
    clock.turn(late=1.0)
    assert pulse.lag == pytest.approx(1.75)
    for _ in range(50):
        clock.turn()
    assert pulse.lag < 0.02
    pulse.stop()


def test_memory_that_is_taken_shows() -> None:
    before = rss_mb()
    block = bytearray(b"x") * (64 * 2**20)
    assert 50 < rss_mb() - before < 80
    del block


def test_each_context_of_the_process_is_counted() -> None:
    before = contexts()
    assert before is not None
    with zmq.Context() as context, context.socket(zmq.PAIR):
        wait_until(lambda: contexts() == before + 1)  # its thread has a name once it runs
    wait_until(lambda: contexts() == before)
