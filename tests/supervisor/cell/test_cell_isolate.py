"""An agent is moved while it works: what comes meanwhile waits, what runs is given its time, nothing is lost."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from mesh import RemoteFailure, Unreachable, operation, subscribe
from mesh.errors import StartError
from mesh.supervisor.cell.cell import Cell
from mesh.testing import InMemoryMesh, in_mesh
from mesh.testing.clock import settle
from tests.eventually import eventually
from tests.supervisor.plain import SOON, Failing, Plain, becomes, fresh


class Mover(Plain):
    """Tells where it runs."""

    heard: list[Any]
    go: threading.Event

    async def setup(self) -> None:
        await self.run(self.go.wait)

    @operation
    async def where(self) -> str:
        return threading.current_thread().name

    @operation
    async def wait(self, seconds: float) -> str:
        await self.clock.sleep(seconds)
        return "done"

    @subscribe("mover.news")
    async def hear(self, payload: Any) -> None:
        self.heard.append(payload)


def mover() -> type[Mover]:
    """Return a class whose setup does not wait until it is told to."""
    made = fresh(Mover, heard=[], go=threading.Event())
    made.go.set()
    return made


async def moved(mesh: InMemoryMesh, cell: Cell, isolation: Any) -> None:
    """Move a cell and wait until it is there."""
    await asyncio.wait_for(cell.isolate(isolation, "by a test"), 60)
    await settle()


@in_mesh
async def test_an_agent_moves_to_a_thread_and_back(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("mover", mover())
    before, home = cell.incarnation, await mesh.request("mover.where")
    await moved(mesh, cell, "thread")
    assert (cell.state, cell.isolation, cell.isolation_origin) == ("ready", "thread", "by a test")
    assert await mesh.request("mover.where") == "cell-mover" != home and cell.incarnation > before
    await moved(mesh, cell, "coroutine")
    assert (cell.isolation, cell.isolation_origin, cell.restarts) == ("coroutine", "default", 0)
    assert await mesh.request("mover.where") == home
    assert mesh.reports == []


@in_mesh
async def test_what_comes_while_it_moves_is_answered_where_it_was(mesh: InMemoryMesh) -> None:
    cls = mover()
    cell = await mesh.add("mover", cls)
    cls.go.clear()
    moving = asyncio.create_task(cell.isolate("thread", "by a test"))
    await eventually(lambda: threading.active_count() and any(
        thread.name == "cell-mover" for thread in threading.enumerate()))
    before = await mesh.request("mover.where")
    await mesh.publish("mover.news", "meanwhile")
    assert before != "cell-mover" and cls.heard == ["meanwhile"]
    cls.go.set()
    await moving
    assert await mesh.request("mover.where") == "cell-mover"
    await mesh.publish("mover.news", "afterwards")
    await eventually(lambda: cls.heard == ["meanwhile", "afterwards"])


@in_mesh
async def test_what_comes_while_one_moves_that_cannot_be_there_twice_waits_for_it(mesh: InMemoryMesh) -> None:
    cls = mover()
    cell = await mesh.add("mover", cls)
    cell.resize(cell.spec.model_copy(update={"reload": "after"}))
    cls.go.clear()
    moving = asyncio.create_task(cell.isolate("thread", "by a test"))
    await eventually(lambda: cell.tenure.moving)
    calls = [asyncio.create_task(mesh.request("mover.where")) for _ in range(5)]
    await mesh.publish("mover.news", "meanwhile")
    await eventually(lambda: len(cell.inbox) == 5)
    cell.reconsider()
    assert cell.state == "ready" and not any(call.done() for call in calls), "others still route to it"
    cls.go.set()
    await moving
    assert await asyncio.gather(*calls) == ["cell-mover"] * 5
    await eventually(lambda: cls.heard == ["meanwhile"])
    assert (cell.lifecycle.reason, len(cell.inbox), cell.inbox.running) == ("", 0, 0)


@in_mesh
async def test_running_calls_have_their_time_and_then_end_with_an_error(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("mover", mover(), limits={"stop_s": 2.0})
    short, long = (asyncio.create_task(mesh.request("mover.wait", seconds=seconds)) for seconds in (1.0, 100.0))
    await settle()
    moving = asyncio.create_task(cell.isolate("thread", "by a test"))
    await eventually(lambda: cell.tenure.endings)  # the new one is loaded in a thread, which takes real time
    assert await mesh.request("mover.where") == "cell-mover"
    await settle()
    await mesh.clock.advance(1.5)
    assert short.done() and short.result() == "done" and not long.done()
    await mesh.clock.advance(1.0)
    with pytest.raises(Unreachable, match=r"mover\.wait: mover is replaced by a new one; whether the call did"):
        await long
    await asyncio.wait_for(moving, 60)
    assert cell.state == "ready"


@in_mesh
async def test_one_that_does_not_come_up_elsewhere_goes_on_where_it_was(mesh: InMemoryMesh) -> None:
    failing = fresh(Failing)
    failing.failed = 1000
    cell = await mesh.add("plain", failing)
    failing.failed = 999
    with pytest.raises(RemoteFailure, match="plain did not come up as a thread and goes on as a coroutine: Value"):
        await cell.isolate("thread", "by a test")
    assert (cell.state, cell.isolation, cell.isolation_origin, cell.restarts) == ("ready", "coroutine", "default", 0)
    assert await mesh.request("plain.echo", text="a") == "a"


@in_mesh
async def test_one_that_is_stopped_starts_where_it_was_wished_to(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("mover", mover())
    await cell.stop("stopped by a test")
    await moved(mesh, cell, "thread")
    assert cell.state == "stopped" and cell.isolation == "thread"
    cell.launch(by_operator=True)
    await becomes(cell, "ready")
    assert await mesh.request("mover.where") == "cell-mover"


@in_mesh
async def test_one_that_is_there_already_is_left_alone(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("mover", mover())
    before = cell.incarnation
    await moved(mesh, cell, "coroutine")
    assert (cell.incarnation, cell.isolation_origin) == (before, "default")


@in_mesh
async def test_a_mesh_in_memory_has_no_processes(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("mover", mover())
    with pytest.raises(StartError, match="needs a running host; a test in memory takes `coroutine` or `thread`"):
        await cell.isolate("process", "by a test")
    assert cell.isolation == "coroutine" and await mesh.request("mover.echo", text="a") == "a"


@in_mesh
async def test_what_waits_when_an_agent_crashes_is_answered_by_its_next_start(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("mover", mover(), limits={"concurrency": 1})
    running = asyncio.create_task(mesh.request("mover.wait", seconds=100.0))
    await settle()
    waiting = asyncio.create_task(mesh.request("mover.echo", text="kept"))
    await settle()
    cell.crash(RuntimeError("made to crash"))
    with pytest.raises(Unreachable, match=r"mover\.wait: made to crash; whether the call did its work is unknown"):
        await running
    assert cell.state == "backoff" and not waiting.done()
    await mesh.clock.advance(SOON)
    await becomes(cell, "ready")
    assert await waiting == "kept"


@in_mesh
async def test_what_waits_is_refused_when_the_agent_is_given_up(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("mover", mover(), limits={"concurrency": 1})
    running = asyncio.create_task(mesh.request("mover.wait", seconds=100.0))
    await settle()
    waiting = asyncio.create_task(mesh.request("mover.echo", text="kept"))
    await settle()
    cell.crash(RuntimeError("made to crash"))
    await settle()
    await cell.stop("stopped by a test")
    with pytest.raises(Unreachable):
        await running
    with pytest.raises(Exception, match="mover is stopped"):
        await waiting
