"""What was cancelled and does not end: it has a moment, is cancelled once more, named with its line, and counted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh import DeadlineExceeded, Overloaded, operation
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cell.runner import THREADS
from mesh.testing import InMemoryMesh, in_mesh
from mesh.testing.clock import settle
from tests.eventually import eventually
from tests.supervisor.plain import Plain, fresh

LIMIT = 60.0
"""Seconds a blocking function waits at most, so that a failing test ends."""


class Stubborn(Plain):
    """Does not end when it is told to."""

    journal: list[str]
    go: asyncio.Event
    released: threading.Event

    @operation
    async def swallow(self, times: int = 1000) -> str:
        """Swallow the cancellation so many times."""
        for _ in range(times):
            try:
                await self.go.wait()
                break
            except asyncio.CancelledError:
                self.journal.append("swallowed")
        return "done all the same"

    @operation
    async def tidy(self) -> None:
        """Clean up for long."""
        try:
            await self.go.wait()
        finally:
            await self.clean_up()

    async def clean_up(self) -> None:
        try:
            await self.clock.sleep(100)
        finally:
            self.journal.append("tidied")

    @operation
    def block(self) -> str:
        """Block a thread."""
        self.released.wait(LIMIT)
        return "done"

    @operation
    async def hold(self) -> None:
        """Block the loop that this agent runs on."""
        self.journal.append("held")
        self.released.wait(LIMIT)

    @operation
    async def note(self) -> None:
        self.journal.append("noted")

    @operation
    async def items(self) -> AsyncIterator[int]:
        try:
            yield 1
            await self.go.wait()
        finally:
            await self.clock.sleep(100)


def stubborn() -> type[Stubborn]:
    return fresh(Stubborn, journal=[], go=asyncio.Event(), released=threading.Event())


def told(mesh: InMemoryMesh) -> list[str]:
    return [report.message for report in mesh.reports if "was cancelled" in report.message]


async def given_up(mesh: InMemoryMesh, target: str, **arguments: Any) -> None:
    """Make a call whose deadline passes."""
    call = asyncio.ensure_future(mesh.request(target, timeout=1.0, **arguments))
    await settle()
    await mesh.clock.advance(1.05)
    with pytest.raises(DeadlineExceeded):
        await call


@in_mesh
async def test_what_ends_at_once_when_it_is_cancelled_is_not_named(mesh: InMemoryMesh) -> None:
    agent = stubborn()
    cell = await mesh.add("plain", agent)
    await given_up(mesh, "plain.swallow", times=1)
    await mesh.clock.advance(5)
    assert agent.journal == ["swallowed"]
    assert told(mesh) == [] and len(cell.stragglers) == 0


@in_mesh
async def test_what_swallows_its_cancellation_is_named_with_its_line_and_counted_until_it_ends(mesh: InMemoryMesh
                                                                                                ) -> None:
    agent = stubborn()
    cell = await mesh.add("plain", agent)
    await given_up(mesh, "plain.swallow")
    assert told(mesh) == []
    await mesh.clock.advance(1.0)
    (message,) = told(mesh)
    assert "swallow of plain was cancelled 1 s ago and goes on, in swallow() at cell/test_stragglers.py:" in message
    assert "CancelledError" in message
    assert agent.journal == ["swallowed"] * 2, "it was cancelled once more"
    (row,) = cell.stragglers.rows()
    assert (row["operation"], row["function"]) == ("swallow", "swallow")
    assert figure(cell) == 1
    agent.go.set()
    await settle()
    assert cell.stragglers.rows() == [] and figure(cell) == 0
    await mesh.clock.advance(10)
    assert len(told(mesh)) == 1


@in_mesh
async def test_a_clean_up_that_takes_too_long_is_broken_off_and_named(mesh: InMemoryMesh) -> None:
    agent = stubborn()
    cell = await mesh.add("plain", agent, limits={"cleanup_s": 3.0})
    await given_up(mesh, "plain.tidy")
    await mesh.clock.advance(2.5)
    assert agent.journal == [] and told(mesh) == []
    await mesh.clock.advance(1.0)
    assert agent.journal == ["tidied"]
    (message,) = told(mesh)
    assert "tidy of plain was cancelled 3 s ago and goes on, in clean_up() at" in message
    assert len(cell.stragglers) == 0


@in_mesh
async def test_a_straggler_gives_its_place_back_so_that_others_are_answered(mesh: InMemoryMesh) -> None:
    agent = stubborn()
    cell = await mesh.add("plain", agent, limits={"concurrency": 1})
    await given_up(mesh, "plain.swallow")
    waiting = asyncio.ensure_future(mesh.request("plain.echo", text="a", timeout=10.0))
    await settle()
    assert not waiting.done() and cell.inbox.running == 1
    await mesh.clock.advance(1.0)
    assert await waiting == "a"
    assert cell.inbox.running == 0 and len(cell.stragglers) == 1
    agent.go.set()
    await settle()
    assert cell.inbox.running == 0
    assert await mesh.request("plain.echo", text="b") == "b"


@in_mesh
async def test_no_more_places_are_given_back_than_may_run_at_a_time(mesh: InMemoryMesh) -> None:
    agent = stubborn()
    cell = await mesh.add("plain", agent, limits={"concurrency": 2})
    for _ in range(2):
        await given_up(mesh, "plain.swallow")
    await mesh.clock.advance(2.0)
    assert (cell.inbox.running, len(cell.stragglers)) == (0, 2)
    for _ in range(2):
        await given_up(mesh, "plain.swallow")
    await mesh.clock.advance(2.0)
    assert (cell.inbox.running, len(cell.stragglers)) == (2, 4)
    agent.go.set()
    await settle()
    assert (cell.inbox.running, len(cell.stragglers)) == (0, 0)


@in_mesh
async def test_a_late_value_of_a_call_that_was_given_up_goes_nowhere(mesh: InMemoryMesh) -> None:
    agent = stubborn()
    cell = await mesh.add("plain", agent)
    call = asyncio.ensure_future(mesh.request("plain.swallow", timeout=30.0))
    await settle()
    call.cancel()
    await settle()
    assert call.cancelled() and agent.journal == ["swallowed"]
    agent.go.set()
    await settle()
    assert cell.inbox.running == 0 and len(cell.stragglers) == 0
    assert await mesh.request("plain.echo", text="a") == "a"


@in_mesh
async def test_a_function_in_a_thread_is_named_for_as_long_as_it_runs_for_nobody(mesh: InMemoryMesh) -> None:
    agent = stubborn()
    cell = await mesh.add("plain", agent)
    call = asyncio.ensure_future(mesh.request("plain.block", timeout=1.0))
    await eventually(lambda: any(thread.name.startswith("pool-plain") for thread in threading.enumerate()))
    await settle()
    await mesh.clock.advance(1.05)
    with pytest.raises(DeadlineExceeded):
        await call
    await mesh.clock.advance(1.0)
    (message,) = told(mesh)
    assert "in block() at cell/test_stragglers.py:" in message and "a thread cannot be stopped" in message
    assert len(cell.stragglers) == 1 and cell.inbox.running == 0
    agent.released.set()
    await eventually(lambda: len(cell.stragglers) == 0)


@in_mesh
async def test_what_waited_for_its_thread_beyond_its_deadline_is_not_begun(mesh: InMemoryMesh) -> None:
    agent = stubborn()
    await mesh.add("plain", agent, isolation="thread")
    holding = asyncio.ensure_future(mesh.request("plain.hold", timeout=30.0))
    await eventually(lambda: agent.journal == ["held"])
    late = asyncio.ensure_future(mesh.request("plain.note", timeout=1.0))
    await settle()
    mesh.clock._go_to(mesh.clock.monotonic() + 2)  # the host's loop stands still too, so nobody is told of it
    agent.released.set()
    with pytest.raises(DeadlineExceeded, match="not begun: its deadline had passed when its thread came to it"):
        await late
    assert agent.journal == ["held"]
    await holding


@in_mesh
async def test_when_all_threads_run_for_nobody_the_next_call_is_told_at_once(mesh: InMemoryMesh) -> None:
    agent = stubborn()
    await mesh.add("plain", agent)
    calls = [asyncio.ensure_future(mesh.request("plain.block", timeout=1.0)) for _ in range(THREADS)]
    await eventually(lambda: len([each for each in threading.enumerate() if each.name.startswith("pool-plain")])
                     == THREADS)
    await settle()
    await mesh.clock.advance(1.05)
    assert {type(each) for each in await asyncio.gather(*calls, return_exceptions=True)} == {DeadlineExceeded}
    with pytest.raises(Overloaded, match="mesh why plain"):
        await mesh.request("plain.block", timeout=5.0)
    agent.released.set()
    await eventually(lambda: mesh.cell("plain").tenancy is not None)

    async def answered() -> bool:
        try:
            return bool(await mesh.request("plain.block", timeout=5.0) == "done")
        except Overloaded:
            await mesh.clock.advance(0.2)  # as it was told to wait
            return False

    async with asyncio.timeout(LIMIT):
        while not await answered():
            await settle()


@in_mesh
async def test_an_agent_on_a_loop_of_its_own_is_cancelled_twice_and_named_too(mesh: InMemoryMesh) -> None:
    agent = stubborn()
    cell = await mesh.add("plain", agent, isolation="thread")
    call = asyncio.ensure_future(mesh.request("plain.tidy", timeout=1.0))
    await eventually(lambda: agent.go._waiters)
    await mesh.clock.advance(1.05)
    with pytest.raises(DeadlineExceeded):
        await call
    await eventually(lambda: any(at > mesh.clock.monotonic() + 50 for at, *_ in mesh.clock._timers))  # it cleans up
    await mesh.clock.advance(1.0)
    (message,) = told(mesh)
    assert "tidy of plain was cancelled 1 s ago and goes on, in clean_up() at" in message
    await eventually(lambda: agent.journal == ["tidied"])
    await eventually(lambda: len(cell.stragglers) == 0)


@in_mesh
async def test_a_generator_that_does_not_end_is_named_with_its_line(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("plain", stubborn(), limits={"stop_s": 2.0})
    stream = mesh.stream("plain.items", timeout=30.0)
    assert await anext(stream) == 1
    await stream.aclose()
    await settle()
    await mesh.clock.advance(1.05)
    (message,) = told(mesh)
    assert "items of plain was cancelled 1 s ago and goes on, in items() at cell/test_stragglers.py:" in message
    assert cell.inbox.running == 0


@in_mesh
async def test_a_stop_waits_for_clean_ups_and_not_for_ever(mesh: InMemoryMesh) -> None:
    agent = stubborn()
    cell = await mesh.add("plain", agent, limits={"stop_s": 1.0})
    call = asyncio.ensure_future(mesh.request("plain.swallow", timeout=30.0))
    await settle()
    stopping = asyncio.ensure_future(cell.stop("stopped by an operator"))
    await mesh.clock.advance(1.05)
    assert not stopping.done()
    await mesh.clock.advance(1.2)
    await stopping
    assert cell.state == "stopped" and len(cell.stragglers) == 1 and len(told(mesh)) == 1
    agent.go.set()
    await settle()
    assert await call == "done all the same"
    assert len(cell.stragglers) == 0


@given(plan=st.lists(st.sampled_from(["swallow", "tidy", "echo", "wait", "release"]), max_size=25),
       concurrency=st.integers(1, 4))
@settings(max_examples=30)
def test_whatever_is_given_up_in_whatever_order_every_place_is_free_in_the_end(plan: list[str], concurrency: int
                                                                               ) -> None:
    asyncio.run(_played(plan, concurrency))


async def _played(plan: list[str], concurrency: int) -> None:
    """Make calls that are given up, let time pass and stubborn ones end, as a plan says."""
    agent = stubborn()
    async with InMemoryMesh() as mesh:
        cell = await mesh.add("plain", agent, limits={"concurrency": concurrency})
        calls = []
        for step in plan:
            if step == "wait":
                await mesh.clock.advance(0.7)
            elif step == "release":
                agent.go.set()
                await settle()
                agent.go.clear()
            else:
                arguments = {"text": "a"} if step == "echo" else {}
                calls.append(asyncio.ensure_future(mesh.request(f"plain.{step}", timeout=1.0, **arguments)))
                await settle()
            assert 0 <= cell.inbox.running <= concurrency
            assert len(cell.stragglers) <= len(calls)
        agent.go.set()
        await mesh.clock.advance(10.0)
        assert {type(each) for each in await asyncio.gather(*calls, return_exceptions=True)} <= {
            str, type(None), DeadlineExceeded, Overloaded}
        assert (cell.inbox.running, len(cell.inbox), len(cell.stragglers)) == (0, 0, 0)


def figure(cell: Cell) -> float:
    return next(sample.value for sample in cell.samples() if sample.instrument.name == "mesh_stragglers")
