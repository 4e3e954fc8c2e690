"""Calls one at a time, answered many at a time: concurrent calls are given to a model in one go.

The function gets a list of items and returns a list as long; an exception in the list is raised for that item's caller
alone. What the function raises is raised for all. One caller that gives up takes its item along; when all of a batch
have given up, the batch is cancelled.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mesh.clock import Clock, Timer
from mesh.errors import InvalidArgument, InvalidResult, Overloaded, Unavailable
from mesh.models.queue import BatchQueue, Waiting

I = TypeVar("I")  # noqa: E741 - an item
O = TypeVar("O")  # noqa: E741 - an outcome

MAX_WAITING = 1024
RETRY_AFTER_S = 0.1


@dataclass(eq=False, slots=True)
class _Asked(Generic[I, O]):
    """One call: its item and where its answer goes."""

    item: I
    answer: asyncio.Future[O]


class Batched(Generic[I, O]):
    """Calls of a function of many items, one item each; all on one event loop.

    A batch leaves when it is full or its oldest item has waited `max_wait` seconds, and fewer than `parallel` are being
    worked on; `run` runs a blocking function in a thread. `caller` says whose call it is, for turns.
    """

    def __init__(
        self, function: Callable[[list[I]], Any], *, max_batch: int, max_wait: float, parallel: int = 1,
        clock: Clock, run: Callable[..., Awaitable[Any]], caller: Callable[[], str] = lambda: "",
    ) -> None:
        bounds = (("max_batch", max_batch, 1), ("max_wait_ms", max_wait, 0), ("parallel", parallel, 1))
        for name, value, least in bounds:
            if not value >= least:
                raise InvalidArgument(f"{name} is {value!r}, expected at least {least}", path=name)
        self.batches = 0
        self.items = 0
        self._function = function
        self._parallel = parallel
        self._clock = clock
        self._run = run
        self._caller = caller
        self._queue: BatchQueue[_Asked[I, O]] = BatchQueue(max_batch, max_wait)
        self._tasks: dict[asyncio.Task[None], list[_Asked[I, O]]] = {}
        self._timer: Timer | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._queue)

    async def __call__(self, item: I) -> O:
        """Return what the function makes of `item`; raises `Overloaded` while too many wait."""
        if self._closed:
            raise Unavailable("the agent stops; its model answers no more")
        if len(self._queue) >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} items wait for the model already", retry_after=RETRY_AFTER_S)
        asked: _Asked[I, O] = _Asked(item, asyncio.get_running_loop().create_future())
        waiting = self._queue.add(asked, self._caller(), self._clock.monotonic())
        self._pump()
        try:
            return await asked.answer
        except asyncio.CancelledError:
            self._give_up(waiting)
            raise

    def close(self) -> None:
        """Answer whoever waits that the agent stops, and cancel what runs."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        while batch := self._queue.take():
            for waiting in batch:
                _settle(waiting.item.answer, Unavailable("the agent stops; its model answers no more"))
        for task in list(self._tasks):
            task.cancel()

    # -- inside

    def _pump(self) -> None:
        """Start what is due, and come back when the next one is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while len(self._tasks) < self._parallel and (wait := self._queue.due(self._clock.monotonic())) is not None:
            if wait > 0:
                self._timer = self._clock.call_later(wait, self._pump)
                return
            batch = [waiting.item for waiting in self._queue.take()]
            work = self._answer(batch)
            # on behalf of nobody: the deadline and the trace of one caller are not the others'
            task = asyncio.get_running_loop().create_task(work, context=Context())
            self._tasks[task] = batch
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        for asked in self._tasks.pop(task):
            _settle(asked.answer, Unavailable("the agent stops; its model answers no more"))
        if not self._closed:
            self._pump()

    def _give_up(self, waiting: Waiting[_Asked[I, O]]) -> None:
        if self._queue.remove(waiting):
            self._pump()
            return
        for task, batch in list(self._tasks.items()):
            if waiting.item in batch and all(asked.answer.done() for asked in batch):
                task.cancel()

    async def _answer(self, batch: list[_Asked[I, O]]) -> None:
        self.batches += 1
        self.items += len(batch)
        try:
            outcomes = await self._outcomes([asked.item for asked in batch])
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # SystemExit too: a model does not end the host
            told = error if isinstance(error, Exception) else RuntimeError(f"the model raised {type(error).__name__}")
            for asked in batch:
                _settle(asked.answer, told)
            return
        for asked, outcome in zip(batch, outcomes, strict=True):
            _settle(asked.answer, outcome)

    async def _outcomes(self, items: list[I]) -> Sequence[Any]:
        if inspect.iscoroutinefunction(self._function):
            outcomes = await self._function(list(items))
        else:
            outcomes = await self._run(self._function, list(items))
        if not isinstance(outcomes, Sequence) and hasattr(outcomes, "tolist"):
            outcomes = list(outcomes)  # an array of numbers
        if not isinstance(outcomes, Sequence) or isinstance(outcomes, (str, bytes)) or len(outcomes) != len(items):
            found = f"{len(outcomes)} results" if isinstance(outcomes, Sequence) else f"a {type(outcomes).__name__}"
            raise InvalidResult(f"a batch of {len(items)} items was answered with {found}; return a list as long")
        return outcomes


def _settle(answer: asyncio.Future[Any], outcome: Any) -> None:
    if answer.done():
        return
    if isinstance(outcome, BaseException):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
