"""What of the agents' code still runs when its host has stopped: it has a moment, then the process ends without it.

An interpreter waits at its end for every task and for every thread of a pool, so one that swallows its cancellation
would keep a stopped host alive for ever.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import logging
import os
import sys
import threading
import time

MOMENT = 0.5
TICK = 0.02

log = logging.getLogger("mesh.supervisor")


async def end_tasks() -> list[str]:
    """Cancel every task but this one; returns the names of those that do not end."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    pending = (await asyncio.wait(left, timeout=MOMENT))[1] if left else set()
    return [task.get_name() for task in pending]


def end_threads() -> list[str]:
    """Wait a moment for the threads that the end of the interpreter waits for; returns the names of those that go on.
    """
    until = time.monotonic() + MOMENT
    while (names := _busy()) and time.monotonic() < until:
        time.sleep(TICK)
    return names


def _busy() -> list[str]:
    """Return the threads that are no daemons and do something; one of a pool that waits for work does nothing."""
    frames = sys._current_frames()
    idle = concurrent.futures.thread._worker.__code__
    return [thread.name for thread in threading.enumerate()
            if not thread.daemon and thread is not threading.current_thread() and thread.ident in frames
            and frames[thread.ident].f_code is not idle]


def leave(code: int, names: list[str]) -> None:
    """End the process at once if anything goes on, and say what."""
    if names:
        log.warning("this host has stopped; the process ends although code of its agents goes on: %s", ", ".join(names))
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            if stream is not None:
                stream.flush()
        os._exit(code)
