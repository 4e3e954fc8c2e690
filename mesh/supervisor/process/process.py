"""One process of a cell as its parent sees it: born with its papers, heard through its pipes, ended for good.

- It is started from a thread that does nothing else and lives as long as the supervisor: the kernel ends a child when
  the *thread* that started it ends. It is no thread that anybody waits for: a new child is not run at once on a busy
  machine, and with vfork(2) the interpreter would stand still until it has been.
- It stays in the process group of the supervisor, so that who ends the supervisor with its group, as the launcher does,
  ends what its cells have started too.
- Its end is known at once, from a descriptor on the loop.
- It is born deaf to the signal that asks for its stacks, and hears it as soon as it can answer: one that still starts
  would die of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from mesh.clock import Clock
from mesh.supervisor.process.output import Output
from mesh.supervisor.process.papers import Papers, write_papers

DUMP_STACKS = signal.SIGUSR2
DUMP_SECONDS = 1.0
DUMP_QUIET = 0.06
DUMP_TICK = 0.02
READ = 65536
READ_AT_ONCE = 4 * READ
PAUSE = 0.05
MIB = 2**20

PROGRAM = ("-m", "mesh.supervisor.process")


class Process:
    """A child that is about to run the agent of one cell; `start` once."""

    def __init__(self, output: Output, clock: Clock) -> None:
        self.output = output
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._popen: subprocess.Popen[bytes] | None = None
        self._watched: list[int] = []
        self._stacks = -1
        self._read = 0
        self._killed = ""

    @property
    def pid(self) -> int | None:
        """Its number, None before the start and after the end."""
        return None if self._popen is None or self.ended.done() else self._popen.pid

    async def start(self, papers: Callable[[int], Papers]) -> None:
        """Start it; `papers` is given the descriptor for stack dumps. Raises `OSError` and `StartError`."""
        starting = self._loop.run_in_executor(_spawner, _spawned)
        try:
            popen, self._stacks, writing = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_abandon)
            raise
        assert popen.stdin is not None and popen.stdout is not None
        self._popen = popen
        os.set_blocking(self._stacks, False)
        os.set_blocking(popen.stdout.fileno(), False)
        self._listen()
        self._watch(popen)
        write_papers(papers(writing), popen.stdin)

    def release(self) -> None:
        """Have it end by itself, by the end of the pipe that its papers came through."""
        if self._popen is not None and self._popen.stdin is not None:
            with contextlib.suppress(OSError):
                self._popen.stdin.close()

    async def kill(self, why: str) -> None:
        """End it and all it has started, and return when it has ended; `why` becomes the word for its end."""
        pid = self.pid
        if pid is None:
            return
        self._killed = why
        below = await asyncio.to_thread(_descendants, pid)
        if self.pid is not None:
            os.kill(pid, signal.SIGKILL)  # not reaped yet, so the number is its own
        for process in below:
            with contextlib.suppress(psutil.Error):
                process.kill()
        await asyncio.shield(self.ended)

    async def stacks(self) -> str:
        """Have it write down where each of its threads is, also while C code holds the interpreter; waits 1 s."""
        pid = self.pid
        if pid is None:
            return ""
        os.kill(pid, DUMP_STACKS)
        text, quiet = b"", 0.0
        until = self._clock.monotonic() + DUMP_SECONDS
        while self._clock.monotonic() < until and (not text or quiet < DUMP_QUIET):
            await self._clock.sleep(DUMP_TICK)
            if self.ended.done():  # what it would have been read from is closed, and its number may be another's
                break
            more = _read(self._stacks, READ) or b""
            text, quiet = text + more, 0.0 if more else quiet + DUMP_TICK
        told = text.decode(errors="replace").strip()
        if told:
            self.output.note(f"where its threads were:\n{told}")
        return told

    async def memory_mb(self) -> float | None:
        """Return its proportional share of memory in MiB, None when it has ended."""
        pid = self.pid
        return None if pid is None else await asyncio.to_thread(memory_of, pid)

    # -- pipes

    def _listen(self) -> None:
        if self._popen is not None and self._popen.stdout is not None and not self.ended.done():
            self._loop.add_reader(self._popen.stdout.fileno(), self._printed)

    def _printed(self) -> None:
        """Read what it printed; one that prints without end is read again after a pause."""
        assert self._popen is not None and self._popen.stdout is not None
        descriptor = self._popen.stdout.fileno()
        data = _read(descriptor, READ)
        if data is None:
            return
        self.output.take(data)
        self._read += len(data)
        if not data:  # it has closed its output
            self._loop.remove_reader(descriptor)
        elif self._read >= READ_AT_ONCE:
            self._read = 0
            self._loop.remove_reader(descriptor)
            self._clock.call_later(PAUSE, self._listen)

    # -- the end

    def _watch(self, popen: subprocess.Popen[bytes]) -> None:
        try:
            descriptor = os.pidfd_open(popen.pid)
        except (AttributeError, OSError):  # no Linux, or an old one
            threading.Thread(target=self._wait, args=(popen,), name=f"wait-{popen.pid}", daemon=True).start()
            return
        self._watched.append(descriptor)
        self._loop.add_reader(descriptor, self._over)

    def _wait(self, popen: subprocess.Popen[bytes]) -> None:
        popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop has ended as well
            self._loop.call_soon_threadsafe(self._over)

    def _over(self) -> None:
        """Note its end, and let go of all that was its."""
        popen = self._popen
        if popen is None or self.ended.done():
            return
        code = popen.wait()
        assert popen.stdout is not None and popen.stdin is not None
        for descriptor in self._watched:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
        self._loop.remove_reader(popen.stdout.fileno())
        self.output.take(_read(popen.stdout.fileno(), READ_AT_ONCE) or b"")
        self.output.close()
        popen.stdout.close()
        self.release()
        os.close(self._stacks)
        self.ended.set_result(self._killed or words(code))


def _deafen() -> None:
    """Have whatever this thread starts wait with `DUMP_STACKS` until it says otherwise: a new process takes this along.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {DUMP_STACKS})


