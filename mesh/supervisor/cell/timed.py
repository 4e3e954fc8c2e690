"""A step of an agent's life, such as its setup, within its time; one that does not end is left behind, and named.

Whoever waits for a step is not the one who runs it: code that swallows its cancellation, or blocks a thread of its own,
keeps nobody waiting for longer than its time and that for cleaning up.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from mesh.supervisor.cell.stragglers import Spot, awaited, outwards
from mesh.supervisor.loop.patience import patience

T = TypeVar("T")
AGAIN = 0.5
"""Seconds after its time to clean up, in which it is cancelled once more."""


async def in_time(
    work: Coroutine[Any, Any, T], seconds: float, cleanup: float, late: Callable[[], Awaitable[Exception]]
) -> T:
    """Return what `work` returns, or raise what it raises.

    After `seconds` raises what `late` makes, while the work still stands where it stood; then it is cancelled and has
    `cleanup` seconds to end, as it has when who waits for it is cancelled.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        async with patience(seconds) as limit:
            return await asyncio.shield(task)
    except TimeoutError:
        if not limit.expired():
            raise
        raise await late() from None
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_forgotten)
            await asyncio.wait([task], timeout=cleanup + AGAIN)


def _forgotten(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # nobody waits for it any more


def standing(file: Path, task: asyncio.Task[Any] | None, loop: asyncio.AbstractEventLoop | None) -> str | None:
    """Return the innermost line of an agent's `file` that runs or waits now, None if none does.

    Looked at are what `task` waits for, the tasks of the agent's own `loop`, and the other threads.
    """
    tasks = [] if task is None else [task]
    if loop is not None:
        tasks += asyncio.all_tasks(loop)
    for frames in (*(awaited(each.get_coro()) for each in tasks), *_threads()):
        for frame in frames:
            if frame.f_code.co_filename == str(file):
                place = "/".join(file.parts[-2:])
                return str(Spot(frame.f_code.co_name, place, frame.f_lineno))
    return None


def _threads() -> Iterator[Iterator[FrameType]]:
    here = threading.get_ident()
    for ident, frame in sys._current_frames().items():
        if ident != here:
            yield outwards(frame)
