"""Where a cell's code runs: on the host's event loop, or on a loop and thread of its own.

A step of an agent's coroutine is timed, so the loop's time can be billed to the agent that used it, and nothing but
`Exception` gets out of it: an agent that calls `sys.exit()` ends itself, not its host.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Any, Protocol, TypeVar

from mesh.client import CURRENT
from mesh.errors import MeshError, Overloaded
from mesh.message import Request
from mesh.policy.measure import CallStats
from mesh.supervisor.cell.steps import Steps, ThreadSteps
from mesh.supervisor.cell.stragglers import Straggler, Stragglers
from mesh.supervisor.loop.hold import LIMIT

THREADS = 8
LEFT_SECONDS = 1.0
INTERRUPTED = 130

T = TypeVar("T")
Code = Coroutine[Any, Any, Any] | AsyncGenerator[Any, None]
Overran = Callable[[CallStats, Code, float], None]
"""Told of a step that kept the host's loop for long, right when it ended: who is billed, for what, since when."""


class AgentExit(MeshError):
    """The agent's code tried to end the process; its cell counts as crashed, unless it ended as it meant to."""

    @property
    def normal(self) -> bool:
        """Tell whether it ended with exit code 0."""
        return self.details.get("exit_code") == 0


def exited(error: SystemExit | KeyboardInterrupt) -> AgentExit:
    """Return what an agent's `sys.exit(...)` is to its cell; without a code, or with 0, it is a normal end."""
    code = error.code if isinstance(error, SystemExit) else INTERRUPTED
    told = f": {code}" if isinstance(code, str) else ""
    return AgentExit(f"the agent's code raised {type(error).__name__}{told}",
                     exit_code=code if isinstance(code, int) else 0 if code is None else 1)


@types.coroutine
def billed(
    coroutine: Code, stats: CallStats, overran: Overran | None = None, part: Any = None,
    stragglers: Stragglers | None = None,
) -> Generator[Any, Any, Any]:
    """Await a coroutine, adding the time of each of its steps to `stats.loop_seconds`; `overran` hears of a long one.

    Of an asynchronous generator it awaits `part`, what takes it to its next `yield` or to its end. `stragglers` looks
    after one that was cancelled, until it ends.
    A generator, because it stands in the path of every call: a class with `send` and `throw` costs twice as much.
    """
    if part is None:
        part = coroutine
    step: Callable[[Any], Any] = part.send
    given: Any = None
    cancelled: Straggler | None = None
    try:
        while True:
            started = perf_counter()
            try:
                wanted = step(given)
            except StopIteration as end:
                return end.value
            except (SystemExit, KeyboardInterrupt) as error:
                raise exited(error) from error
            finally:
                spent = perf_counter() - started
                stats.loop_seconds += spent
                if spent > LIMIT and overran is not None:
                    overran(stats, coroutine, started)
            try:
                given = yield wanted
                step = part.send
            except BaseException as error:  # cancellation too is handed on to where the coroutine waits
                step, given = part.throw, error
                if cancelled is None and stragglers is not None and isinstance(error, asyncio.CancelledError):
                    cancelled = stragglers.coroutine(coroutine)
    finally:
        if cancelled is not None and stragglers is not None:
            stragglers.ended(cancelled)


@types.coroutine
def poured(
    coroutine: AsyncGenerator[Any, None], stats: CallStats, overran: Overran | None, before: Callable[[], None],
    take: Callable[[Any], bool], stragglers: Stragglers | None = None,
) -> Generator[Any, Any, bool]:
    """Give what a generator yields to `take`, until that says no; returns False when it has ended.

    Billed is the time from one wait to the next, that of `take` included: to look at the clock for each of a hundred
    thousand items a second would cost as much as to make them. `before` runs when an item is begun after a wait.
    """
    started = perf_counter()
    waited = True
    cancelled: Straggler | None = None
    try:
        while True:
            if waited:
                before()
                waited = False
            part: Any = coroutine.__anext__()
            step, given = part.send, None
            while True:
                try:
                    wanted = step(given)
                except StopIteration as end:
                    if take(end.value):
                        break
                    return True
                except StopAsyncIteration:
                    return False
                except (SystemExit, KeyboardInterrupt) as error:
                    raise exited(error) from error
                _bill(coroutine, stats, overran, started)
                waited = True
                try:
                    given = yield wanted
                    step = part.send
                except BaseException as error:
                    step, given = part.throw, error
                    if cancelled is None and stragglers is not None and isinstance(error, asyncio.CancelledError):
                        cancelled = stragglers.coroutine(coroutine)
                started = perf_counter()
    finally:
        _bill(coroutine, stats, overran, started)
        if cancelled is not None and stragglers is not None:
            stragglers.ended(cancelled)


