"""A turn of the loop begins what it has time for; what is over waits its turn, and every line gets one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.message import Reply, Request
from mesh.policy.inbox import Inbox
from mesh.policy.turn import SECONDS, Turn
from mesh.testing import FakeClock
from mesh.testing.clock import settle
from tests.policy.calls import ask, code, on_a_loop
from tests.policy.passages import behind


class Busy:
    """Inboxes on one loop whose calls compute for as long as a test says, and what a bystander on that loop sees."""

    def __init__(self, *services: str, late: float = 0.1, waiting: int = 1000) -> None:
        self.clock = FakeClock()
        self.turn = Turn(self.clock, late=late)
        self.begun: list[tuple[str, float]] = []
        self.longest = 0.0
        self.inboxes = {
            name: Inbox(waiting=waiting, concurrency=64, clock=self.clock, turn=self.turn) for name in services
        }
        self._handlers = {name: behind(self._compute, self.clock, inbox=inbox) for name, inbox in self.inboxes.items()}
        self.calls: list[asyncio.Task[Reply]] = []
        self.seconds: Callable[[str], float] = lambda service: 0.0

    async def _compute(self, request: Request) -> Reply:
        self.begun.append((request.service, self.clock.monotonic()))
        self.clock._go_to(self.clock.monotonic() + self.seconds(request.service))
        return Reply(b"\xc0")

    def call(self, service: str, count: int) -> None:
        for _ in range(count):
            self.calls.append(asyncio.ensure_future(self._handlers[service](ask(target=f"{service}.find"))))

    async def until_all_are_answered(self) -> None:
        """Let the loop turn and measure how long its turns last."""
        while not all(call.done() for call in self.calls):
            before = self.clock.monotonic()
            await asyncio.sleep(0)
            self.longest = max(self.longest, self.clock.monotonic() - before)


@on_a_loop
async def test_a_turn_lasts_no_longer_than_its_time_and_one_call() -> None:
    busy = Busy("kb")
    busy.seconds = lambda service: 0.0005
    busy.call("kb", 200)
    await busy.until_all_are_answered()
    assert len(busy.begun) == 200 and {code(call.result()) for call in busy.calls} == {""}
    assert busy.longest <= 2 * SECONDS + 0.0005
    assert busy.inboxes["kb"].running == 0


@on_a_loop
async def test_a_call_that_takes_longer_than_a_turn_has_one_to_itself() -> None:
    busy = Busy("kb")
    busy.seconds = lambda service: 0.02
    busy.call("kb", 20)
    await busy.until_all_are_answered()
    assert busy.longest <= 0.0201


@on_a_loop
async def test_calls_that_take_no_time_are_not_held_up() -> None:
    busy = Busy("kb")
    busy.call("kb", 60)
    await settle(3)
    assert len(busy.begun) == 60 and len(busy.inboxes["kb"]) == 0


@on_a_loop
async def test_every_inbox_of_the_host_gets_its_turns() -> None:
    busy = Busy("slow", "other")
    busy.seconds = lambda service: 0.02
    busy.call("slow", 50)
    await asyncio.sleep(0)
    busy.call("other", 5)
    await busy.until_all_are_answered()
    last = max(number for number, (service, _) in enumerate(busy.begun) if service == "other")
    assert last <= 16, "five calls of one take turns with those of the other"


@on_a_loop
async def test_after_a_turn_that_was_late_the_next_begins_one() -> None:
    busy = Busy("kb", late=0.05)
    busy.seconds = lambda service: 0.2 if len(busy.begun) == 1 else 0.0001
    busy.call("kb", 50)
    await asyncio.sleep(0)
    assert len(busy.begun) == 1
    await settle(2)
    assert len(busy.begun) == 2
    await busy.until_all_are_answered()
    assert len(busy.begun) == 50


@given(costs=st.lists(st.sampled_from([0.0, 0.0001, 0.001, 0.004, 0.3]), min_size=1, max_size=60),
       cancelled=st.sets(st.integers(0, 59)), concurrency=st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_whatever_calls_cost_and_whoever_leaves_all_get_their_turn_and_no_place_is_lost(
    costs: list[float], cancelled: set[int], concurrency: int
) -> None:
    @on_a_loop
    async def scenario() -> None:
        busy = Busy("kb")
        left = list(costs)
        busy.seconds = lambda service: left.pop()
        busy.inboxes["kb"].resize(waiting=1000, concurrency=concurrency)
        busy.call("kb", len(costs))
        await asyncio.sleep(0)
        for number in cancelled:
            if number < len(busy.calls):
                busy.calls[number].cancel()
        await busy.until_all_are_answered()
        await settle()
        assert (busy.inboxes["kb"].running, len(busy.inboxes["kb"])) == (0, 0)

    scenario()
