"""A real child: what it prints and how it ends is known at once, where its threads are can be asked; nothing stays."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from mesh.clock import Clock
from mesh.errors import StartError
from mesh.supervisor.process import process as process_module
from mesh.supervisor.process.output import Output
from mesh.supervisor.process.papers import Papers
from mesh.supervisor.process.process import Process, memory_of, words
from mesh.testing.clock import settle
from tests.eventually import eventually

CHILD = """
import faulthandler, json, os, signal, sys, time
papers = json.loads(sys.stdin.buffer.readline())
faulthandler.register(signal.SIGUSR2, file=papers["stacks"], all_threads=True)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
def at_work():
    exec(papers["config"])
    print("reads", flush=True)
    sys.stdin.buffer.read()
at_work()
"""


def papers(config: str = "") -> Callable[[int], Papers]:
    """Return what makes papers; a child of these tests runs their `config` as a program."""
    return lambda stacks: Papers("mainpc", "it", 1, "/door", "token", 1, stacks, config)


@asynccontextmanager
async def child(folder: Path, config: str = "") -> AsyncIterator[Process]:
    """Give a running child that has read its papers; it is ended in any case."""
    process = Process(Output(folder / "it.out", Clock(), lambda count: None), Clock())
    await process.start(papers(config))
    try:
        yield process
    finally:
        await process.kill("the test is over")
        process.output.close()


def on_a_loop(scenario: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test whose children are programs of its own; see that no descriptor is left."""

    def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(process_module, "PROGRAM", ("-c", CHILD))
        before = psutil.Process().num_fds()
        asyncio.run(asyncio.wait_for(scenario(tmp_path), 60))
        assert psutil.Process().num_fds() <= before

    run.__name__ = scenario.__name__
    return run


async def reads(process: Process) -> None:
    """Wait until a child has done what its papers say."""
    await eventually(lambda: process.output.tail.endswith("reads"), 20)


@on_a_loop
async def test_a_child_ends_by_itself_when_it_is_released(folder: Path) -> None:
    async with child(folder) as process:
        await reads(process)
        assert process.pid is not None and psutil.Process(process.pid).ppid() == psutil.Process().pid
        process.release()
        assert await process.ended == "exit code 0"
        assert process.pid is None
        await process.kill("again")
        assert process.ended.result() == "exit code 0", "the first end counts"


@on_a_loop
async def test_its_papers_are_not_among_its_arguments(folder: Path) -> None:
    async with child(folder, "secret = 'a secret of a setting'") as process:
        await reads(process)
        seen = psutil.Process(process.pid)
        assert "secret of" not in " ".join(seen.cmdline()) and "token" not in str(seen.environ())


@pytest.mark.parametrize(("does", "told"), [
    ("os._exit(7)", "exit code 7"),
    ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL, perhaps out of memory"),
    ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV, a fault in C code"),
])
def test_the_end_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, told: str) -> None:
    @on_a_loop
    async def scenario(folder: Path) -> None:
        async with child(folder, f"os.write(2, b'last words'); {does}") as process:
            assert await process.ended == told
            assert process.output.tail.startswith("last words")

    scenario(tmp_path, monkeypatch)


@on_a_loop
async def test_one_that_is_killed_takes_with_it_what_it_has_started(folder: Path) -> None:
    start = f"import subprocess; globals()['kept'] = subprocess.Popen([{sys.executable!r}, '-c', 'input()'], stdin=-1)"
    async with child(folder, f"{start}; print(kept.pid, flush=True)") as process:
        await reads(process)
        below = psutil.Process(int(process.output.tail.split()[0]))
        assert below.is_running()
        await process.kill("ended by the test")
        assert process.ended.result() == "ended by the test"
        await eventually(lambda: not below.is_running() or below.status() == psutil.STATUS_ZOMBIE)


@on_a_loop
async def test_where_its_threads_are_is_told_also_while_c_code_holds_the_interpreter(folder: Path) -> None:
    hold = "import ctypes; print('holds', flush=True); ctypes.PyDLL(None).sleep(30)"
    async with child(folder, hold) as process:
        await eventually(lambda: process.output.tail == "holds", 20)
        told = await process.stacks()
        assert "in at_work" in told and "Current thread" in told
    assert "in at_work" in (folder / "it.out").read_text()


@on_a_loop
async def test_one_that_cannot_tell_yet_where_it_is_does_not_die_of_the_question(folder: Path) -> None:
    async with child(folder) as process:
        os.kill(process.pid or 0, signal.SIGSTOP)  # before it has come to its first line
        assert await process.stacks() == ""
        os.kill(process.pid or 0, signal.SIGCONT)
        await reads(process)
        assert "in at_work" in await process.stacks()


@on_a_loop
async def test_one_that_ends_while_it_is_asked_where_it_is_tells_nothing(folder: Path) -> None:
    async with child(folder) as process:
        os.kill(process.pid or 0, signal.SIGSTOP)
        asked = asyncio.create_task(process.stacks())
        await asyncio.sleep(0)
        os.kill(process.pid or 0, signal.SIGKILL)
        assert await asked == ""


@on_a_loop
async def test_a_dead_one_has_neither_threads_nor_memory(folder: Path) -> None:
    async with child(folder, "os._exit(0)") as process:
        await process.ended
        assert await process.stacks() == "" and await process.memory_mb() is None


@on_a_loop
async def test_memory_counts_what_is_touched(folder: Path) -> None:
    async with child(folder) as small, child(folder, "globals()['kept'] = b'x' * (100 * 2**20)") as big:
        await reads(small)
        await reads(big)
        low, high = await small.memory_mb(), await big.memory_mb()
        assert low is not None and high is not None and 90 < high - low < 130


@on_a_loop
async def test_papers_that_have_no_room_in_a_pipe_are_refused(folder: Path) -> None:
    process = Process(Output(folder / "it.out", Clock(), lambda count: None), Clock())
    with pytest.raises(StartError, match="may take 1000000 bytes"):
        await process.start(papers("#" * 1_000_001))
    await process.kill("the test is over")


@on_a_loop
async def test_papers_of_many_settings_pass(folder: Path) -> None:
    async with child(folder, "#" * 500_000) as process:
        await reads(process)


@on_a_loop
async def test_one_that_nobody_waits_for_any_more_is_ended(folder: Path) -> None:
    others = set(psutil.Process().children())
    process = Process(Output(folder / "it.out", Clock(), lambda count: None), Clock())
    starting = asyncio.create_task(process.start(papers()))
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert process.pid is None
    await asyncio.get_running_loop().run_in_executor(process_module._spawner, int)  # it has been started by now
    await settle()
    await eventually(lambda: set(psutil.Process().children()) <= others, 20)


def test_an_end_has_words() -> None:
    assert words(0) == "exit code 0"
    assert words(-signal.SIGTERM) == "killed by SIGTERM"
    assert words(-signal.SIGXCPU) == "killed by SIGXCPU: it has used the CPU time it may (limits: cpu_s)"
    assert words(-63) == "killed by signal 63"


def test_nobody_has_no_memory() -> None:
    assert memory_of(2**22 + 1) is None
