"""A host that has stopped ends, whatever the code of its agents does."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

from mesh.supervisor.leftover import end_tasks, end_threads, leave


def test_tasks_that_end_when_they_are_cancelled_are_not_named_and_those_that_do_not_are() -> None:
    async def scenario() -> list[str]:
        over = asyncio.Event()

        async def swallows() -> None:
            while not over.is_set():
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    over_soon.append("swallowed")
                    if len(over_soon) > 1:
                        raise

        over_soon: list[str] = []
        tasks: list[asyncio.Task[object]] = [asyncio.create_task(swallows(), name="stubborn"),
                                             asyncio.create_task(asyncio.Event().wait(), name="well")]
        await asyncio.sleep(0)
        names = await end_tasks()
        tasks[0].cancel()
        await asyncio.wait(tasks)
        return names

    assert asyncio.run(scenario()) == ["stubborn"]


def test_without_tasks_there_is_nothing_to_end() -> None:
    assert asyncio.run(end_tasks()) == []


def test_a_thread_of_a_pool_is_named_while_it_works_and_not_while_it_waits_for_work() -> None:
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(20)

    with ThreadPoolExecutor(1, thread_name_prefix="pool-pictures") as pool:
        pool.submit(int).result()
        assert not any(name.startswith("pool-pictures") for name in end_threads())
        working = pool.submit(work)
        assert begun.wait(20)
        assert any(name.startswith("pool-pictures") for name in end_threads())
        go.set()
        working.result()
        assert not any(name.startswith("pool-pictures") for name in end_threads())


def test_nothing_left_is_no_reason_to_leave() -> None:
    leave(3, [])


def test_a_process_ends_although_a_thread_and_a_task_go_on() -> None:
    program = """
        import asyncio, threading, time
        from concurrent.futures import ThreadPoolExecutor
        from mesh.supervisor.leftover import end_tasks, end_threads, leave

        async def swallow():
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    pass

        async def main():
            task = asyncio.create_task(swallow(), name="stubborn")
            begun = threading.Event()
            ThreadPoolExecutor(1, thread_name_prefix="pool").submit(lambda: (begun.set(), time.sleep(60)))
            begun.wait()
            await asyncio.sleep(0)
            print("stopped", flush=True)
            leave(7, await end_tasks() + end_threads())

        asyncio.run(main())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=30,
                          check=False)
    assert (done.returncode, done.stdout.strip()) == (7, "stopped")
    assert "goes on: stubborn, pool_0" in done.stderr
