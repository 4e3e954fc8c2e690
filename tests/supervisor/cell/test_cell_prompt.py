"""Operations that never wait are done in one step on the host's loop, and yet keep to themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar

import pytest

from mesh import RemoteFailure, operation
from mesh.client import CURRENT
from mesh.testing import InMemoryMesh, in_mesh
from tests.eventually import eventually
from tests.supervisor.plain import Plain, fresh

MINE: ContextVar[str] = ContextVar("mine", default="nobody's")


class Prompt(Plain):
    """Has operations without an `await` in them, and one with."""

    turned: list[int]
    spend: Callable[[], object] = staticmethod(lambda: None)

    @operation
    async def who(self, name: str) -> list[str]:
        """Set a variable of the context, and say who asked under which trace."""
        MINE.set(name)
        self.spend()
        request = CURRENT.get()
        assert request is not None
        return [MINE.get(), request.operation, request.trace.trace_id.hex()]

    @operation
    async def depart(self, code: int) -> None:
        """Try to end the process."""
        raise SystemExit(code)

    @operation
    async def change(self, items: list[int]) -> list[int]:
        """Change what was given."""
        items.append(4)
        self.turned = items
        return items

    @operation
    async def ask_on(self, times: int) -> int:
        """Ask another agent of this host over and over, and wait for nothing else."""
        for number in range(times):
            await self.request("other.who", name=str(number))
        return times


def prompt() -> type[Prompt]:
    return fresh(Prompt, turned=[])


@in_mesh
async def test_the_context_of_the_caller_is_not_touched_and_its_trace_is_inherited(mesh: InMemoryMesh) -> None:
    await mesh.add("other", prompt())
    await mesh.add("it", prompt())
    mine, asked, trace = await mesh.agent("it").request("other.who", name="theirs")
    assert (mine, asked) == ("theirs", "who") and len(trace) == 32
    assert MINE.get() == "nobody's" and CURRENT.get() is None


@in_mesh
async def test_a_callee_cannot_change_what_its_caller_holds_nor_the_caller_what_it_got(mesh: InMemoryMesh) -> None:
    kind = prompt()
    await mesh.add("it", kind)
    given = [1, 2, 3]
    got = await mesh.agent("it").request("it.change", items=given)
    assert given == [1, 2, 3] and got == [1, 2, 3, 4]
    got.append(5)
    agent = mesh.agent("it")
    assert isinstance(agent, Prompt) and agent.turned == [1, 2, 3, 4]


@in_mesh
async def test_an_agent_that_exits_in_one_step_crashes_alone(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("it", prompt())
    with pytest.raises(RemoteFailure, match="SystemExit"):
        await mesh.request("it.depart", code=3)
    await eventually(lambda: cell.state in ("backoff", "starting", "ready") and cell.failures == 1)


@in_mesh
async def test_a_method_that_a_test_has_put_in_its_place_may_wait(mesh: InMemoryMesh) -> None:
    await mesh.add("it", prompt())

    async def slow(name: str) -> list[str]:
        await asyncio.sleep(0)
        return [name, "slow"]

    mesh.agent("it").who = slow  # type: ignore[attr-defined]
    assert await mesh.request("it.who", name="x") == ["x", "slow"]


@in_mesh
async def test_who_asks_without_end_leaves_the_loop_to_others_in_between(mesh: InMemoryMesh) -> None:
    def spend() -> None:
        mesh.clock._go_to(mesh.clock.monotonic() + 0.0001)

    await mesh.add("other", fresh(Prompt, spend=staticmethod(spend)))
    await mesh.add("it", prompt())
    asking = asyncio.ensure_future(mesh.request("it.ask_on", times=2000))
    turns = 0
    while not asking.done() and turns < 10_000:
        turns += 1
        await asyncio.sleep(0)
    assert await asking == 2000 and turns >= 90, "2,000 calls of 0.1 ms are a hundred turns of 2 ms"
