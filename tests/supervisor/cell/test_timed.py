"""What does not end in time is left behind and named with its line; nobody waits for it."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest

from mesh.supervisor.cell.timed import in_time
from mesh.testing import InMemoryMesh, in_mesh
from tests.eventually import eventually
from tests.supervisor.plain import Plain, fresh

FAST = {"start_s": 0.5, "stop_s": 0.5, "cleanup_s": 0.05}
FOLDER = "cell/test_timed.py"


class Stuck(Plain):
    """Does not come to an end, in one of several ways."""

    way: str
    gate: ClassVar[threading.Event]

    async def setup(self) -> None:
        if self.way == "waits":
            await self.never()
        elif self.way == "blocks":
            self.gate.wait(60)
        elif self.way == "clings":
            await self.cling()

    async def teardown(self) -> None:
        if self.way == "clings at its end":
            await self.cling()

    async def never(self) -> None:
        await asyncio.Event().wait()

    async def cling(self) -> None:
        while not self.gate.is_set():
            try:
                await eventually(self.gate.is_set, 60)
            except asyncio.CancelledError:
                continue


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What ends the code that does not end, with the test."""
    made = threading.Event()
    yield made
    made.set()


def line(method: object, text: str) -> int:
    lines, first = inspect.getsourcelines(method)  # type: ignore[arg-type]
    return first + next(number for number, each in enumerate(lines) if text in each)


@pytest.mark.parametrize(("way", "isolation", "place"), [
    ("waits", "coroutine", f"never() at {FOLDER}:{line(Stuck.never, 'wait()')}"),
    ("waits", "thread", f"never() at {FOLDER}:{line(Stuck.never, 'wait()')}"),
    ("blocks", "thread", f"setup() at {FOLDER}:{line(Stuck.setup, 'gate.wait')}"),
    ("clings", "coroutine", f"cling() at {FOLDER}:{line(Stuck.cling, 'eventually')}"),
    ("clings", "thread", f"cling() at {FOLDER}:{line(Stuck.cling, 'eventually')}"),
])
def test_a_setup_that_does_not_end_is_a_failed_start_that_names_its_line(
    gate: threading.Event, way: str, isolation: str, place: str
) -> None:
    @in_mesh
    async def scenario(mesh: InMemoryMesh) -> None:
        cell = await mesh.add("stuck", fresh(Stuck, way=way, gate=gate), isolation=isolation, limits=FAST)
        gate.set()  # whatever follows, its loop can end
        assert cell.state == "backoff"
        assert cell.last_error == (
            f"Unavailable: setup() of stuck did not end within 0.5 s (limits: start_s); it is in {place}"
        )

    scenario()


def test_a_teardown_that_does_not_end_keeps_nobody_waiting_and_is_named(gate: threading.Event) -> None:
    @in_mesh
    async def scenario(mesh: InMemoryMesh) -> None:
        cell = await mesh.add("stuck", fresh(Stuck, way="clings at its end", gate=gate), limits=FAST)
        await cell.stop("stopped by an operator")
        gate.set()
        assert cell.at_rest
        told = [row.message for row in mesh.reports if row.operation == "teardown"]
        assert told[0] == (f"teardown() did not end within 0.5 s (limits: stop_s); it is in cling() at {FOLDER}:"
                           f"{line(Stuck.cling, 'eventually')}")

    scenario()


def test_who_waits_for_a_step_can_be_cancelled_although_the_step_clings() -> None:
    async def scenario() -> None:
        over = asyncio.Event()

        async def clings() -> None:
            while not over.is_set():
                try:
                    await over.wait()
                except asyncio.CancelledError:
                    continue

        async def late() -> Exception:
            raise AssertionError("its time is not over")

        waiting = asyncio.create_task(in_time(clings(), 60.0, 0.02, late))
        await asyncio.sleep(0)
        waiting.cancel()
        await eventually(waiting.done)
        assert waiting.cancelled()
        over.set()

    asyncio.run(scenario())