def _bill(coroutine: Code, stats: CallStats, overran: Overran | None, started: float) -> None:
    spent = perf_counter() - started
    stats.loop_seconds += spent
    if spent > LIMIT and overran is not None:
        overran(stats, coroutine, started)


class Runner(Protocol):
    """Runs an agent's coroutines and blocking functions."""

    @property
    def at_home(self) -> bool:
        """Tell whether the agent's code runs on the host's loop."""

    def call(self, function: Callable[..., Coroutine[Any, Any, T]], arguments: dict[str, Any]) -> Awaitable[T]:
        """Call a coroutine function of the agent where the agent lives; await the result."""

    def generate(
        self, function: Callable[..., AsyncGenerator[Any, None]], arguments: dict[str, Any], before: Callable[[], None]
    ) -> Steps:
        """Call a generator function of the agent where the agent lives; `before` runs there before each of its steps.
        """

    async def home(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine of the mesh on the host's loop, on behalf of an agent that is not there."""

    async def blocking(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a blocking function in the cell's thread pool."""

    def close(self) -> None:
        """Let go of threads; one that is stuck is left behind."""


def stepped(coroutine: Coroutine[Any, Any, T], stats: CallStats, overran: Overran | None, request: Request) -> T:
    """Return what a coroutine returns that never waits, billed as `billed` does, in a context of its own as a task has.
    """
    started = perf_counter()
    try:
        contextvars.copy_context().run(_only_step, coroutine, request)
    except StopIteration as end:
        answer: T = end.value
        return answer
    except (SystemExit, KeyboardInterrupt) as error:
        raise exited(error) from error
    finally:
        _bill(coroutine, stats, overran, started)
    raise RuntimeError(f"{coroutine!r} waits, although its code has no await")


def _only_step(coroutine: Coroutine[Any, Any, Any], request: Request) -> None:
    CURRENT.set(request)
    coroutine.send(None)


class LoopRunner:
    """A coroutine cell: on the host's loop."""

    def __init__(
        self, name: str, stats: CallStats, overran: Overran | None = None, stragglers: Stragglers | None = None
    ) -> None:
        self._stats = stats
        self._overran = overran
        self._stragglers = stragglers
        self._pool = _Pool(name, stragglers)

    at_home = True

    def call(self, function: Callable[..., Coroutine[Any, Any, T]], arguments: dict[str, Any]) -> Awaitable[T]:
        """Call a coroutine function here; await the result."""
        return billed(function(**arguments), self._stats, self._overran, None, self._stragglers)

    def at_once(self, function: Callable[..., Coroutine[Any, Any, T]], arguments: dict[str, Any], request: Request
                ) -> T:
        """Answer `request` with a coroutine function that never waits."""
        return stepped(function(**arguments), self._stats, self._overran, request)

    def generate(
        self, function: Callable[..., AsyncGenerator[Any, None]], arguments: dict[str, Any], before: Callable[[], None]
    ) -> Steps:
        """Call a generator function here."""
        return _LoopSteps(function(**arguments), self._stats, before, self._overran, self._stragglers)

    async def home(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine of the mesh; the agent is at home already."""
        return await make()

    async def blocking(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a blocking function in the cell's thread pool."""
        return await self._pool.run(function, *arguments)

    def close(self) -> None:
        """Let go of the pool's threads."""
        self._pool.close()


class ThreadRunner:
    """A thread cell: on a loop of its own in a thread of its own, so blocking code holds up nobody else."""

    def __init__(self, name: str, stats: CallStats, stragglers: Stragglers | None = None) -> None:
        self._stats = stats
        self._stragglers = stragglers
        self._pool = _Pool(name, stragglers)
        self._home = asyncio.get_running_loop()
        self._loop = self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"cell-{name}", daemon=True)
        self._thread.start()

    at_home = False

    async def call(self, function: Callable[..., Coroutine[Any, Any, T]], arguments: dict[str, Any]) -> T:
        """Call a coroutine function on the cell's loop and return its result; cancelling this cancels it."""
        there = _There(function, arguments, self._stats)
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there.run(), self._loop))
        except asyncio.CancelledError:
            if self._stragglers is not None:
                there.cancelled(self._stragglers, self._loop)
            raise

    def generate(
        self, function: Callable[..., AsyncGenerator[Any, None]], arguments: dict[str, Any], before: Callable[[], None]
    ) -> Steps:
        """Call a generator function on the cell's loop."""
        return ThreadSteps(_LoopSteps(function(**arguments), self._stats, before, None, self._stragglers), self._loop)

    async def home(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine of the mesh on the host's loop; called on the cell's loop."""
        if asyncio.get_running_loop() is self._home:
            return await make()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(make(), self._home))

    async def blocking(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a blocking function in the cell's thread pool."""
        return await self._pool.run(function, *arguments)

    def close(self) -> None:
        """Stop the loop; a thread that is stuck in blocking code is left behind."""
        with contextlib.suppress(RuntimeError):  # the agent's code has ended the loop itself
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._pool.close()

    def _run(self) -> None:
        """Turn the cell's loop, and give back what it holds when it is stopped."""
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.wait(left, timeout=LEFT_SECONDS))
        finally:
            self._loop.close()


