"""Whose turn it is: priorities, bounds, interruption, and callers that give up."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from agents_mainpc.request_queue import RequestQueue, priority_of

from mesh import Cancelled, Overloaded
from mesh.testing import FakeClock
from mesh.testing.clock import settle


@pytest.mark.parametrize(("task_type", "user_type", "urgency", "filled", "expected"), [
    ("text", "standard", "normal", 0.0, 2),
    ("text", None, "normal", 0.0, 2),
    ("audio", "admin", "critical", 0.0, 1),
    ("background", "guest", "low", 0.9, 8),
    ("vision", "premium", "high", 0.0, 1),
    ("text", "guest", "normal", 0.81, 4),
    ("text", "standard", "normal", 0.8, 2),
])
def test_priority_adds_kind_user_urgency_and_fill(
    task_type: str, user_type: str | None, urgency: str, filled: float, expected: int
) -> None:
    assert priority_of(task_type, user_type=user_type, urgency=urgency, filled=filled) == expected


class Waiting:
    """A request of a test: it notes that its turn came, and keeps it until told."""

    def __init__(self, queue: RequestQueue, name: str, begun: list[str], user_type: str = "standard") -> None:
        self.over = asyncio.Event()
        self.task = asyncio.create_task(self._run(queue, name, begun, user_type))

    async def _run(self, queue: RequestQueue, name: str, begun: list[str], user_type: str) -> None:
        async with queue.turn("text", user_type=user_type, urgency="normal"):
            begun.append(name)
            await self.over.wait()


def test_the_urgent_go_first_and_equals_in_order_of_arrival() -> None:
    async def scenario() -> None:
        clock, begun = FakeClock(), list[str]()
        queue = RequestQueue(10, 1, clock.call_later)
        everyone = [
            Waiting(queue, name, begun, user)
            for name, user in (("running", "guest"), ("first", "standard"), ("guest", "guest"), ("second", "standard"),
                               ("admin", "admin"))
        ]
        await settle()
        assert [each.priority for each in queue.waiting()] == [1, 2, 2, 3]
        for one in everyone:
            one.over.set()
        await asyncio.gather(*(one.task for one in everyone))
        assert begun == ["running", "admin", "first", "second", "guest"]
        assert queue.waiting() == []

    asyncio.run(scenario())


def test_a_full_queue_refuses_and_says_when_to_try_again() -> None:
    async def scenario() -> None:
        begun = list[str]()
        queue = RequestQueue(2, 1, FakeClock().call_later)
        everyone = [Waiting(queue, str(number), begun) for number in range(3)]
        await settle()
        with pytest.raises(Overloaded, match="2 requests wait") as refused:
            async with queue.turn("text", user_type=None, urgency="normal"):
                raise AssertionError("there was no room")
        assert refused.value.details["retry_after"] > 0
        for one in everyone:
            one.over.set()
        await asyncio.gather(*(one.task for one in everyone))
        assert begun == ["0", "1", "2"]

    asyncio.run(scenario())


def test_a_caller_that_gives_up_leaves_the_queue_and_its_turn() -> None:
    async def scenario() -> None:
        begun = list[str]()
        queue = RequestQueue(5, 1, FakeClock().call_later)
        running, waiting, last = (Waiting(queue, name, begun) for name in ("running", "waiting", "last"))
        await settle()
        waiting.task.cancel()
        await settle()
        assert len(queue.waiting()) == 1
        running.task.cancel()
        await settle()
        assert begun == ["running", "last"]
        last.over.set()
        await last.task
        for one in (running, waiting):
            with suppress(asyncio.CancelledError):
                await one.task

    asyncio.run(scenario())


def test_an_interruption_empties_the_queue_and_pauses_it() -> None:
    async def scenario() -> None:
        clock, begun = FakeClock(), list[str]()
        queue = RequestQueue(5, 1, clock.call_later)
        running, waiting = Waiting(queue, "running", begun), Waiting(queue, "waiting", begun)
        await settle()
        assert queue.interrupt(5.0) == 1
        with pytest.raises(Cancelled, match="interrupted"):
            await waiting.task
        running.over.set()
        later = Waiting(queue, "later", begun)
        await clock.advance(4.9)
        assert begun == ["running"]
        await clock.advance(0.2)
        assert begun == ["running", "later"]
        later.over.set()
        await asyncio.gather(running.task, later.task)

    asyncio.run(scenario())
