"""Where an agent's code runs, what it costs the host's loop, and that it cannot hold or end it."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mesh import DeadlineExceeded, RemoteFailure, every, operation, subscribe
from mesh.policy.measure import CallStats
from mesh.supervisor.cell import runner as runner_module
from mesh.supervisor.cell.runner import AgentExit, LoopRunner, Runner, ThreadRunner, billed
from mesh.testing import InMemoryMesh, in_mesh
from mesh.testing.clock import settle
from tests.eventually import eventually
from tests.supervisor.plain import SOON, Plain, asleep, becomes, fresh, torn_down

LIMIT = 30.0
"""Seconds a blocking function waits at most, so that a failing test ends."""


# -- what is billed


class Meter:
    """Stands in for the processor's clock."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meter]:
    meter = Meter()
    monkeypatch.setattr(runner_module, "perf_counter", meter)
    yield meter


def test_each_step_is_billed_and_the_waiting_between_is_not(meter: Meter) -> None:
    stats = CallStats()

    async def work(first: asyncio.Event, second: asyncio.Event) -> str:
        meter.now += 1
        await first.wait()
        meter.now += 2
        try:
            await second.wait()
        finally:
            meter.now += 4
        return "done"

    async def scenario() -> None:
        first, second = asyncio.Event(), asyncio.Event()
        task = asyncio.ensure_future(_awaited(billed(work(first, second), stats)))
        for event in (first, second):
            await settle()
            meter.now += 100
            event.set()
        assert await task == "done"

    asyncio.run(scenario())
    assert stats.loop_seconds == 7


def test_a_step_that_raises_is_billed_too(meter: Meter) -> None:
    stats = CallStats()

    async def fail() -> None:
        meter.now += 3
        raise ValueError

    with pytest.raises(ValueError):
        asyncio.run(_awaited(billed(fail(), stats)))
    assert stats.loop_seconds == 3


def test_cancellation_reaches_the_coroutine_and_may_be_declined(meter: Meter) -> None:
    stats = CallStats()

    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            meter.now += 1
        return "stayed"

    async def scenario() -> Any:
        task = asyncio.ensure_future(_awaited(billed(stubborn(), stats)))
        await settle()
        task.cancel()
        return await task

    assert asyncio.run(scenario()) == "stayed" and stats.loop_seconds == 1


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_nothing_that_ends_a_process_gets_out(error: type[BaseException]) -> None:
    async def leave() -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(AgentExit, match=error.__name__):
        asyncio.run(_awaited(billed(leave(), CallStats())))


async def _awaited(thing: Any) -> Any:
    return await thing


@in_mesh
async def test_loop_time_is_billed_to_the_agent_that_used_it(mesh: InMemoryMesh, meter: Meter) -> None:
    class Busy(Plain):
        """Works."""

        @operation
        async def work(self) -> None:
            meter.now += 0.5
            await self.run(lambda: None)
            meter.now += 0.25

        @subscribe("work.come")
        async def hear(self, payload: Any) -> None:
            meter.now += 1

        @every(seconds=4)
        async def tick(self) -> None:
            meter.now += 2

        @operation
        def read(self) -> None:
            meter.now += 16

    busy = await mesh.add("busy", Busy)
    idle = await mesh.add("idle", Plain)
    await mesh.request("idle.echo", text="a")
    for expected, stimulus in ((0.75, mesh.request("busy.work")), (1.75, mesh.publish("work.come")),
                               (3.75, mesh.clock.advance(4)), (3.75, mesh.request("busy.read"))):
        await stimulus
        assert busy.stats.loop_seconds == expected
    assert idle.stats.loop_seconds == 0


# -- threads


@asynccontextmanager
async def running(kind: type[LoopRunner] | type[ThreadRunner]) -> AsyncIterator[Runner]:
    runner = kind("plain", CallStats())
    try:
        yield runner
    finally:
        runner.close()


