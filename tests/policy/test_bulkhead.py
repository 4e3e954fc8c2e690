"""No more calls to a service are outstanding than there are places, and every place comes back."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mesh.errors import MeshError, Overloaded, RemoteFailure
from mesh.message import Items, Reply, Request
from mesh.policy.bulkhead import Bulkhead, Bulkheads
from mesh.records import InstanceRecord
from mesh.testing import FakeClock
from mesh.testing.clock import settle
from tests.figures import read
from tests.policy.calls import Callee, ask, code, on_a_loop
from tests.policy.passages import through

PC2 = InstanceRecord("kb", "pc2", 1, "ready")


class Outside:
    """What is sent through a bulkhead, and what became of it."""

    def __init__(self, calls: int) -> None:
        self.callee = Callee()
        self.places = Bulkheads()
        self.place = self.places.of("kb", calls)
        self._handle = through(self._send, FakeClock(), bulkhead=self.place)
        self.calls: dict[object, asyncio.Task[Reply]] = {}

    async def _send(self, request: Request, row: InstanceRecord) -> Reply:
        assert row is PC2
        return await self.callee(request)

    async def call(self, *names: object) -> None:
        for name in names:
            self.calls[name] = asyncio.ensure_future(self._made(name))
        await settle()

    async def _made(self, name: object) -> Reply:
        return await self._handle(ask(name), PC2)


@on_a_loop
async def test_who_finds_no_place_is_told_before_anything_is_sent() -> None:
    outside = Outside(2)
    await outside.call(1, 2, 3)
    error = outside.calls[3].result().error
    assert isinstance(error, Overloaded) and outside.callee.begun == [1, 2]
    assert error.message == ("kb.find was not called: 2 calls of this host to kb are outstanding (policies: bulkhead: "
                             "calls); try again later")
    assert error.details["retry_after"] > 0
    await outside.callee.answer(1)
    await outside.call(4)
    assert outside.callee.running == [2, 4]
    shown = read(outside.places.samples())
    assert (shown["mesh_bulkhead_outstanding", "kb"], shown["mesh_bulkhead_refused_total", "kb"]) == (2, 1)
    assert outside.places.row("kb") == {"outstanding": 2, "refused": 1}
    assert outside.places.row("nlu") == {"outstanding": 0, "refused": 0}
    assert outside.places.of("kb", 2) is outside.place and outside.places.of("kb", 3) is not outside.place
    await outside.callee.answer(2, Reply(error=RemoteFailure("no")))
    outside.calls[4].cancel()
    await settle()
    assert outside.place.outstanding == 0


@on_a_loop
async def test_a_stream_has_its_place_until_it_ends() -> None:
    class Open(Items):
        async def __anext__(self) -> bytes:
            raise StopAsyncIteration

        async def aclose(self) -> None:
            self.drop()

        def drop(self) -> None:
            self.ended(None)

    items = Open()

    async def send(request: Request, row: InstanceRecord) -> Reply:
        return Reply(items=items)

    place = Bulkhead(1)
    handle = through(send, FakeClock(), bulkhead=place)
    await handle(ask(1, credit=8), PC2)
    assert place.outstanding == 1
    assert code(await handle(ask(2), PC2)) == "overloaded"
    items.drop()
    assert place.outstanding == 0


class Places(RuleBasedStateMachine):
    """Whatever is made, answered, failed and cancelled in whatever order: never above, always back to zero."""

    CALLS = 3

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.outside = Outside(self.CALLS)
        self.number = 0

    def run(self, coroutine: object) -> None:
        self.loop.run_until_complete(coroutine)  # type: ignore[arg-type]

    @rule(count=st.integers(1, 4))
    def make(self, count: int) -> None:
        names = [self.number + step for step in range(1, count + 1)]
        self.number += count
        free = self.CALLS - self.outside.place.outstanding
        self.run(self.outside.call(*names))
        refused = [name for name in names if self.outside.calls[name].done()]
        assert refused == names[free:], "as many are sent as there are places"

    @rule(choice=st.integers(0, 10), how=st.sampled_from(["answer", "error", "raise", "cancel"]))
    def end(self, choice: int, how: str) -> None:
        running = self.outside.callee.running
        if not running:
            return
        name = running[choice % len(running)]
        if how == "cancel":
            self.outside.calls[name].cancel()
            self.run(settle())
        elif how == "raise":
            self.run(self.outside.callee.fail(name, KeyError("lost")))
            assert isinstance(self.outside.calls[name].exception(), KeyError)
        else:
            error: MeshError | None = RemoteFailure("no") if how == "error" else None
            self.run(self.outside.callee.answer(name, Reply(b"\xc0", error)))

    @invariant()
    def never_more_than_there_are_places(self) -> None:
        assert self.outside.place.outstanding == len(self.outside.callee.running) <= self.CALLS

    def teardown(self) -> None:
        while self.outside.callee.running:
            self.run(self.outside.callee.answer(self.outside.callee.running[0]))
        assert self.outside.place.outstanding == 0
        self.loop.close()


TestPlaces = Places.TestCase
TestPlaces.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