_spawner = ThreadPoolExecutor(1, thread_name_prefix="spawner", initializer=_deafen)
Spawned = tuple[subprocess.Popen[bytes], int, int]


def _spawned() -> Spawned:
    """Start a process; return it, where its stack dumps are read, and the descriptor it has to write them to."""
    reading, writing = os.pipe()
    try:
        setattr(subprocess, "_USE_VFORK", False)  # noqa: B010 - see above; documented, and of no type checker's concern
        return subprocess.Popen(
            [sys.executable, *PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=(writing,),
        ), reading, writing
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)


def _abandon(starting: asyncio.Future[Spawned]) -> None:
    """End a process that nobody waits for any more."""
    if starting.cancelled() or starting.exception() is not None:
        return
    popen, reading, _ = starting.result()
    popen.kill()
    _spawner.submit(popen.wait)
    os.close(reading)
    for pipe in (popen.stdin, popen.stdout):
        if pipe is not None:
            pipe.close()


def words(code: int) -> str:
    """Return a process's end in words, from what `Popen` returns for it."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name}{_HINTS.get(-code, '')}"


_HINTS: Mapping[int, str] = {
    signal.SIGKILL: ", perhaps out of memory",
    signal.SIGSEGV: ", a fault in C code",
    signal.SIGABRT: ", C code gave up",
    signal.SIGBUS: ", a fault in C code",
    signal.SIGXCPU: ": it has used the CPU time it may (limits: cpu_s)",
}


def memory_of(pid: int) -> float | None:
    """Return the memory of a process in MiB, shared pages in shares; None when it is gone or not this user's."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return round(int(line.split()[1]) / 1024, 1)
        return None
    except FileNotFoundError:
        return _resident(pid) if sys.platform != "linux" else None
    except (OSError, ValueError, IndexError):
        return None


def _resident(pid: int) -> float | None:
    try:
        return round(float(psutil.Process(pid).memory_info().rss) / MIB, 1)
    except psutil.Error:
        return None


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _read(descriptor: int, most: int) -> bytes | None:
    """Return what a pipe holds, nothing at its end, None when it holds nothing now."""
    try:
        return os.read(descriptor, most)
    except BlockingIOError:
        return None