class _There:
    """A coroutine of an agent on its own loop; who waits for it elsewhere may give it up before it has ended."""

    def __init__(
        self, function: Callable[..., Coroutine[Any, Any, Any]], arguments: dict[str, Any], stats: CallStats
    ) -> None:
        self._function = function
        self._arguments = arguments
        self._stats = stats
        self._coroutine: Coroutine[Any, Any, Any] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._over = False
        self._straggler: tuple[Stragglers, Straggler] | None = None

    async def run(self) -> Any:
        """Await it, there."""
        self._task = asyncio.current_task()
        self._coroutine = self._function(**self._arguments)
        try:
            return await billed(self._coroutine, self._stats)
        finally:
            self._over = True
            self._ended()

    def cancelled(self, stragglers: Stragglers, loop: asyncio.AbstractEventLoop) -> None:
        """Have it looked after, here; one that has not begun never will."""
        task = self._task
        if task is not None and not self._over:
            self._straggler = stragglers, stragglers.elsewhere(
                self._coroutine, lambda: loop.call_soon_threadsafe(task.cancel))
            if self._over:  # just now
                self._ended()

    def _ended(self) -> None:
        if self._straggler is not None:
            stragglers, one = self._straggler
            stragglers.ended(one)


class _LoopSteps:
    """A generator on the loop it is stepped on."""

    def __init__(
        self, generator: AsyncGenerator[Any, None], stats: CallStats, before: Callable[[], None],
        overran: Overran | None = None, stragglers: Stragglers | None = None,
    ) -> None:
        self._generator = generator
        self._stats = stats
        self._before = before
        self._overran = overran
        self._stragglers = stragglers

    def next(self) -> Awaitable[Any]:
        """Take the generator to its next value."""
        self._before()
        return billed(self._generator, self._stats, self._overran, self._generator.__anext__(), self._stragglers)

    def pour(self, take: Callable[[Any], bool]) -> Awaitable[bool]:
        """Give each value to `take` at once."""
        return poured(self._generator, self._stats, self._overran, self._before, take, self._stragglers)

    def close(self) -> Awaitable[Any]:
        """End the generator."""
        return billed(self._generator, self._stats, self._overran, self._generator.aclose(), self._stragglers)


class _Pool:
    """A thread pool that costs nothing until it is used.

    A function goes on when nobody waits for it any more. While all threads are taken by such, another is refused.
    """

    def __init__(self, name: str, stragglers: Stragglers | None) -> None:
        self._name = name
        self._stragglers = stragglers
        self._abandoned: set[Future[Any]] = set()
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix=f"pool-{self._name}")
        if len(self._abandoned) >= THREADS:
            raise Overloaded(f"all {THREADS} threads of {self._name} are taken by functions that nobody waits for any "
                             f"more and that do not end; `mesh why {self._name}` names them", retry_after=1.0)
        context = contextvars.copy_context()
        thread: list[int] = []

        def work() -> T:
            thread.append(threading.get_ident())
            return context.run(_guarded, function, *arguments)

        working = self._executor.submit(work)
        try:
            return await asyncio.wrap_future(working)
        except asyncio.CancelledError:
            if not working.cancel() and not working.done():
                self._abandon(working, thread)
            raise

    def _abandon(self, working: Future[Any], thread: list[int]) -> None:
        """Count a function that runs for nobody, until it ends."""
        self._abandoned.add(working)
        one = self._stragglers.thread(thread[0]) if self._stragglers is not None and thread else None

        def ended(_: Future[Any]) -> None:
            self._abandoned.discard(working)
            if one is not None and self._stragglers is not None:
                self._stragglers.ended(one)

        working.add_done_callback(ended)

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)


def _guarded(function: Callable[..., T], *arguments: Any) -> T:
    try:
        return function(*arguments)
    except (SystemExit, KeyboardInterrupt) as error:
        raise exited(error) from error