@pytest.mark.parametrize("kind", [LoopRunner, ThreadRunner])
def test_a_blocking_function_runs_in_a_pool_and_its_exit_is_an_error(
    kind: type[LoopRunner] | type[ThreadRunner]
) -> None:
    async def scenario() -> None:
        async with running(kind) as runner:
            assert await runner.blocking(threading.get_ident) != threading.get_ident()
            with pytest.raises(AgentExit, match="SystemExit"):
                await runner.blocking(exit_now)
            with pytest.raises(ValueError, match="three"):
                await runner.blocking(int, "three")

    def exit_now() -> None:
        raise SystemExit

    asyncio.run(scenario())


def test_a_thread_cell_has_its_own_thread_and_gives_back_what_it_held() -> None:
    async def where() -> tuple[int, str]:
        return threading.get_ident(), threading.current_thread().name

    async def stay() -> None:
        journal.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            journal.append("ended")

    journal: list[str] = []

    async def scenario() -> None:
        async with running(ThreadRunner) as runner:
            thread, name = await runner.call(where, {})
            assert thread != threading.get_ident() and name == "cell-plain"
            left = asyncio.ensure_future(_awaited(runner.call(stay, {})))
            await eventually(lambda: journal)
        with pytest.raises(asyncio.CancelledError):
            await left
        await eventually(lambda: "cell-plain" not in {each.name for each in threading.enumerate()})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(scenario())
        gc.collect()  # a loop that was not closed says so now
    assert journal == ["begun", "ended"]


def test_a_stuck_thread_is_left_behind() -> None:
    async def scenario() -> None:
        runner = ThreadRunner("plain", CallStats())
        stuck = asyncio.ensure_future(_awaited(runner.call(block, {})))
        await eventually(begun.is_set)
        runner.close()
        stuck.cancel()

    async def block() -> None:
        begun.set()
        go.wait(LIMIT)

    begun, go = threading.Event(), threading.Event()
    asyncio.run(scenario())
    go.set()


