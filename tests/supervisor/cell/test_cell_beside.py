"""A new agent set up beside the one that serves: nobody waits, nothing is lost, and who fails was never called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mesh import Agent, every, operation, subscribe
from mesh.errors import LoadError, RemoteFailure, StartError, Unavailable, Unreachable
from mesh.supervisor.cell.cell import Cell
from mesh.supervisor.cell.loader import Edition
from mesh.testing import InMemoryMesh, in_mesh
from mesh.testing.clock import settle
from tests.eventually import eventually
from tests.supervisor.plain import fresh


class Teller(Agent):
    """Tells which version it is."""

    version = "old"
    ready: asyncio.Event
    go: asyncio.Event
    heard: list[Any]
    ticks: list[str]
    reason: str | None = None
    breaks = False

    async def setup(self) -> None:
        if self.breaks:
            raise ValueError("no licence file")
        await self.ready.wait()

    async def check(self) -> str | None:
        return self.reason

    @operation
    async def tell(self) -> str:
        return self.version

    @operation
    async def hold(self, seconds: float) -> str:
        await self.clock.sleep(seconds)
        return self.version

    @operation
    async def count(self, to: int) -> AsyncIterator[str]:
        for number in range(to):
            await self.clock.sleep(1.0)
            yield f"{self.version} {number}"

    @operation
    async def leave(self) -> None:
        raise SystemExit(3)

    @subscribe("news.#")
    async def hear(self, payload: Any) -> None:
        await self.go.wait()
        self.heard.append((self.version, payload))

    @every(seconds=10)
    async def tick(self) -> None:
        self.ticks.append(self.version)


def teller(version: str = "old", base: type[Teller] | None = None, **fields: Any) -> type[Teller]:
    """Return a version of the agent, which shares what it has heard with its `base`."""
    shared = ({"heard": base.heard, "ticks": base.ticks, "go": base.go, "ready": base.ready} if base is not None
              else {"heard": [], "ticks": [], "go": asyncio.Event(), "ready": asyncio.Event()})
    made = fresh(Teller, **{**shared, "version": version, **fields})
    if base is None:
        made.go.set()
        made.ready.set()
    return made


def edition(cls: type[Agent]) -> Edition:
    return Edition(lambda spec: cls)


async def switched(cell: Cell, version: str, mesh: InMemoryMesh) -> None:
    """Wait until calls are answered by a version; a class is loaded in a thread, which takes real time."""
    until = asyncio.get_running_loop().time() + 5
    while await mesh.request("teller.tell") != version:
        assert asyncio.get_running_loop().time() < until
        await asyncio.sleep(0)


@in_mesh
async def test_calls_go_to_the_old_until_the_new_is_set_up_and_none_waits(mesh: InMemoryMesh) -> None:
    old = teller()
    cell = await mesh.add("teller", old)
    incarnation = cell.incarnation
    new = teller("new", old, ready=asyncio.Event())
    renewal = asyncio.create_task(cell.renew(cell.spec, edition=edition(new)))
    await settle()
    assert [await mesh.request("teller.tell") for _ in range(5)] == ["old"] * 5 and not renewal.done()
    new.ready.set()
    await renewal
    assert await mesh.request("teller.tell") == "new"
    assert (renewal.result().how, renewal.result().cut) == ("beside", 0)
    assert (cell.state, cell.restarts) == ("ready", 0) and cell.incarnation > incarnation


@in_mesh
async def test_if_the_new_crashes_while_the_old_drains_the_calls_of_the_old_end_well(mesh: InMemoryMesh) -> None:
    old = teller()
    cell = await mesh.add("teller", old)
    held = asyncio.create_task(mesh.request("teller.hold", seconds=2.0))
    await settle()
    renewal = asyncio.create_task(cell.renew(cell.spec, edition=edition(teller("new", old))))
    await switched(cell, "new", mesh)
    fresh_call = asyncio.create_task(mesh.request("teller.hold", seconds=2.0))
    await settle()
    with pytest.raises(RemoteFailure, match="SystemExit"):
        await mesh.request("teller.leave")
    with pytest.raises(Unreachable):
        await fresh_call
    assert cell.state == "backoff" and not held.done()
    for _ in range(30):
        await mesh.clock.advance(0.1)
    assert await held == "old"
    await renewal
    assert renewal.result().cut == 0
    await eventually(lambda: cell.state == "ready")
    assert await mesh.request("teller.tell") == "new"


@in_mesh
async def test_what_the_old_has_begun_it_ends_calls_and_streams(mesh: InMemoryMesh) -> None:
    old = teller()
    cell = await mesh.add("teller", old)
    held = asyncio.create_task(mesh.request("teller.hold", seconds=2.0))
    items: list[str] = []

    async def read() -> None:
        async for item in mesh.stream("teller.count", to=3):
            items.append(item)

    reading = asyncio.create_task(read())
    await settle()
    renewal = asyncio.create_task(cell.renew(cell.spec, edition=edition(teller("new", old))))
    await switched(cell, "new", mesh)
    for _ in range(4):
        await mesh.clock.advance(1.0)
    assert await held == "old"
    await reading
    assert items == ["old 0", "old 1", "old 2"] and (await renewal).cut == 0


@in_mesh
async def test_what_does_not_end_in_time_is_told_so_and_counted(mesh: InMemoryMesh) -> None:
    old = teller()
    cell = await mesh.add("teller", old, limits={"stop_s": 1.0})
    held = asyncio.create_task(mesh.request("teller.hold", seconds=60.0, timeout=100.0))
    await settle()
    renewal = asyncio.create_task(cell.renew(cell.spec, edition=edition(teller("new", old))))
    await switched(cell, "new", mesh)
    young = asyncio.create_task(mesh.request("teller.hold", seconds=10.0))
    await settle()
    await mesh.clock.advance(1.1)
    with pytest.raises(Unreachable, match="teller is replaced by a new one; whether the call did its work is unknown"):
        await held
    await mesh.clock.advance(0.1)
    assert (await renewal).cut == 1
    await mesh.clock.advance(10)
    assert await young == "new", "what the new one has begun is nobody's to end"


@in_mesh
async def test_events_are_handled_once_by_the_one_that_served_when_they_came(mesh: InMemoryMesh) -> None:
    old = teller()
    old.go.clear()
    cell = await mesh.add("teller", old)
    for number in range(3):
        await mesh.publish("news.a", number)
    renewal = asyncio.create_task(cell.renew(cell.spec, edition=edition(teller("new", old))))
    await switched(cell, "new", mesh)
    for number in range(3, 6):
        await mesh.publish("news.a", number)
    old.go.set()
    await renewal
    await eventually(lambda: len(old.heard) == 6)
    assert sorted(old.heard) == [("new", 3), ("new", 4), ("new", 5), ("old", 0), ("old", 1), ("old", 2)]


@in_mesh
async def test_only_one_of_them_ticks(mesh: InMemoryMesh) -> None:
    old = teller()
    cell = await mesh.add("teller", old)
    held = asyncio.create_task(mesh.request("teller.hold", seconds=4.0))
    await mesh.clock.advance(7)
    held = asyncio.create_task(mesh.request("teller.hold", seconds=4.0))
    await settle()
    renewal = asyncio.create_task(cell.renew(cell.spec, edition=edition(teller("new", old))))
    await switched(cell, "new", mesh)
    await mesh.clock.advance(4.0)
    await mesh.clock.advance(0.1)
    await held
    await renewal
    assert old.ticks == []
    await mesh.clock.advance(10)
    assert old.ticks == ["new"]


def unloadable(spec: object) -> type[Agent]:
    raise LoadError("line 3 is no valid Python")


@pytest.mark.parametrize(("load", "error", "told"), [
    (unloadable, LoadError, "line 3"),
    (lambda spec: teller("new", breaks=True), ValueError, "no licence file"),
    (lambda spec: teller("new", reason="no microphone"), StartError, r"its first check\(\) says: no microphone"),
    (lambda spec: fresh(teller("new"), ready=asyncio.Event()), Unavailable,
     r"setup\(\) of teller did not end within 0.05 s"),
])
def test_one_that_does_not_come_up_was_never_called(load: Any, error: type[Exception], told: str) -> None:
    @in_mesh
    async def scenario(mesh: InMemoryMesh) -> None:
        old = teller()
        cell = await mesh.add("teller", old, limits={"start_s": 0.05})
        before = cell.incarnation, cell.tenure.edition
        held = asyncio.create_task(mesh.request("teller.hold", seconds=2.0))
        await settle()
        with pytest.raises(error, match=told):
            await cell.renew(cell.spec, edition=Edition(load))
        assert (cell.incarnation, cell.tenure.edition, cell.state) == (*before, "ready")
        assert await mesh.request("teller.tell") == "old" and not held.done()
        await mesh.clock.advance(2)
        assert await held == "old" and not cell.tenure.endings

    scenario()


@in_mesh
async def test_one_that_is_limited_may_take_the_place_of_one_that_was(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("teller", teller(reason="no microphone"))
    assert cell.state == "degraded"
    await cell.renew(cell.spec, edition=edition(teller("new", reason="no loudspeaker")))
    assert (cell.state, cell.lifecycle.reason) == ("degraded", "no loudspeaker")


@in_mesh
async def test_a_crash_brings_back_the_edition_that_served_and_later_the_new_one(mesh: InMemoryMesh) -> None:
    old = teller()
    cell = await mesh.add("teller", old)
    with pytest.raises(ValueError, match="no licence file"):
        await cell.renew(cell.spec, edition=edition(teller("broken", old, breaks=True)))
    for version in ("old", "new"):
        if version == "new":
            await cell.renew(cell.spec, edition=edition(teller("new", old)))
        with pytest.raises(RemoteFailure, match="SystemExit"):
            await mesh.request("teller.leave")
        while cell.state != "ready":
            await mesh.clock.advance(1.0)
        assert await mesh.request("teller.tell") == version


@in_mesh
async def test_a_crash_of_the_old_while_the_new_is_set_up_ends_the_renewal_alone(mesh: InMemoryMesh) -> None:
    old = teller()
    cell = await mesh.add("teller", old)
    new = teller("new", old, ready=asyncio.Event())
    renewal = asyncio.create_task(cell.renew(cell.spec, edition=edition(new)))
    await settle()
    with pytest.raises(RemoteFailure, match="SystemExit"):
        await mesh.request("teller.leave")
    new.ready.set()
    with pytest.raises(Unavailable, match="teller is backoff"):
        await renewal
    while cell.state != "ready":
        await mesh.clock.advance(1.0)
    assert await mesh.request("teller.tell") == "old"


@in_mesh
async def test_the_end_of_one_that_is_dismissed_is_no_crash(mesh: InMemoryMesh) -> None:
    class Leaving(Teller):
        """Ends itself late."""

        @operation
        async def hold(self, seconds: float) -> str:
            await self.clock.sleep(seconds)
            raise SystemExit(3)

    old = teller()
    cell = await mesh.add("teller", fresh(Leaving, ready=old.ready, go=old.go, heard=[], ticks=[]))
    held = asyncio.create_task(mesh.request("teller.hold", seconds=2.0))
    await settle()
    renewal = asyncio.create_task(cell.renew(cell.spec, edition=edition(teller("new", old))))
    await switched(cell, "new", mesh)
    await mesh.clock.advance(2)
    await mesh.clock.advance(0.1)
    await renewal
    with pytest.raises(Exception, match="SystemExit"):
        await held
    assert (cell.state, cell.restarts) == ("ready", 0) and await mesh.request("teller.tell") == "new"
    assert [report.severity for report in mesh.reports] == ["warning"]


@in_mesh
async def test_a_stop_breaks_off_one_that_is_not_set_up_and_ends_both_when_it_is(mesh: InMemoryMesh) -> None:
    old = teller()
    cell = await mesh.add("teller", old)
    renewal = asyncio.create_task(cell.renew(cell.spec, edition=edition(teller("new", old, ready=asyncio.Event()))))
    await settle()
    await cell.stop("stopped by an operator")
    with pytest.raises(asyncio.CancelledError):
        await renewal
    assert cell.at_rest
    cell.launch(by_operator=True)
    await cell.settled.wait()
    assert await mesh.request("teller.tell") == "old"

    held = asyncio.create_task(mesh.request("teller.hold", seconds=2.0))
    await settle()
    renewal = asyncio.create_task(cell.renew(cell.spec, edition=edition(teller("new", old))))
    await switched(cell, "new", mesh)
    stopping = asyncio.create_task(cell.stop("stopped by an operator"))
    await settle()
    await mesh.clock.advance(2)
    assert await held == "old"
    await mesh.clock.advance(0.1)
    await stopping
    assert cell.at_rest and not cell.tenure.endings


@in_mesh
async def test_who_judges_the_offer_may_refuse_it(mesh: InMemoryMesh) -> None:
    cell = await mesh.add("teller", teller())
    shown: list[Any] = []

    def judge(offer: Any) -> None:
        shown.append(sorted(offer.operations))
        raise LoadError("breaks its callers")

    with pytest.raises(LoadError, match="breaks its callers"):
        await cell.renew(cell.spec, edition=edition(teller("new")), judge=judge)
    assert shown == [["count", "hold", "leave", "tell"]] and await mesh.request("teller.tell") == "old"


@pytest.mark.parametrize(("wanted", "how"), [("auto", "after"), ("beside", "beside"), ("after", "after")])
def test_what_hands_something_over_comes_after_unless_config_says_beside(wanted: str, how: str) -> None:
    class Handing(Teller):
        """Has a teardown."""

        async def teardown(self) -> None:
            self.heard.append("torn down")

    @in_mesh
    async def scenario(mesh: InMemoryMesh) -> None:
        base = teller()
        cell = await mesh.add("teller", fresh(Handing, ready=base.ready, go=base.go, heard=base.heard, ticks=[]))
        cell.resize(cell.spec.model_copy(update={"reload": wanted}))
        done = await cell.renew(cell.spec, edition=Edition(lambda spec: fresh(
            Handing, ready=base.ready, go=base.go, heard=base.heard, ticks=[], version="new")))
        assert done.how == how and base.heard == ["torn down"]
        assert await mesh.request("teller.tell") == "new"

    scenario()
