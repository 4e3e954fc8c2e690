"""What never waits is found by its code, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mesh.agent.prompt import never_waits


class Cases:
    """Methods that wait in every way there is, and some that do not."""

    async def plain(self) -> int:
        return sum(number for number in range(3))

    async def inner(self) -> list[int]:
        async def other() -> None:
            await asyncio.sleep(0)

        other().close()
        return [number for number in range(3) if number]

    async def raises(self) -> None:
        raise ValueError

    async def awaits(self) -> None:
        await asyncio.sleep(0)

    async def seldom(self, number: int = 0) -> None:
        if number:
            try:
                pass
            finally:
                await asyncio.sleep(0)

    async def enters(self) -> None:
        async with asyncio.Lock():
            pass

    async def reads(self, items: AsyncIterator[int]) -> None:
        async for _ in items:
            pass

    async def gathers(self, items: AsyncIterator[int]) -> list[int]:
        return [item async for item in items]

    async def yields(self) -> AsyncIterator[int]:
        yield 1

    def blocks(self) -> None:
        pass


@pytest.mark.parametrize(("method", "prompt"), [
    (Cases.plain, True), (Cases.inner, True), (Cases.raises, True), (Cases.awaits, False), (Cases.seldom, False),
    (Cases.enters, False), (Cases.reads, False), (Cases.gathers, False), (Cases.yields, False), (Cases.blocks, False),
])
def test_a_coroutine_function_without_any_await_never_waits(method: Any, prompt: bool) -> None:
    assert never_waits(method) is prompt