class Blocking(Plain):
    """Blocks where it should not."""

    begun: threading.Event
    go: threading.Event
    journal: list[Any]

    async def setup(self) -> None:
        self.journal.append(threading.get_ident())

    def __init__(self) -> None:
        self.journal.append(threading.get_ident())

    async def teardown(self) -> None:
        self.journal.append("teardown")

    @operation
    async def block(self) -> str:
        self.begun.set()
        self.go.wait(LIMIT)
        return "done"

    @operation
    def block_in_pool(self) -> str:
        self.begun.set()
        self.go.wait(LIMIT)
        return "done"

    @operation
    async def wait(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.journal.append("ended")
            self.go.set()

    @operation
    async def use_everything(self) -> dict[str, Any]:
        answer = await self.request("other.ask", text="a")
        again = await self.peer("other").ask(text="b")
        await self.publish("blocking.done", {"by": self.service})
        await self.report("noticed", severity="info", place="here")
        version = await self.save_state({"answer": answer})
        ran = await self.run(lambda: threading.current_thread().name)
        return {"answers": [answer, again], "version": version, "state": await self.get_latest_state(), "ran": ran,
                "folder": self.folder.name, "thread": threading.get_ident()}

    @operation
    async def ask_later(self, seconds: float) -> str:
        await self.clock.sleep(seconds)
        return str(await self.request("other.ask", text="late"))


def blocking() -> type[Blocking]:
    return fresh(Blocking, begun=threading.Event(), go=threading.Event(), journal=[])


@pytest.mark.parametrize(("isolation", "target"), [("thread", "blocking.block"), ("thread", "blocking.block_in_pool"),
                                                   ("coroutine", "blocking.block_in_pool")])
def test_code_that_blocks_in_a_thread_holds_up_nobody(isolation: str, target: str) -> None:
    @in_mesh
    async def scenario(mesh: InMemoryMesh) -> None:
        agent = blocking()
        await mesh.add("blocking", agent, isolation=isolation)
        await mesh.add("plain", Plain)
        call = asyncio.create_task(mesh.request(target))
        await eventually(agent.begun.is_set)
        assert await mesh.request("plain.echo", text="a") == "a" and not call.done()
        if target == "blocking.block_in_pool":
            assert await mesh.request("blocking.echo", text="a") == "a"
        agent.go.set()
        assert await call == "done"

    scenario()


@in_mesh
async def test_a_thread_cell_lives_in_its_thread_from_its_making_on(mesh: InMemoryMesh) -> None:
    agent = blocking()
    cell = await mesh.add("blocking", agent, isolation="thread")
    assert cell.state == "ready" and len(set(agent.journal)) == 1 and agent.journal[0] != threading.get_ident()
    assert await mesh.request("blocking.echo", text="a") == "a"
    await mesh.restart("blocking")
    assert agent.journal[2] == "teardown" and threading.get_ident() not in agent.journal


@in_mesh
async def test_an_agent_in_a_thread_can_do_all_that_others_can(mesh: InMemoryMesh) -> None:
    other = mesh.fake("other", ask=lambda text: text.upper())
    await mesh.add("blocking", blocking(), isolation="thread")
    done = await mesh.request("blocking.use_everything")
    assert done.pop("thread") != threading.get_ident() and done.pop("ran").startswith("pool-blocking")
    assert done == {"answers": ["A", "B"], "version": 1, "state": {"answer": "A"}, "folder": "blocking"}
    assert other.calls_of("ask") == [{"text": "a"}, {"text": "b"}]
    (event,) = mesh.events_on("blocking.done")
    assert event.payload == {"by": "blocking"} and event.origin == "blocking@mainpc"
    (report,) = mesh.reports
    assert (report.message, report.severity, report.operation) == ("noticed", "info", "use_everything")
    assert report.context == {"place": "here"} and report.trace_id is not None


@in_mesh
async def test_the_clock_of_a_test_turns_for_threads_too(mesh: InMemoryMesh) -> None:
    mesh.fake("other", ask=lambda text: text.upper())
    await mesh.add("blocking", blocking(), isolation="thread")
    call = asyncio.create_task(mesh.request("blocking.ask_later", seconds=7.0))
    await asleep(mesh.clock, 7.0)
    await mesh.clock.advance(7)
    assert await call == "LATE"


@in_mesh
async def test_a_deadline_reaches_into_the_thread(mesh: InMemoryMesh) -> None:
    agent = blocking()
    await mesh.add("blocking", agent, isolation="thread")
    call = asyncio.create_task(mesh.request("blocking.wait", timeout=1.0))
    await eventually(agent.begun.is_set)
    await mesh.clock.advance(1.1)
    with pytest.raises(DeadlineExceeded):
        await call
    await eventually(agent.go.is_set)
    assert agent.journal[-1] == "ended"


@in_mesh
async def test_an_agent_that_exits_in_its_thread_is_back_in_a_new_one(mesh: InMemoryMesh) -> None:
    agent = blocking()
    cell = await mesh.add("blocking", agent, isolation="thread")
    with pytest.raises(RemoteFailure, match="the agent's code raised SystemExit"):
        await mesh.request("blocking.leave")
    await torn_down(cell)
    assert cell.state == "backoff"
    await mesh.clock.advance(SOON)
    await becomes(cell, "ready")
    assert await mesh.request("blocking.echo", text="a") == "a"


@in_mesh
async def test_events_and_timers_run_in_the_thread_of_the_cell(mesh: InMemoryMesh) -> None:
    heard: list[tuple[str, str]] = []

    class Hearing(Plain):
        """Says where it is."""

        @subscribe("place.asked")
        async def hear(self, payload: Any) -> None:
            heard.append(("event", threading.current_thread().name))

        @subscribe("place.asked")
        def hear_in_pool(self, payload: Any) -> None:
            heard.append(("sync event", threading.current_thread().name.rpartition("_")[0]))

        @every(seconds=10)
        async def tick(self) -> None:
            heard.append(("timer", threading.current_thread().name))

        @every(seconds=10)
        def tick_in_pool(self) -> None:
            heard.append(("sync timer", threading.current_thread().name.rpartition("_")[0]))

    await mesh.add("hearing", Hearing, isolation="thread")
    await mesh.publish("place.asked")
    await mesh.clock.advance(10)
    await eventually(lambda: len(heard) == 4)
    assert sorted(heard) == [("event", "cell-hearing"), ("sync event", "pool-hearing"),
                             ("sync timer", "pool-hearing"), ("timer", "cell-hearing")]
