"""Find the coroutine functions that never wait: what they do is done in one step.

Such a step needs no task. A coroutine that waits does, for what it waits with asks for the current task:
`asyncio.timeout`, and with it anyio and httpx.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable
from typing import Any

_WAITS = frozenset(
    dis.opmap[name] for name in ("GET_AWAITABLE", "GET_AITER", "GET_ANEXT", "BEFORE_ASYNC_WITH", "SEND", "YIELD_VALUE")
    if name in dis.opmap
)


def never_waits(function: Callable[..., Any]) -> bool:
    """Tell whether an `async def` has no `await` in it, nor `async for` or `async with`."""
    return inspect.iscoroutinefunction(function) and _WAITS.isdisjoint(function.__code__.co_code[::2])
