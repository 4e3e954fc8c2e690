"""Waiting for what will be so soon: the only place in the tests that sleeps.

A limit says how long something may take on a machine that has nothing else to do. One that has gets `LEAST` seconds for
anything: what comes is waited for no longer than it takes, and only a test that fails takes so long to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
STEP = 0.005
LEAST = 30.0


async def eventually(condition: Callable[[], T | None], limit: float = 5.0) -> T:
    """Return the first true value of `condition`, asked again and again; fails the test after its limit."""
    until = time.monotonic() + max(limit, LEAST)
    while not (value := condition()):
        if time.monotonic() > until:
            raise AssertionError(_complaint(condition, value, limit))
        await asyncio.sleep(STEP)
    return value


async def eventually_awaited(condition: Callable[[], Awaitable[T | None]], limit: float = 5.0) -> T:
    """Do the same where the condition has to be awaited."""
    until = time.monotonic() + max(limit, LEAST)
    while not (value := await condition()):
        if time.monotonic() > until:
            raise AssertionError(_complaint(condition, value, limit))
        await asyncio.sleep(STEP)
    return value


def wait_until(condition: Callable[[], T | None], limit: float = 5.0) -> T:
    """Do the same outside a loop."""
    until = time.monotonic() + max(limit, LEAST)
    while not (value := condition()):
        if time.monotonic() > until:
            raise AssertionError(_complaint(condition, value, limit))
        time.sleep(STEP)
    return value


def _complaint(condition: Callable[[], object], value: T | None, limit: float) -> str:
    code = getattr(condition, "__code__", None)
    where = f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(condition)
    return f"not so within {max(limit, LEAST):g} s: the condition at {where} is {value!r}"
